"""The networks of a race, spread over the cores: one population per thread, since torch leaves Python's lock while it
computes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import DashpotError
from dashpot.core.recipe import Recipe
from dashpot.data.kinds import KINDS
from dashpot.population.members import Member
from dashpot.population.population import Population

FEWEST = 3
"""Members of a population at least, where they train faster together: fewer are not worth a thread of their own. Where
they do not, each has a population, and threads take whichever waits, so that none idles beside slower networks.
"""
APART = "trained one by one, since together they raised an error"
Place = tuple[int, int]
"""(trial, position among the trial's members)."""


class ParallelTrials:
    """The members of several trials, in as many populations as there are threads.

    Small stacked networks gain little from several threads per operation, and lose much on a busy machine, so each
    population computes on one.

    Args:
        members: for each trial its members.
        threads: populations at most; a GPU has one.
        options: of :class:`Population`.
    """

    def __init__(
        self,
        members: Sequence[Sequence[Member]],
        sets: Sequence[tuple[Tensor, Tensor]],
        *,
        threads: int,
        **options: Any,
    ) -> None:
        self._before = torch.get_num_threads()
        self._members, self._sets, self._options = members, sets, options
        self.reasons: dict[Place, str] = {}
        self._moved: set[Place] = set()
        torch.set_num_threads(1)
        try:
            try:
                self._build(threads, set())
            except Exception as error:  # a technique or a network may raise anything
                # One that cannot be built must not end the others; which one it is, each tells alone.
                for i, own in enumerate(members):
                    if (why := self._refusal(own)) is not None:
                        self.reasons |= {(i, k): why for k in range(len(own))}
                self._build(threads, set(self.reasons), apart=not self.reasons)
                if not self.reasons:
                    self.notes.append(f"{APART}: {reason(error)}")
        except BaseException:  # after Ctrl-C, too, torch has its threads back
            torch.set_num_threads(self._before)
            raise

    def _build(self, threads: int, without: set[Place], *, apart: bool = False) -> None:
        """Spread all members but some over populations; ``apart``, each trial has one of its own."""
        members = self._members
        flat = [place for i, own in enumerate(members) for k in range(len(own)) if (place := (i, k)) not in without]
        self._kept = set(flat)
        kind = KINDS.get(self._options.get("modality") or "")
        together = kind is None or kind.faster_together
        if apart:
            count = len(members)
        elif together:
            count = max(1, min(threads, len(flat) // FEWEST))
        else:
            count = max(1, len(flat) if threads > 1 else 1)
        # Members of one shape stay together, so that stacks stay large.
        if not apart:
            flat.sort(key=lambda place: (str((own := members[place[0]][place[1]]).shape), own.batch_size or 0))
        self._where: dict[Place, tuple[int, int]] = {}
        parts: list[list[Member]] = [[] for _ in range(count)]
        for position, (i, k) in enumerate(flat):
            part = i if apart else position * count // len(flat)
            self._where[i, k] = part, len(parts[part])
            parts[part].append(members[i][k])
        self._populations = [self._make(part) for part in parts]
        many = min(threads, len(self._populations))
        self._pool = ThreadPoolExecutor(many) if many > 1 else None
        self._took = [0.0] * len(self._populations)
        self.notes = list(dict.fromkeys(note for p in self._populations for note in p.notes))

    @property
    def member_steps(self) -> int:
        """Steps of all members together."""
        return sum(p.member_steps for p in self._populations)

    @property
    def failed(self) -> set[Place]:
        """Members whose loss was not finite, or whose techniques raised an error, which :attr:`reasons` has."""
        lost = {(part, n) for part, p in enumerate(self._populations) for n in p.failed}
        return {place for place, where in self._where.items() if where in lost} | set(self.reasons)

    def train(self, deadline: float | None) -> bool:
        """One epoch; False if the time is over."""
        if deadline is not None and time.monotonic() >= deadline:
            return False
        errors = self._each(self._train)
        for part, error in enumerate(errors):
            if error is not None:
                self._isolate(part, error, self._populations[part].epoch + 1, {})
        return True

    @staticmethod
    def _train(part: int, population: Population) -> Exception | None:
        try:
            if population.alive:
                population.train(1)
        except Exception as error:  # a technique or a network may raise anything
            return error
        return None

    def _isolate(self, part: int, error: Exception, epochs: int, rows: Mapping[Place, np.ndarray]) -> None:
        """Find the trials that raise an error, and remove them: the others of their population are trained again, each
        trial alone, up to the same epoch, with the same result.

        Members that took over another's network cannot start again, and have failed.

        Args:
            rows: for which outputs were wanted.
        """
        places = [place for place, (p, _) in self._where.items() if p == part and place in self._kept]
        self._populations[part].keep([], weights=False)
        before = len(self.reasons)
        for i in sorted({i for i, _ in places}):
            own = [place for place in places if place[0] == i]
            if self._moved & set(own):
                self.fail(own, error)
                continue
            try:
                population = self._make([self._members[i][k] for _, k in own])
                population.train(epochs)
                population.outputs({n: rows[place] for n, place in enumerate(own) if place in rows})
            except Exception as again:  # a technique or a network may raise anything
                self.fail(own, again)
                continue
            self._populations.append(population)
            self._where |= {place: (len(self._populations) - 1, n) for n, place in enumerate(own)}
        if len(self.reasons) == before:
            self.notes.append(f"{APART}: {reason(error)}")

    def fail(self, places: Iterable[Place], error: Exception) -> None:
        """These have failed."""
        self.reasons |= dict.fromkeys(places, reason(error))

    def _make(self, members: Sequence[Member]) -> Population:
        return Population(members, self._sets, **self._options)

    def _refusal(self, members: Sequence[Member]) -> str | None:
        """Why members cannot be built, or None."""
        try:
            self._make(members)
        except Exception as error:  # a technique or a network may raise anything
            return reason(error)
        return None

    def outputs(self, rows: Mapping[Place, np.ndarray]) -> dict[Place, Tensor]:
        """Outputs of some members for some rows, in evaluation mode; without those that raise an error now, which have
        failed.
        """
        found = self._outputs(rows)
        if errors := {part: one for part, one in enumerate(found) if isinstance(one, Exception)}:
            for part, error in errors.items():
                self._isolate(part, error, self._populations[part].epoch, rows)
            found = self._outputs(rows)
            for part, error in ((part, one) for part, one in enumerate(found) if isinstance(one, Exception)):
                self.fail([place for place in rows if self._where[place][0] == part], error)
        result: dict[Place, Tensor] = {}
        for place in rows:
            part, n = self._where[place]
            own = found[part]
            if place not in self.reasons and not isinstance(own, Exception):
                result[place] = own[n]
        return result

    def _outputs(self, rows: Mapping[Place, np.ndarray]) -> list[dict[int, Tensor] | Exception]:
        """Of each population, or the error that it raised."""
        wanted: list[dict[int, np.ndarray]] = [{} for _ in self._populations]
        for place, r in rows.items():
            if place not in self.reasons:
                part, n = self._where[place]
                wanted[part][n] = r

        def outputs(part: int, population: Population) -> dict[int, Tensor] | Exception:
            try:
                return population.outputs(wanted[part])
            except Exception as error:  # a technique or a network may raise anything
                return error

        return self._each(outputs)

    def best_epoch(self, place: Place) -> int:
        """The epoch whose weights early stopping keeps for a member; 0 where nothing is watched."""
        part, n = self._where[place]
        return self._populations[part].best_epochs.get(n, 0)

    def tensors(self, place: Place) -> dict[str, Tensor]:
        """The weights and buffers of a member, on the CPU."""
        part, n = self._where[place]
        return {name: t.cpu() for name, t in self._populations[part].tensors(n).items()}

    def keep(self, places: Sequence[Place]) -> None:
        """Only these train on."""
        self._kept = set(places)
        stay = [self._where[place] for place in places]
        for part, population in enumerate(self._populations):
            alive = set(population.alive)
            population.keep([n for other, n in stay if other == part and n in alive], weights=False)

    def replace(self, moves: Sequence[tuple[Place, Place]], recipe: Recipe, lr: float) -> bool:
        """Each first place is taken by a copy of the member at the second, which goes on with this recipe and learning
        rate.

        Returns:
            False where one of them cannot be copied, since it has ended or the new recipe cannot be stacked; then
            nothing has changed.
        """
        made: list[tuple[int, int]] = []
        whole = True
        for place, other in moves:
            (part, _), (source, n) = self._where[place], self._where[other]
            try:
                # It stays where the member was that it replaces, so that the threads' shares stay even.
                made.append(
                    (part, self._populations[source].clone(n, recipe=recipe, lr=lr, into=self._populations[part]))
                )
            except Exception:  # no stack for the new recipe, an ended member, or what a technique raises
                whole = False
                break
        gone = [self._where[place] for place, _ in moves] if whole else made
        for part, population in enumerate(self._populations):
            if lost := {n for p, n in gone if p == part}:
                population.keep([n for n in population.alive if n not in lost], weights=False)
        if whole:
            self._moved |= {place for place, _ in moves}
            self._where |= dict(zip((place for place, _ in moves), made, strict=True))
        return whole

    def close(self) -> None:
        """Restore the number of threads."""
        if self._pool is not None:
            self._pool.shutdown()
        torch.set_num_threads(self._before)

    def _each(self, action: Any) -> list[Any]:
        """What ``action(part, population)`` says of each; with threads, what took longest before begins first."""
        if self._pool is None:
            return [action(part, p) for part, p in enumerate(self._populations)]
        self._took += [0.0] * (len(self._populations) - len(self._took))
        order = sorted(range(len(self._populations)), key=lambda part: -self._took[part])
        waiting = {part: self._pool.submit(self._alone, action, part, self._populations[part]) for part in order}
        return [waiting[part].result() for part in range(len(self._populations))]

    def _alone(self, action: Any, part: int, population: Population) -> Any:
        torch.set_num_threads(1)
        began = time.monotonic()
        try:
            return action(part, population)
        finally:
            self._took[part] = time.monotonic() - began


def reason(error: BaseException) -> str:
    """Why a candidate failed, in a line for the record."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    return text if isinstance(error, DashpotError) else f"{type(error).__name__}: {text}".rstrip(": ")
