"""What a race measures before it begins: the precision of products, and in how many threads it trains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from dashpot.core.threads import most, scoped
from dashpot.data.kinds import KINDS
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.population.precision import MEMBERS, STEPS, Precision, chosen, some_of
from dashpot.search.racing.memory import size
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import task_schedule
from dashpot.search.space.space import Candidate
from dashpot.training.setup import pick_device

ENOUGH = 1.25
"""How many times as much several threads must do in a second as one, to be worth it."""
ROUNDS = 3
EPOCHS, BYTES = 100, 4
LITTLE, SMALL = 2e11, 10.0
"""Floating-point operations and seconds of training in all below which several threads are not worth a measurement,
which builds three populations.
"""
SHARE = 0.9
"""Of so many times as fast, where convolutions take most of the time: their networks hold Python's lock for moments and
share no memory, so several populations need no measurement, which would take as long as some candidates.
"""
Timed = Callable[[int], float]
"""From a number of populations, each in a thread, to the seconds of an epoch of all of them."""


def measured(
    task: Task, candidates: Sequence[Candidate], batch_size: int, known: Mapping[str, Any] | None, steps: float
) -> tuple[Precision, Spread]:
    """The precision, and this worker's populations.

    Args:
        known: the precision in which the study's other workers train.
        steps: as for :func:`spread_of`.
    """
    precision = Precision.from_dict(known) if known else Precision(bool(task.bfloat16))
    try:
        precision = precision if known else precision_of(task, candidates, batch_size)
        return precision, spread_of(task, candidates, batch_size, most(), steps=steps)
    except Exception:  # some candidate cannot be trained, whatever it raises; its race tells
        return precision, Spread()


def precision_of(task: Task, candidates: Sequence[Candidate], batch_size: int) -> Precision:
    """Of the task if it says one, else the faster one on some candidates."""
    if task.bfloat16 is not None:
        return Precision(task.bfloat16)
    with scoped(1):
        return chosen(lambda low: _population(task, candidates, batch_size, low), pick_device(task.device))


@dataclass(frozen=True)
class Spread:
    """In how many threads a race trains, each with a population of its own, and how many times as fast as in one."""

    populations: int = 1
    gain: float = 1.0


def spread_of(
    task: Task,
    candidates: Sequence[Candidate],
    batch_size: int,
    limit: int,
    *,
    steps: float = math.inf,
    timed: Timed | None = None,
) -> Spread:
    """The number of threads, up to ``limit``, that is fastest: small networks hold Python's lock for long, and beside
    other work on the machine threads wait for cores.

    Args:
        steps: of all members, in all.
    """
    if limit == 1 or pick_device(task.device).type != "cpu":
        return Spread()
    if (kind := KINDS.get(task.modality or "")) is not None and not kind.faster_together:
        return Spread(limit, SHARE * limit if limit > 1 else 1.0)
    if operations(task, candidates, batch_size) * steps < LITTLE:
        return Spread()
    timed = timed or (lambda count: _seconds(task, candidates, batch_size, count))
    alone = timed(1)
    if alone * steps / (ROUNDS * STEPS * min(MEMBERS, len(candidates))) < SMALL:
        return Spread()
    found, count = Spread(), 2
    while count <= limit:
        gain = count * alone / timed(count)
        if gain < ENOUGH * found.gain:
            break  # more threads only wait for each other
        found = Spread(count, gain)
        count = limit if count < limit < 2 * count else 2 * count
    return found


def operations(task: Task, candidates: Sequence[Candidate], batch_size: int) -> float:
    """Floating-point operations of a step of a member, on the average of some candidates: two for each weight and row
    forward, twice as many backward.
    """
    sizes = [size(task, candidate) / BYTES * (candidate.batch_size or batch_size) for candidate in candidates]
    return 6 * sum(sizes) / max(len(sizes), 1)


def _population(task: Task, candidates: Sequence[Candidate], batch_size: int, low: bool) -> Population:
    members = [task.member(candidate, 0) for candidate in candidates]

    def batch_of(member: Member) -> int:
        return member.batch_size or batch_size

    return Population(
        some_of(members, batch_of),
        [(task.x, task.y)],
        epochs=EPOCHS,
        batch_size=batch_size,
        schedule=task_schedule,
        loss=task.loss,
        device=task.device,
        bfloat16=low,
        stack=task.stack,
        cache=task.known,
        modality=task.modality,
        weight=task.weight,
    )


def _seconds(task: Task, candidates: Sequence[Candidate], batch_size: int, count: int) -> float:
    populations = [_population(task, candidates, batch_size, bool(task.bfloat16)) for _ in range(count)]

    def train(population: Population) -> None:
        torch.set_num_threads(1)
        population.train(1)

    times = []
    with scoped(1), ThreadPoolExecutor(count) as pool:
        for _ in range(1 + ROUNDS):
            started = time.perf_counter()
            list(pool.map(train, populations))
            times.append(time.perf_counter() - started)
    return sum(times[1:])  # and not the least: waits are part of it
