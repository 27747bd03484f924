"""Mixup: train on blends of pairs of samples."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dashpot.core.draws import beta_by, permutation_by
from dashpot.core.errors import ConflictError, DataError, UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.core.requires import Requires
from dashpot.core.rng import derive_all
from dashpot.core.running.batch import Batch, float_input
from dashpot.core.running.context import Context
from dashpot.core.running.nested import told
from dashpot.core.running.targets import demand_codes, demand_labels
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.mixing import can_mix, mix_rows
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique


def mixup(
    x: Float[Tensor, "batch *shape"], partner: Float[Tensor, "batch *shape"], share: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *shape"]:
    """Blend each sample with its partner: ``share * x + (1 - share) * partner``, one share per sample; exact at 0 and
    1.
    """
    weight = share.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return torch.lerp(partner, x, weight)


def class_probabilities(y: Int[Tensor, "batch *rest"], classes: int) -> Float[Tensor, "batch {classes} *rest"]:
    """One-hot rows, of each position, float32. Codes outside 0 to ``classes`` - 1 have none."""
    codes = torch.arange(classes, device=y.device).reshape(-1, *[1] * (y.ndim - 1))
    return (y.unsqueeze(1) == codes).float()


def mix_weighted(
    y: Shaped[Tensor, "batch *shape"],
    weight: Float[Tensor, " batch"],
    order: Int[Tensor, " batch"],
    share: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, " batch"]]:
    """Targets and weights of mixed samples, such that a loss linear in the target counts each part with its own
    sample's weight.

    The new weight is ``share * w_i + (1 - share) * w_j``; the part of sample i in the new target is its share of that.
    """
    mixed = mixup(weight, weight[order], share)
    part = share * weight / mixed.clamp(min=torch.finfo(mixed.dtype).tiny)
    return mixup(y, y[order], part), mixed


class StackedMixup(StackedTechnique):
    """All members' blends in one call; a share of 1 changes nothing, for members without Mixup."""

    def read(self) -> None:
        self.alphas = np.array(self.values("alpha", 0.0))
        self.mixed = np.flatnonzero(self.alphas > 0)
        self.batch = 0

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._mixed(x, y, None)[:2]

    def on_weighted_batch(self, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, mixed = self._mixed(x, y, weight)
        return x, y, weight if mixed is None else mixed

    def _mixed(self, x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        if not len(self.mixed):
            return x, y, weight
        members, n = x.shape[:2]
        if n != self.batch:
            self.batch, self.drawn = n, self.ahead(self._draw)
        share, order = self.drawn.now()
        if self.stack.targets != "classes" and not y.is_floating_point():
            y = y.float()  # yes/no labels
        classes = 0 if y.is_floating_point() else self.stack.outputs_count
        if weight is None and can_mix(x, y) and not (classes and y.ndim > 2):
            return mix_rows(x, order, share), mix_rows(y, order, share, classes), None
        place = (order + n * torch.arange(members, device="cpu")[:, None]).reshape(-1).to(x.device, non_blocking=True)
        flat, target, share = x.flatten(0, 1), y.flatten(0, 1), share.reshape(-1).to(x.device, non_blocking=True)
        target = class_probabilities(target, classes) if classes else target
        if weight is None:
            mixed = mixup(target, target.index_select(0, place), share)
        else:
            mixed, weight = mix_weighted(target, weight.flatten(), place, share)
            weight = weight.view(members, n)
        x = mixup(flat, flat.index_select(0, place), share).view(x.shape)
        return x, mixed.view(members, n, *target.shape[1:]), weight

    def _draw(self, steps: np.ndarray) -> Sequence[tuple[Tensor, Tensor]]:
        """For each step the shares and the partners' places, [member, batch]."""
        members, n, some = len(self.alphas), self.batch, torch.from_numpy(self.mixed)
        share = torch.ones(len(steps), members, n, dtype=torch.float32, device="cpu")
        order = torch.arange(n, device="cpu").repeat(len(steps), members, 1)
        # Each member draws what it would draw alone: first the shares, then the partners.
        keys = derive_all(self.keys[self.mixed], steps[:, None], 0, 0)
        shape, alphas = (len(steps), len(self.mixed), n), np.tile(self.alphas[self.mixed], len(steps))
        share[:, some] = beta_by(derive_all(keys, 1).ravel(), alphas, n).view(shape)
        order[:, some] = permutation_by(derive_all(keys, 2).ravel(), n).view(shape)
        return list(zip(share, order, strict=True))


class Mixup(Technique):
    r"""Train on blends of pairs of samples, and of their targets.

    .. math:: \tilde x = \lambda x_i + (1-\lambda) x_j, \quad
        \tilde y = \lambda y_i + (1-\lambda) y_j, \quad
        \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    One λ for each sample and a random permutation for the pairs; odd batches work and the caller's batch is not
    changed. Integer targets [batch] become class probabilities [batch, classes] (attach with ``classes=``), those of
    positions [batch, ...] become [batch, classes, ...] (with ``targets="classes"``). Float targets, [batch] or
    [batch, k], and yes/no labels (``targets="multilabel"``, also those of one output) are blended as they are. With
    sample weights, each part of a blend counts with the weight of the sample it came from.

    Args:
        alpha: shape of the Beta distribution, >= 0. 0 is off, 0.1 to 0.4 usual, 1 makes λ uniform.

    Raises:
        ConflictError: attached with ``ignore_index``.
        UsageError: inputs that are not one floating-point tensor, masks, or integer targets while the number of classes
            is unknown.
        DataError: codes outside 0 to ``classes`` - 1, or labels outside [0, 1].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.Mixup(alpha=0.4).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), classes=3)
        >>> batch = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> batch.y.shape, batch.truth.shape
        (torch.Size([6, 3]), torch.Size([6]))

    Paper: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    When not to use it: where a blend of two inputs means nothing (token ids, one-hot codes of few levels with strong
    interactions), or where calibrated confidence on clean inputs matters more than accuracy. It lowers the best weight
    decay: tune the two together.
    """

    requires = Requires(float_input=True)
    summary = "blends pairs of samples and their targets"
    stacked = StackedMixup
    preset = Preset(order=40)

    alpha: Annotated[float, Range(0.0, float("inf"), search=(0.05, 2.0), log=True, off=0.0)] = field(
        default=0.2, kw_only=False
    )

    def check(self, view: ModelView, ctx: Context) -> None:
        if ctx.ignore_index is not None:
            raise ConflictError(
                "Mixup and ignore_index cannot be combined: half of a blend would have no target. Leave such rows out"
                " of the batch, or give them weight 0."
            )

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        x = float_input(batch.x, type(self).__name__)
        if batch.mask is not None:
            raise UsageError(
                "Mixup cannot blend padded or masked sequences: a blend of two has no length of its own. Leave it out."
            )
        if self.alpha == 0:
            return batch
        draws = ctx.draws()
        n, device = x.shape[0], x.device
        share, order = draws.beta(self.alpha, n, device), draws.permutation(n, device)
        y = _blendable(batch.y, ctx)
        y = y.double() if x.dtype == torch.float64 else y
        if batch.weight is None:
            return batch.replace(x=mixup(x, x[order], share), y=mixup(y, y[order], share))
        y, weight = mix_weighted(y, batch.weight.float(), order, share)
        return batch.replace(x=mixup(x, x[order], share), y=y, weight=weight)


def _blendable(y: Any, ctx: Context) -> Tensor:
    """The target as floating-point values, of which blends mean something."""
    if not isinstance(y, Tensor):
        raise UsageError(f"Mixup needs a target tensor, got {told(y)}. Leave Mixup out.")
    if ctx.targets == "multilabel":
        demand_labels(y, "the target of Mixup")
    if y.is_floating_point() or ctx.targets in ("multilabel", "values"):
        if y.ndim < 2 and ctx.targets != "values" and (ctx.classes or 0) > 2:
            raise DataError(
                f"the target of Mixup must be whole numbers or probabilities [batch, {ctx.classes}] for {ctx.classes}"
                f" classes, got {list(y.shape)} of {str(y.dtype).removeprefix('torch.')}. Convert it with y.long()."
            )
        return y if y.is_floating_point() else y.float()
    if y.ndim != 1 and ctx.targets != "classes":
        raise UsageError(
            f"Mixup needs integer targets of shape [batch], got {list(y.shape)}. Pass several labels as floats, attach"
            " with targets='multilabel', or with targets='classes' where each position has a class."
        )
    if ctx.classes is None:
        raise UsageError(
            "Mixup needs to know how many classes there are. Attach with classes=, or pass class probabilities; or"
            " attach with targets='multilabel' where one output says yes or no."
        )
    y = y.long()
    demand_codes(y, ctx.classes, "the target of Mixup")
    return class_probabilities(y, ctx.classes)
