"""L2: the squared norm of the weights, coupled, in the gradient."""

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.rules import Rule
from dashpot.core.running.context import Context
from dashpot.core.running.direction import by_direction
from dashpot.core.running.sharded import alike
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.decay import OF_COMPUTED, TWICE, warn_double_decay
from dashpot.techniques.penalties.selected import refuse_computed


def l2_value(w: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]) -> Float[Tensor, ""]:
    """``strength / 2 * sum w^2``."""
    return strength / 2 * (w.abs() if w.is_complex() else w).square().sum()


def l2_gradient(w: Float[Tensor, "*shape"], strength: float | Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    """``strength * w``."""
    return strength * w


class StackedL2(StackedTechnique):
    """The strengths of all members, by parameter; 0 adds exactly nothing."""

    def read(self) -> None:
        self.strengths: dict[int, list[float]] = {}
        for k, technique in enumerate(self.techniques):
            for t in self.selected(k):
                self.strengths.setdefault(t, [0.0] * len(self.techniques))[k] = technique.strength

    def on_gradient(self, grads: list[Tensor]) -> None:
        for t, strengths in self.strengths.items():
            w = self.stack.block.parameters[t].detach()
            grads[t].add_(l2_gradient(w, self.wide(strengths, w.ndim)))


class L2(Technique):
    r"""Penalize the squared norm of the weights, coupled: its gradient is added to the loss's and goes through the
    optimizer.

    .. math:: \min_w\; \mathrm{loss}(w) + \frac{\mathrm{strength}}{2} \sum_i w_i^2, \qquad
        g \leftarrow g + \mathrm{strength} \cdot w

    This is what ``weight_decay`` means in torch's ``SGD`` and ``Adam``, bit for bit, but for weights only. With Adam
    the preconditioner rescales it; :class:`WeightDecay` is the decoupled one of ``AdamW``.

    Args:
        strength: >= 0, torch's ``weight_decay``; 0 is off. A formula ``c * |w|^2`` without the half means ``strength =
            2 * c``; scikit-learn's ``Ridge(alpha)`` does not divide the squared error by n: for a mean squared error,
            ``strength = 2 * alpha / n``.
        on: which parameters. Weights by default: no biases, norms or embeddings.

    Raises:
        ConfigError: a strength that is negative or infinite.

    Warns:
        DoubleDecayWarning: the optimizer has a ``weight_decay`` of its own.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.L2(strength=1.0).attach(model, optimizer):
        ...     before = model.weight.detach().clone()
        ...     (0 * model(torch.ones(1, 2))).sum().backward(); _ = optimizer.step()
        >>> bool(torch.allclose(model.weight, 0.9 * before))
        True

    Paper: Krogh and Hertz, "A Simple Weight Decay Can Improve Generalization", NeurIPS 1991.

    When not to use it: with Adam prefer :class:`WeightDecay`, unless the objective itself must be the penalized one. In
    front of a normalization the scale of weights does not matter to the output, and L2 only changes the effective
    learning rate.
    """

    summary = "adds strength x weight to the gradient"
    stacked = StackedL2
    rules = (
        TWICE,
        OF_COMPUTED,
        Rule(
            "l2-with-adam",
            "Adam and other adaptive optimizers",
            "the penalty's gradient is divided by the gradient's own size: where gradients are large, weights hardly"
            " shrink (Loshchilov and Hutter, ICLR 2019).",
            "up to you",
            "use WeightDecay, unless the minimum of the penalized loss is wanted.",
        ),
    )

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-6, 1e-1), log=True, off=0.0)] = field(
        default=1e-4, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("L2", self.on, view)
        warn_double_decay("L2", view, self.on)

    @torch.no_grad()
    def penalty_now(self, ctx: Context) -> Tensor | None:
        squares = [w.square().sum() for w in ctx.view.params(self.on).tensors]
        return self.strength / 2 * torch.stack([s.to(squares[0].device) for s in squares]).sum() if squares else None

    def on_gradient(self, params: Params, ctx: Context) -> None:
        for way, some in by_direction(params) if len(params) else ():
            for part in map(some.only, alike(some.tensors)):
                torch._foreach_add_(part.grads, part.tensors, alpha=way * self.strength)
