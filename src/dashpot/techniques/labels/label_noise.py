"""Label noise: replace some targets by random ones while training."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.requires import Requires
from dashpot.core.rng import Draws
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.nested import told
from dashpot.core.running.targets import demand_codes
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique


def replaced(
    y: Shaped[Tensor, "*shape"],
    other: Shaped[Tensor, "*shape"],
    uniform: Float[Tensor, "..."],
    p: float | Float[Tensor, ""],
) -> Shaped[Tensor, "*shape"]:
    """``other`` where ``uniform < p``, else ``y``."""
    return torch.where(uniform < p, other, y)


def noisy(y: Tensor, draws: Draws, p: float, classes: int) -> Tensor:
    """Targets with noise. Whole numbers are classes, if there are any; floats [batch, classes, ...] with ``classes``
    above 0 are probabilities; without classes, targets are labels 0 and 1, each by itself.
    """
    if not classes:
        u, other = draws.uniform(y.shape, y.device), draws.uniform(y.shape, y.device)
        return replaced(y, (other < 0.5).to(y.dtype), u, p)
    shape = y.shape if not y.is_floating_point() else (len(y), *y.shape[2:])
    u, other = draws.uniform(shape, y.device), draws.uniform(shape, y.device)
    # A number below 1 times the number of classes may round up to it.
    codes = (other * classes).long().clamp(max=classes - 1)
    if not y.is_floating_point():
        return replaced(y, codes.to(y.dtype), u, p)
    one_hot = torch.zeros_like(y).scatter_(1, codes.unsqueeze(1), 1.0)
    return replaced(y, one_hot, u.unsqueeze(1).expand_as(y), p)


class StackedLabelNoise(StackedTechnique):
    """Each member's draws."""

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        classes = 0 if self.stack.targets == "multilabel" else self.stack.outputs_count
        rows = [
            y[k] if technique is None or technique.p == 0 else noisy(y[k], self.draws(k), technique.p, classes)
            for k, technique in enumerate(self.techniques)
        ]
        return x, torch.stack(rows)


class LabelNoise(Technique):
    r"""Replace each target by a random one with probability p, afresh in every step.

    .. math:: \tilde y = \begin{cases} c \sim \mathrm{Uniform}\{1..C\} & u < p \\ y & \text{else} \end{cases}

    In expectation it is :class:`LabelSmoothing` with smoothing p, with noise. A class may be replaced by itself, so
    that p (C - 1) / C of the targets change. Yes/no labels (``targets="multilabel"``) are each replaced by a coin. It
    acts before samples are mixed; ``batch.truth`` and metrics keep the targets as they came. Positions with
    ``ignore_index`` stay.

    Args:
        p: probability in [0, 1]. 0 is off; 0.02 to 0.2 is usual.

    Raises:
        ConflictError: targets that are values.
        UsageError: whole numbers, where the loop has not said how many classes there are; no target.
        DataError: a class outside 0 to classes - 1.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.labels.LabelNoise(0.5).attach(model, optimizer, classes=3)
        >>> y = torch.zeros(99, dtype=torch.long)
        >>> batch = session.batch(torch.randn(99, 4), y)
        >>> bool((batch.y != y).any()), bool((batch.truth == y).all())
        (True, True)

    Paper: Xie et al., "DisturbLabel: Regularizing CNN on the Loss Layer", CVPR 2016, arXiv 1605.00055.

    When not to use it: beside :class:`LabelSmoothing`, which does the same without noise; where labels are
    wrong already.
    """

    requires = Requires(task=("classification", "multilabel"))
    summary = "replaces some targets by random ones"
    stacked = StackedLabelNoise
    order = -50  # before samples are mixed

    p: Annotated[float, Range(0.0, 1.0, search=(0.01, 0.3), log=True, off=0.0)] = field(default=0.1, kw_only=False)

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        if self.p == 0:
            return batch
        y: Any = batch.y
        if not isinstance(y, Tensor):
            raise UsageError(f"LabelNoise needs a target tensor, got {told(y)}. Leave LabelNoise out.")
        classes = 0 if ctx.targets == "multilabel" else y.shape[1] if _soft(y) else ctx.classes
        if classes is None:
            raise UsageError(
                "LabelNoise needs to know how many classes there are. Attach with classes=, or with"
                " targets='multilabel' where each output says yes or no."
            )
        kept = None if ctx.ignore_index is None or (_soft(y) and classes) else y == ctx.ignore_index
        if classes and not _soft(y):
            demand_codes(y if kept is None else y[~kept], classes, "the target of LabelNoise")
        found = noisy(y, ctx.draws(), self.p, classes)
        return batch.replace(y=found if kept is None else torch.where(kept, y, found))


def _soft(y: Tensor) -> bool:
    return y.is_floating_point() and y.ndim > 1
