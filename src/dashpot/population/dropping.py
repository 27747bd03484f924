"""Dropout of many members, each with its own rate and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import kernel, uniform_by
from dashpot.core.rng import derive_all, stream
from dashpot.population.technique import Ahead, StackedTechnique
from dashpot.techniques.dropout.dropout import dropout


class _Dropped(torch.autograd.Function):
    """Dropout whose mask is hashed again in the backward pass, so that none is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: np.ndarray, rates: np.ndarray, scales: np.ndarray) -> Tensor:
        ctx.plan = keys, rates, scales
        return _drop(x, keys, rates, scales)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _drop(grads[0].contiguous(), *ctx.plan), None, None, None


def _drop(x: Tensor, keys: np.ndarray, rates: np.ndarray, scales: np.ndarray) -> Tensor:
    out = torch.empty_like(x)
    pointers = (keys.ctypes.data, rates.ctypes.data, scales.ctypes.data)
    kernel().dashpot_dropout(*pointers, len(x), x[0].numel(), x.data_ptr(), out.data_ptr())
    return out


class StackedDropout(StackedTechnique):
    """Hooks on the stacked network, at the same modules as on one network."""

    def setup(self) -> None:
        for handle in getattr(self, "handles", []):
            handle.remove()
        rates: dict[str, list[float]] = {}
        for k, technique in enumerate(self.techniques):
            if technique is not None and technique.p > 0:
                for name in self.chunk.places(technique.on):
                    rates.setdefault(name, [0.0] * len(self.techniques))[k] = technique.p
        self.rates = {name: np.array(rate, dtype=np.float32) for name, rate in rates.items()}
        self.places = {name: np.array([stream(int(key), name) for key in self.keys], dtype=np.uint64) for name in rates}
        modules = dict(self.chunk.block.network.named_modules())
        self.handles = [modules[name].register_forward_hook(self._hook(name)) for name in rates]
        self._table: tuple[np.ndarray, Ahead[np.ndarray]] | None = None

    def first_call(self, places: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Keys and rates [place, member] of the first calls in this step; ``places`` are always the same."""
        if self._table is None:
            members = len(self.techniques)
            keys, rates = (
                np.zeros((len(places), members), dtype=np.uint64),
                np.zeros((len(places), members), dtype=np.float32),
            )
            for i, name in enumerate(places):
                if name in self.rates:
                    keys[i], rates[i] = self.places[name], self.rates[name]
            self._table = rates, Ahead(self.chunk, lambda steps: list(derive_all(keys, steps[:, None, None], 0)))
        rates, ahead = self._table
        return ahead.now(), rates

    def _hook(self, name: str) -> Callable[..., Tensor | None]:
        keys, p = self.places[name], self.rates[name]
        scale = np.float32(1) / np.maximum(np.float32(1) - p, np.finfo(np.float32).tiny)

        def hook(module: Any, args: Any, x: Tensor) -> Tensor | None:
            if not module.training:
                return None
            calls = self.chunk.calls
            now = derive_all(keys, self.chunk.step, calls.get(name, 0))
            calls[name] = calls.get(name, 0) + 1
            if x.device.type == "cpu" and x.dtype == torch.float32 and kernel() is not None:
                # Torch has no types here.
                result: Tensor = _Dropped.apply(x.contiguous(), now, p, scale)  # type: ignore[no-untyped-call]
                return result
            uniform = uniform_by(now, x[0].numel(), x.device).view(x.shape)
            return dropout(x, uniform, self.wide(p, x.ndim))

        return hook


def first_calls(actors: Sequence[StackedDropout], places: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """:meth:`StackedDropout.first_call` of all of them: a recipe may have several, at places of their own."""
    (keys, rates), *others = (actor.first_call(places) for actor in actors)
    for more, theirs in others:
        keys, rates = np.where(theirs > 0, more, keys), np.where(theirs > 0, theirs, rates)
    return keys, rates
