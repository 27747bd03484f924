"""What acts on inputs, targets and losses of many members."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import beta_by, permutation_by
from dashpot.core.rng import derive_all
from dashpot.population.actor import Actor
from dashpot.population.runner import kernel, mix
from dashpot.scores import cross_entropy
from dashpot.techniques.augment.input_noise import input_noise
from dashpot.techniques.augment.mixup import class_probabilities, mixup
from dashpot.techniques.labels.label_smoothing import label_smoothing, smoothed_target


class MixupActor(Actor):
    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.values("alpha", 0.0)
        if not any(alphas):
            return x, y
        members, n = x.shape[:2]
        # Each member draws what it would draw alone: first the shares, then the partners. A share of 1 leaves the members without Mixup alone.
        now = derive_all(self.keys, self.chunk.step, 0, 0)
        mixed = np.array([alpha > 0 for alpha in alphas])
        share, order = torch.ones(members, n), torch.arange(n).expand(members, n).contiguous()
        rows = torch.from_numpy(np.flatnonzero(mixed))
        share[rows] = beta_by(derive_all(now, 1)[mixed], np.array(alphas)[mixed], n)
        order[rows] = permutation_by(derive_all(now, 2)[mixed], n)
        if kernel() is not None and x.device.type == "cpu" and x.dtype == torch.float32 and y.dtype in (torch.float32, torch.int64):
            return mix(x, order, share), mix(y, order, share, 0 if y.is_floating_point() else self.chunk.outputs_count)
        place = (order + n * torch.arange(members)[:, None]).reshape(-1).to(x.device)
        flat, target, share = x.flatten(0, 1), y.flatten(0, 1), share.reshape(-1).to(x.device)
        if not target.is_floating_point():
            target = class_probabilities(target, self.chunk.outputs_count)
        shape = (members, n, *target.shape[1:])
        return mixup(flat, flat.index_select(0, place), share).view(x.shape), mixup(target, target.index_select(0, place), share).view(shape)


class InputNoiseActor(Actor):
    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        std = self.values("std", 0.0)
        if not any(std):
            return x, y
        shape = x.shape[1:]
        noise = torch.stack([self.draws(k).normal(shape, x.device, x.dtype) if s else x.new_zeros(shape) for k, s in enumerate(std)])
        return input_noise(x, noise, self.wide(std, x.ndim)), y


class LabelSmoothingActor(Actor):
    """Cross entropy is linear in the target: there the target is smoothed, which spares a second look at the outputs."""

    def on_target(self, y: Tensor) -> Tensor:
        smoothing = self.values("smoothing", 0.0)
        if not any(smoothing) or self.chunk.plan.loss is not cross_entropy:
            return y
        y = y if y.is_floating_point() else class_probabilities(y, self.chunk.outputs_count)
        share = self.wide(smoothing, 1).repeat_interleave(len(y) // len(smoothing)).reshape(-1, *[1] * (y.ndim - 1))
        return smoothed_target(y, share)

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        smoothing = self.values("smoothing", 0.0)
        if not any(smoothing) or self.chunk.plan.loss is cross_entropy:
            return loss
        share = self.wide(smoothing, 1).repeat_interleave(len(loss) // len(smoothing))
        return label_smoothing(loss, out, share.reshape(-1, *[1] * (loss.ndim - 1)))
