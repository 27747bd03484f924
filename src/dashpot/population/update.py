"""One AdamW update, decay and proximal map for all members, each with its own learning rate and strengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dashpot.population.tensors import Block
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.fast import penalize, runs_for, terms_of
from dashpot.techniques.penalties.proximal import Proximal

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""torch's defaults, which :func:`dashpot.fit` uses."""


Maps = dict[tuple[int, int], Proximal]


class Update:
    """AdamW's moments for a :class:`Block`, and its step.

    Attributes:
        first, second: moments [members, values].
        steps: taken by each member.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.first, self.second = torch.zeros_like(block.values), torch.zeros_like(block.values)
        self.steps = np.zeros(len(block), dtype=np.int64)
        self.shrink_by(np.zeros((len(block), len(block.segments))), {})

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order; their decay and maps must then be given again."""
        index = torch.tensor(rows, device=self.first.device)
        self.first, self.second, self.steps = (
            self.first.index_select(0, index),
            self.second.index_select(0, index),
            self.steps[list(rows)],
        )

    def adopt(self, sources: Sequence[tuple[Update, int]]) -> None:
        """In row k the moments of row ``sources[k][1]`` of another update."""
        for k, (source, row) in enumerate(sources):
            self.first[k], self.second[k], self.steps[k] = source.first[row], source.second[row], source.steps[row]

    def shrink_by(self, decay: np.ndarray, maps: Maps) -> None:
        """What acts on the weights besides the gradient.

        Args:
            decay: decoupled decay [members, parameters].
            maps: the proximal technique of (member, parameter).
        """
        self.decay, self.maps = decay, maps
        self._jobs: np.ndarray | None = None
        self._grads: list[Tensor] = []

    def direction(self, t: int, gradient: Tensor) -> Tensor:
        """In which direction the coming step moves parameter t: the first moment that will be, [member, *shape]."""
        return self.block.view(self.first, self.block.segments[t]).lerp(gradient, 1 - BETA1)

    @torch.no_grad()
    def step(self, grads: list[Tensor], lr: np.ndarray) -> None:
        """Move all members.

        Args:
            grads: for each parameter [members, *shape].
            lr: [members].
        """
        self.steps += 1
        values = self.block.values
        if values.device.type == "cpu" and values.dtype == torch.float32 and native.kernel() is not None:
            self._native(grads, lr)
        else:
            self._plain(grads, lr)

    def _plain(self, grads: list[Tensor], lr: np.ndarray) -> None:
        device = self.block.values.device

        def there(values: np.ndarray) -> Tensor:  # not by torch.tensor, which waits until the device has them
            return torch.from_numpy(values.astype(np.float32)).to(device, non_blocking=True)

        size, root = there(lr / (1 - BETA1**self.steps)), there(np.sqrt(1 - BETA2**self.steps))
        keep = there(1 - lr[:, None] * self.decay)
        for t, (segment, p, g) in enumerate(zip(self.block.segments, self.block.parameters, grads, strict=True)):
            wide = (-1, *[1] * len(segment.shape))
            m, v = (self.block.view(moments, segment) for moments in (self.first, self.second))
            m.lerp_(g, 1 - BETA1)
            v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            bottom = (v.sqrt() / root.reshape(wide)).add_(EPS)
            p.mul_(keep[:, t].reshape(wide)).sub_(size.reshape(wide) * (m / bottom))
            for k in range(len(self.block)):
                if (k, t) in self.maps:
                    self._map(self.maps[k, t], p.detach()[k], bottom[k], float(lr[k]))

    @staticmethod
    def _map(penalty: Proximal, own: Tensor, bottom: Tensor, lr: float) -> None:
        penalty.map_(own, lr / bottom if penalty.scaling == "adaptive" else lr)

    def _native(self, grads: list[Tensor], lr: np.ndarray) -> None:
        block = self.block
        if self._jobs is None:
            self._jobs = self._prepared()
        jobs = self._jobs
        held = grads
        if len(grads) != len(self._grads) or any(
            a is not b for a, b in zip(grads, self._grads, strict=True)
        ):  # a program's are always the same
            members = np.arange(len(block), dtype=np.uint64)[:, None]
            held = [g if g[0].is_contiguous() else g.contiguous() for g in grads]  # kept alive until the kernel is done
            jobs["g"] = np.array([g.data_ptr() for g in held], dtype=np.uint64) + members * np.array(
                [4 * g.stride(0) for g in held], dtype=np.uint64
            )
            self._grads = list(grads) if all(a is b for a, b in zip(grads, held, strict=True)) else []
        jobs["keep"] = 1 - lr[:, None] * self.decay
        jobs["root"] = (1 / np.sqrt(1 - BETA2**self.steps))[:, None]
        jobs["size"], jobs["step"] = (lr / (1 - BETA1**self.steps))[:, None], lr[:, None]
        if self._alike is not None:
            native.run("adam", jobs.reshape(-1), self._alike)
        else:
            native.run("adam", jobs[self._adaptive], True)
            native.run("adam", jobs[~self._adaptive], False)
        for k, t in self._left:
            bottom = (block.view(self.second, block.segments[t])[k] / (1 - BETA2 ** self.steps[k])).sqrt() + EPS
            self._map(self.maps[k, t], block.parameters[t].detach()[k], bottom, float(lr[k]))

    def _prepared(self) -> np.ndarray:
        """What stays the same from step to step."""
        block = self.block
        members, width = block.values.shape
        jobs = np.zeros((members, len(block.segments)), native.JOB)
        starts = np.array([s.start for s in block.segments], dtype=np.uint64) * np.uint64(4)
        rows = np.arange(members, dtype=np.uint64)[:, None] * np.uint64(4 * width)
        for name, tensor in (("p", block.values), ("m", self.first), ("v", self.second)):
            jobs[name] = np.uint64(tensor.data_ptr()) + rows + starts
        jobs["numel"] = [s.stop - s.start for s in block.segments]
        jobs["blend"], jobs["b2"], jobs["w2"], jobs["eps"] = 1 - BETA1, BETA2, 1 - BETA2, EPS
        # Without a threshold the two metrics do the same: one call for all unless some map is decoupled.
        self._adaptive = np.full(jobs.shape, any(penalty.scaling == "adaptive" for penalty in self.maps.values()))
        self._left: list[tuple[int, int]] = []
        for (k, t), penalty in self.maps.items():
            terms = terms_of(penalty)
            runs = runs_for([penalty], [block.parameters[t][k]], terms) if terms is not None else [None]
            if terms is None or runs == [None]:
                self._left.append((k, t))
                continue
            penalize(jobs[k, t : t + 1], runs, terms)
            self._adaptive[k, t] = penalty.scaling == "adaptive"
        self._alike = bool(self._adaptive.any()) if self._adaptive.all() or not self._adaptive.any() else None
        return jobs
