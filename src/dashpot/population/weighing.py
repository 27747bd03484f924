"""What acts on gradients and weights of many members outside the update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dashpot.population.technique import StackedTechnique
from dashpot.techniques.averaging.ema import warmed_up
from dashpot.techniques.gradient.clipping import clip_coefficient, clip_value
from dashpot.techniques.penalties.l2 import l2_gradient
from dashpot.techniques.sharpness.sam import sam_ascent


class StackedL2(StackedTechnique):
    def on_gradient(self, grads: list[Tensor]) -> None:
        chosen: dict[int, list[float]] = {}
        for k, technique in enumerate(self.techniques):
            for t in self.selected(k):
                chosen.setdefault(t, [0.0] * len(self.techniques))[k] = technique.strength
        for t, strengths in chosen.items():
            grads[t].add_(l2_gradient(self.chunk.block.parameters[t].detach(), self.wide(strengths, grads[t].ndim)))


class StackedGradientClipping(StackedTechnique):
    def on_gradient(self, grads: list[Tensor]) -> None:
        off = float("inf")
        by_norm = [off if t is None or t.by != "norm" else t.maximum for t in self.techniques]
        by_value = [off if t is None or t.by != "value" else t.maximum for t in self.techniques]
        if min(by_norm) < off:
            factor = clip_coefficient(norms(grads), self.wide(by_norm, 1))
            for g in grads:
                g.mul_(factor.reshape(-1, *[1] * (g.ndim - 1)))
        if min(by_value) < off:
            for g in grads:
                g.copy_(clip_value(g, self.wide(by_value, g.ndim)))


class StackedSAM(StackedTechnique):
    def on_gradient(self, grads: list[Tensor]) -> Iterator[None] | None:
        rho = self.values("rho", 0.0)
        return self._climb(grads, rho) if any(rho) else None

    def _climb(self, grads: list[Tensor], rho: list[float]) -> Iterator[None]:
        block = self.chunk.block
        start, norm = block.values.clone(), norms(grads)
        for p, g in zip(block.parameters, grads, strict=True):
            wide = (-1, *[1] * (g.ndim - 1))
            # A radius of 0 adds exactly nothing: such members see the same gradient twice.
            p.detach().copy_(sam_ascent(p.detach(), g, norm.reshape(wide), self.wide(rho, g.ndim)))
        yield
        block.values.copy_(start)


class StackedEMA(StackedTechnique):
    def setup(self) -> None:
        if not hasattr(self, "average"):
            block = self.chunk.block
            self.average = block.values.clone()
            self.buffers = {name: b.clone() for name, b in block.floating().items()}

    def keep(self, rows: Sequence[int]) -> None:
        self.average = self.average[list(rows)]
        self.buffers = {name: b[list(rows)] for name, b in self.buffers.items()}
        super().keep(rows)

    def adopt(self, sources: Sequence[tuple[StackedTechnique | None, int]]) -> None:
        block = self.chunk.block
        for k, (source, row) in enumerate(sources):
            known = isinstance(source, StackedEMA) and source.techniques[row] is not None
            # A source that is known has both.
            self.average[k] = source.average[row] if known else block.values[k]  # type: ignore[union-attr]
            for name, b in self.buffers.items():
                # A source that is known has both.
                b[k] = source.buffers[name][row] if known else block.buffers[name][k]  # type: ignore[union-attr]

    def on_step(self) -> None:
        block, step = self.chunk.block, self.chunk.step
        # In place, and only for those who keep an average: it is a pass over all weights. The others' rows mean
        # nothing.
        share = {
            k: 1 - (warmed_up(t.decay, step) if t.warmup else t.decay)
            for k, t in enumerate(self.techniques)
            if t is not None
        }
        pairs = [(self.average, block.values), *((b, block.buffers[name]) for name, b in self.buffers.items())]
        if len(share) == len(self.techniques) > 1:
            for average, now in pairs:
                average.lerp_(now, self.wide(list(share.values()), now.ndim))
            return
        for k, weight in share.items():
            for average, now in pairs:
                average[k].lerp_(now[k], weight)


def norms(grads: list[Tensor]) -> Tensor:
    """The 2-norm of each member's gradients as one vector."""
    squares = torch.stack([torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in grads])
    total: Tensor = torch.linalg.vector_norm(squares, dim=0)
    return total
