"""L2-SP: decay towards the weights that a fine-tuning starts from."""

from __future__ import annotations

from dataclasses import field
from fnmatch import fnmatchcase
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Name, Range, Selection
from dashpot.core.fields.select import Where, embeddings, weights
from dashpot.core.running.context import Context
from dashpot.core.running.direction import direction
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.stages import head_or_none
from dashpot.core.technique import State, Technique
from dashpot.techniques.fine_tuning.start import begun, begun_without, is_below, started
from dashpot.techniques.penalties.decay import OF_COMPUTED, TWICE, warn_double_decay
from dashpot.techniques.penalties.selected import refuse_computed


def l2_sp_value(
    w: Float[Tensor, "*shape"], start: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """``strength / 2 * sum (w - start)^2``."""
    away = w - start
    return strength / 2 * (away.abs() if away.is_complex() else away).square().sum()


def l2_sp_gradient(
    w: Float[Tensor, "*shape"], start: Float[Tensor, "*shape"], strength: float | Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    """``strength * (w - start)``."""
    return strength * (w - start)


class StackedL2SP(StackedTechnique):
    """The weights that all members start from as one block; a strength of 0 adds exactly nothing."""

    def init(self) -> dict[str, Tensor]:
        return {"start": self.stack.block.values.clone()}

    def read(self) -> None:
        self.strengths: dict[int, list[float]] = {}
        self.anchored: dict[int, list[float]] = {}
        names = [segment.name for segment in self.stack.block.segments]
        for k, technique in enumerate(self.techniques):
            for t in self.selected(k):
                new = technique.is_new(names[t], self.stack.view.model)
                self.anchored.setdefault(t, [1.0] * len(self.techniques))[k] = 0.0 if new else 1.0
                by = technique.strength * (technique.head_ratio if new else 1.0)
                self.strengths.setdefault(t, [0.0] * len(self.techniques))[k] = by

    def on_gradient(self, grads: list[Tensor]) -> None:
        parameters = self.stack.block.parameters
        first = 0
        for t, w in enumerate(parameters):
            size = w[0].numel()
            if t in self.strengths:
                start = self.state["start"][:, first : first + size].reshape(w.shape)
                start = self.wide(self.anchored[t], w.ndim) * start
                grads[t].add_(l2_sp_gradient(w.detach(), start, self.wide(self.strengths[t], w.ndim)))
            first += size


class L2SP(Technique):
    r"""Penalize how far the weights are from those at attach, the pre-trained ones; a new head decays towards zero.

    .. math:: \min_w\; \mathrm{loss}(w) + \frac{\mathrm{strength}}{2} \Big(
        \sum_{i \notin \mathrm{head}} (w_i - w_i^0)^2 + \mathrm{head\_ratio} \sum_{i \in \mathrm{head}} w_i^2 \Big)

    Coupled, as :class:`L2`: its gradient is added to the loss's and goes through the optimizer. The weights at attach
    are kept once, in the state of the session; a resumed run has those of its beginning. A layer that is put in later
    is a new head, too; one that is unfrozen later starts where it is then.

    Args:
        strength: >= 0, for the pre-trained weights; 0 is off, for the head, too. 0.001 to 0.1 is usual with SGD.
        head: which parameters have no pre-trained values: ``"auto"``, the output layer as :func:`dashpot.replace_head`
            finds it; ``"none"``; or a name as in ``model.named_modules()``, with ``*``.
        head_ratio: >= 0; 1 is the same strength for the head, 0 leaves it alone.
        on: which parameters; weights and embeddings by default, no biases or norms.

    Raises:
        ConflictError: at attach, a ``head`` that nothing is called, or weights that are computed from others.

    Warns:
        DoubleDecayWarning: the optimizer has a ``weight_decay`` of its own, which pulls towards zero.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> start = model[0].weight.detach().clone()
        >>> with dashpot.fine_tuning.L2SP(strength=5.0).attach(model, optimizer):
        ...     _ = model[0].weight.data.add_(1.0)
        ...     (0 * model(torch.ones(1, 2))).sum().backward(); _ = optimizer.step()
        >>> bool(torch.allclose(model[0].weight, start + 0.5))
        True

    Paper: Li, Grandvalet and Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", ICML
    2018, arXiv 1802.01483.

    When not to use it: on a network with initial weights; where the new task needs other features than the old one;
    beside a decay towards zero of the same weights. With Adam the preconditioner rescales it, as it does :class:`L2`.
    """

    summary = "pulls weights back towards those at attach"
    stacked = StackedL2SP
    rules = (TWICE, OF_COMPUTED)

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-4, 1.0), log=True, off=0.0)] = field(
        default=1e-2, kw_only=False
    )
    head: Annotated[str, Name()] = "auto"
    head_ratio: Annotated[float, Range(0.0, float("inf"))] = 1.0
    on: Annotated[Where, Selection()] = weights | embeddings

    def is_new(self, name: str, model: nn.Module) -> bool:
        """Whether a parameter belongs to the head."""
        if self.head == "none":
            return False
        if self.head == "auto":
            return is_below(name, head_or_none(model))
        return fnmatchcase(name, self.head) or fnmatchcase(name, f"{self.head}.*")

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("L2SP", self.on, view)
        warn_double_decay("L2SP", view, self.on)
        names = dict(view.model.named_parameters())
        if self.head not in ("auto", "none") and not any(self.is_new(name, view.model) for name in names):
            parts = ", ".join(name for name, _ in view.model.named_children())
            raise ConflictError(
                f"L2SP.head must be auto, none or the name of a part of {type(view.model).__name__} with parameters,"
                f" got {self.head!r}. It has {parts}."
            )

    def init(self, view: ModelView, ctx: Context) -> State:
        names = [name for name in view.names(self.on) if not self.is_new(name, view.model)]
        return begun({name: view.parameters[name] for name in names})

    def forget(self, gone: frozenset[str], ctx: Context) -> None:
        ctx.state = begun_without(ctx.state, gone)

    def on_gradient(self, params: Params, ctx: Context) -> None:
        if self.head == "auto":
            head = head_or_none(ctx.model)
            own = [not is_below(name, head) for name in params.names]
        else:
            own = [not self.is_new(name, ctx.model) for name in params.names]
        old = params.only([i for i, pretrained in enumerate(own) if pretrained])
        anchored = {name: start for name, _, start in started(old, ctx)}
        for name, w, group in params:
            assert w.grad is not None, "only what has a gradient comes here"
            strength = direction(group) * self.strength
            if name in anchored:
                w.grad.add_(l2_sp_gradient(w, anchored[name], strength))
            elif self.head_ratio:
                w.grad.add_(w, alpha=strength * self.head_ratio)

    @torch.no_grad()
    def penalty_now(self, ctx: Context) -> Tensor | None:
        params, start, new = ctx.view.params(self.on), ctx.state["start"], set(ctx.state["new"])
        total = torch.zeros((), dtype=torch.float64)
        for name, w, _ in params:
            if self.is_new(name, ctx.model) or name in new:
                total += self.head_ratio * w.double().square().sum().cpu()
            elif name in start:
                total += (w.double() - start[name]).square().sum().cpu()
        return self.strength / 2 * total

    def describe(self, view: ModelView) -> str:
        names = view.params(self.on).names
        new = [name for name in names if self.is_new(name, view.model)]
        told = f"; {', '.join(new[:3])} towards zero" if new and self.head_ratio else ""
        return f"{self.summary}: {len(names) - len(new)} tensors{told}"
