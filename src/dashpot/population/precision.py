"""Whether products in bfloat16 pay: by a measurement, since a processor that has them may be slower by them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from dashpot.population.members import Member
from dashpot.population.sizes import fast_bfloat16

GAIN = 0.95
"""Bfloat16 is taken where it needs at most this share of the time: it is the less exact of the two."""
MEMBERS, STEPS, ROUNDS = 8, 4, 4
"""Networks, steps and rounds of a measurement at most."""


class Trains(Protocol):
    """What is measured: a population."""

    def train(self, epochs: int) -> bool: ...


@dataclass(frozen=True)
class Precision:
    """The precision of wide products, and the seconds of some steps by which it was chosen; None: not measured."""

    bfloat16: bool
    float32_s: float | None = None
    bfloat16_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, for the study and the record."""
        return {
            "chosen": "bfloat16" if self.bfloat16 else "float32",
            "float32_s": self.float32_s,
            "bfloat16_s": self.bfloat16_s,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Precision:
        """The inverse of :meth:`to_dict`."""
        return cls(data["chosen"] == "bfloat16", data["float32_s"], data["bfloat16_s"])

    def __str__(self) -> str:
        chosen = "bfloat16" if self.bfloat16 else "float32"
        if self.float32_s is None or self.bfloat16_s is None:
            return f"products in {chosen}"
        return f"products in {chosen}: bfloat16 takes {self.bfloat16_s / self.float32_s:.2f} times as long as float32"


def some_of(members: Sequence[Member], batch_of: Callable[[Member], int]) -> list[Member]:
    """A few members with a few steps each, of the shapes that the others have, too."""
    return [replace(m, rows=m.rows[: STEPS * batch_of(m)], watch=None) for m in members[:MEMBERS]]


def chosen(
    make: Callable[[bool], Trains], device: torch.device, *, clock: Callable[[], float] = time.perf_counter
) -> Precision:
    """The faster precision at these very shapes: the least time of some rounds, in turn.

    Args:
        make: a population that multiplies in bfloat16, or not.
        device: where; a GPU has units of its own for bfloat16, and needs no measurement.
    """
    if device.type != "cpu" or not fast_bfloat16(device):
        return Precision(fast_bfloat16(device))
    arms = {low: make(low) for low in (False, True)}
    for population in arms.values():
        population.train(1)  # builds kernels and warms caches
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for low, population in arms.items():
            started = clock()
            population.train(1)
            times[low].append(clock() - started)
    plain, short = min(times[False]), min(times[True])
    return Precision(short <= GAIN * plain, plain, short)
