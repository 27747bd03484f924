"""What acts on inputs, targets and losses of many members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import beta_by, permutation_by
from dashpot.core.rng import derive_all
from dashpot.evaluation.losses import cross_entropy
from dashpot.population.program.executor import kernel, mix
from dashpot.population.technique import Ahead, StackedTechnique
from dashpot.techniques.augment.input_noise import input_noise
from dashpot.techniques.augment.mixup import class_probabilities, mixup
from dashpot.techniques.labels.label_smoothing import label_smoothing, smoothed_target


class StackedMixup(StackedTechnique):
    def setup(self) -> None:
        self.alphas = np.array(self.values("alpha", 0.0))
        self.mixed = np.flatnonzero(self.alphas > 0)
        self.batch = 0
        self.ahead = Ahead(self.chunk, self._drawn)

    def _drawn(self, steps: np.ndarray) -> Sequence[tuple[Tensor, Tensor]]:
        """For each step the shares and the partners' places, [member, batch]. A share of 1 leaves the members without
        Mixup alone.
        """
        members, n, some = len(self.alphas), self.batch, torch.from_numpy(self.mixed)
        share, order = torch.ones(len(steps), members, n), torch.arange(n).repeat(len(steps), members, 1)
        # Each member draws what it would draw alone: first the shares, then the partners.
        keys = derive_all(self.keys[self.mixed], steps[:, None], 0, 0)
        shape = (len(steps), len(self.mixed), n)
        share[:, some] = beta_by(derive_all(keys, 1).ravel(), np.tile(self.alphas[self.mixed], len(steps)), n).view(
            shape
        )
        order[:, some] = permutation_by(derive_all(keys, 2).ravel(), n).view(shape)
        return list(zip(share, order, strict=True))

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if not len(self.mixed):
            return x, y
        members, n = x.shape[:2]
        if n != self.batch:
            self.batch, self.ahead = n, Ahead(self.chunk, self._drawn)
        share, order = self.ahead.now()
        if (
            kernel() is not None
            and x.device.type == "cpu"
            and x.dtype == torch.float32
            and y.dtype in (torch.float32, torch.int64)
        ):
            return mix(x, order, share), mix(y, order, share, 0 if y.is_floating_point() else self.chunk.outputs_count)
        place = (order + n * torch.arange(members)[:, None]).reshape(-1).to(x.device)
        flat, target, share = x.flatten(0, 1), y.flatten(0, 1), share.reshape(-1).to(x.device)
        if not target.is_floating_point():
            target = class_probabilities(target, self.chunk.outputs_count)
        shape = (members, n, *target.shape[1:])
        return mixup(flat, flat.index_select(0, place), share).view(x.shape), mixup(
            target, target.index_select(0, place), share
        ).view(shape)


class StackedInputNoise(StackedTechnique):
    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        for k, technique in enumerate(self.techniques):
            if technique is not None and technique.std > 0:
                x[k] = input_noise(x[k], self.draws(k).normal(x.shape[1:], x.device, x.dtype), technique.std)
        return x, y


class StackedLabelSmoothing(StackedTechnique):
    """Cross entropy is linear in the target: there the target is smoothed, which spares a second look at
    the outputs.
    """

    def setup(self) -> None:
        self.smoothing = self.values("smoothing", 0.0)
        self.shares: dict[int, Tensor] = {}

    def share(self, rows: int) -> Tensor:
        """The smoothing of each of the rows of all members, [rows]."""
        if rows not in self.shares:
            self.shares[rows] = self.wide(self.smoothing, 1).repeat_interleave(rows // len(self.smoothing))
        return self.shares[rows]

    def on_target(self, y: Tensor) -> Tensor:
        if not any(self.smoothing) or self.chunk.plan.loss is not cross_entropy:
            return y
        y = y if y.is_floating_point() else class_probabilities(y, self.chunk.outputs_count)
        return smoothed_target(y, self.share(len(y)).reshape(-1, *[1] * (y.ndim - 1)))

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        if not any(self.smoothing) or self.chunk.plan.loss is cross_entropy:
            return loss
        return label_smoothing(loss, out, self.share(len(loss)).reshape(-1, *[1] * (loss.ndim - 1)))
