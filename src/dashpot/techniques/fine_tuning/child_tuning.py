"""Child-tuning: only a part of the weights, drawn anew in each step or chosen once, gets a gradient."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Choice, Range, Selection
from dashpot.core.fields.select import Where, embeddings, weights
from dashpot.core.rng import Draws, derive, stream
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State, Technique


def child_gradient(
    gradient: Float[Tensor, "*shape"], uniform: Float[Tensor, "*shape"], keep: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``gradient / keep`` where ``uniform < keep``, else 0. ``keep = 1`` is the identity."""
    return torch.where(uniform < keep, gradient / keep, 0).to(gradient.dtype)


def most_informed(information: list[Float[Tensor, "..."]], keep: float) -> list[Float[Tensor, "..."]]:
    """1 for the share ``keep`` of all values together that are the largest, 0 for the others; at least one is kept, and
    of equal ones as many as there is room for.
    """
    values = torch.cat([own.reshape(-1) for own in information])
    count = max(1, round(keep * values.numel()))
    mask = torch.zeros_like(values)
    mask[values.topk(count, sorted=False).indices] = 1
    parts = torch.split(mask, [own.numel() for own in information])
    return [part.reshape(own.shape).clone() for part, own in zip(parts, information, strict=True)]


class ChildTuning(Technique):
    r"""Give only a part of the weights a gradient, the child network: drawn afresh in each step, or chosen once by how
    much the task asks of each weight.

    .. math:: g \leftarrow \frac{M}{p_F} \odot g, \; M_i \sim \mathrm{Bernoulli}(p_F)
        \qquad\text{or}\qquad g \leftarrow M \odot g, \; M_i = 1 \text{ for the share } p_D \text{ with the largest }
        \sum_t g_{t,i}^2

    The second is the diagonal of the empirical Fisher information, of the gradients of the first ``batches`` steps, in
    which selected weights have a gradient of zero. A decay still moves weights whose gradient is zero, and an optimizer
    with momentum those that had another one before. It acts once per optimizer step, on the
    accumulated and unscaled gradient; all ranks have the same mask.

    Args:
        keep: p in (0, 1], the share that is trained; 1 is off. The paper has 0.2 to 0.4 for ``random``, 0.1 to 0.3 for
            ``fisher``.
        by: ``random`` (task-free) or ``fisher`` (task-driven).
        batches: >= 1, steps from which ``fisher`` takes its information. Not used by ``random``.
        on: which parameters; weights and embeddings by default.

    Raises:
        ConflictError: at attach, complex parameters, sparse gradients, or a run that is not longer than ``batches``.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(50, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> before = model.weight.detach().clone()
        >>> with dashpot.fine_tuning.ChildTuning(0.5).attach(model, optimizer):
        ...     model(torch.ones(1, 50)).sum().backward(); _ = optimizer.step()
        >>> sorted({round(abs(float(moved)), 3) for moved in (before - model.weight.detach())[0]})
        [0.0, 2.0]

    Paper: Xu et al., "Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning", EMNLP
    2021, arXiv 2109.05687.

    When not to use it: with few steps, of which ``random`` uses a share only; on a network with initial weights.
    """

    summary = "gives a part of the weights a gradient"
    shards = False
    exclusive = ("part with a gradient",)

    keep: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.9), off=1.0, open="low")] = field(default=0.3, kw_only=False)
    by: Annotated[str, Choice(("random", "fisher"))] = "random"
    batches: Annotated[int, Range(1, float("inf"), integer=True)] = 20
    on: Annotated[Where, Selection()] = weights | embeddings

    def acts_on(self, view: ModelView) -> list[str]:
        return view.names(self.on)

    def check(self, view: ModelView, ctx: Context) -> None:
        whole = [name for name in view.names(self.on) if view.parameters[name].is_complex()]
        if whole:
            raise ConflictError(
                f"ChildTuning compares real numbers, and {', '.join(whole)} is complex. Leave it out of on."
            )
        if self.by == "fisher" and ctx.steps is not None and ctx.steps <= self.batches:
            raise ConflictError(
                f"ChildTuning.batches must be less than the {ctx.steps} optimizer steps of the run, got {self.batches}:"
                " weights rest until it has chosen. Take fewer, or train longer."
            )

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"child": {}, "chosen": False}

    def on_gradient(self, params: Params, ctx: Context) -> None:
        if self.keep == 1:
            return
        if self.by == "random":
            for name, g in zip(params.names, params.grads, strict=True):
                uniform = Draws(derive(stream(ctx.key, name), ctx.step)).uniform(g.shape, g.device)
                g.copy_(child_gradient(g, uniform, self.keep))
            return
        child: dict[str, Tensor] = ctx.state["child"]
        if ctx.step < self.batches:
            for name, w, _ in params:
                assert w.grad is not None, "only what has a gradient comes here"
                square = w.grad.float().square()
                child[name] = child[name] + square if name in child else square
                w.grad.zero_()
            return
        if not ctx.state["chosen"] and child:
            ctx.state["child"] = child = dict(zip(child, most_informed(list(child.values()), self.keep), strict=True))
            ctx.state["chosen"] = True
        for name, g in zip(params.names, params.grads, strict=True):
            if name in child:  # what was unfrozen since is trained whole
                g.mul_(child[name].to(g.dtype))

    def describe(self, view: ModelView) -> str:
        how = "drawn in each step" if self.by == "random" else f"chosen by the gradients of {self.batches} steps"
        return f"{self.summary}, {how}: keep={self.keep:g} of {len(view.names(self.on))} tensors"
