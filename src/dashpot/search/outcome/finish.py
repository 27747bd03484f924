"""After the race: finalists on all folds, a second seed, the choice, what each ingredient earned, and more seeds of
what predicts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dashpot.core.errors import ConfigError
from dashpot.search.outcome import ablation as effects
from dashpot.search.outcome import ensemble as final
from dashpot.search.outcome.record import record
from dashpot.search.outcome.result import TuneResult
from dashpot.search.racing import checkpoints as artifacts
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.racing.worker import remembered, with_networks

if TYPE_CHECKING:
    from dashpot.search.search import Search
    from dashpot.search.storage.study import Store

FINALISTS = 6
"""Complete candidates that are trained on all folds and may enter the final model."""
SEEDS, NETWORKS = 4, 60
"""Seeds more of the candidates in the final model, and their networks, at most: they are for time that would be left
over.
"""
REPEATS = 0.15
"""The share of the budget that must be left for the best finalists to be trained again with another seed."""
HURRY = 10.0
"""Seconds for the finals where the user has interrupted the search."""
END, FINALS = 0.9, 0.12
"""The share of a budget after which only the report is made, and that of the finals where the winner is to be
explained.
"""


def finish(search: Search, store: Store, course: TrainingBudget) -> TuneResult:
    """Choose, assemble, measure, and report.

    Raises:
        ConfigError: no candidate was trained to its end, or every loss became infinite.
    """
    options, budget = search.options, search.options.budget
    end, raced = None if budget is None else search.started + END * budget, search.race_end(store)
    # What each ingredient earned has a share of its own: the finals may not take it.
    share = (
        end
        if end is None or raced is None or budget is None or not options.explain
        else min(end, raced + FINALS * budget)
    )
    every = list(range(len(search.task.folds)))
    runners = remembered(store, search.space)
    # What the races took by epoch is surer than what was measured before them.
    trained = course.folds * sum(r.epochs for r in runners)
    pace = (sum(r.seconds for r in runners) / trained if trained else 0.0) or float(store.get("pace") or 0.0)
    if search.hurried:  # somebody is waiting; but one candidate must have its first epochs
        share = end = time.monotonic() + max(HURRY, 3 * pace * len(every))
    complete = sorted((r for r in runners if r.state == "complete" and math.isfinite(r.score)), key=lambda r: r.score)
    plain = next(
        (r for r in complete if not r.lineage and dict(r.candidate.params) == dict(search.space.plain().params)), None
    )
    wanted = affordable(
        complete, plain, lambda r: len(every) - artifacts.folds_of(search.folder, r.number), pace * course.epochs, share
    )
    wanted = wanted or sorted((r for r in runners if r.state != "failed"), key=lambda r: r.score)[:1]
    if not wanted:
        raise ConfigError(
            "space",
            "one in which some candidate trains",
            "one in which every loss became infinite",
            "Lower the learning rates.",
        )
    finalists = with_networks(search.task, course, search.folder, wanted, folds=every, deadline=share, say=search.say)
    if not finalists:
        raise ConfigError(
            "budget", "enough to train one candidate to its end", f"{budget:g} s" if budget else None, "Give more time."
        )
    every = every[: len(finalists[0].tensors)]
    choice = final.choose(finalists)
    course = replace(course, epochs=choice.chosen.planned or course.epochs)
    seeds = Seeds(search, course, every, end, pace * course.epochs)
    again = seeds.again(finalists, choice, plain)
    if again:
        # Only those that were trained as often are compared: the best of many is partly lucky, and was, with its first
        # seed.
        first = {r.number: r for r in finalists}
        choice = final.choose([final.averaged(first[r.number], [first[r.number], r]) for r in again])
    found = effects.Effects()
    if options.explain and not search.hurried:
        # By the second seed where there is one: the first one's scores won the race, and some of that was luck.
        once = next(r for r in [*again, *finalists] if r.number == choice.chosen.number)
        found = effects.remembered(store, once, every) or effects.measure(
            search.task,
            course,
            search.space,
            once,
            every,
            deadline=end,
            seconds_per_member=seeds.pace,
            say=search.say,
            note=search.note,
        )
        effects.remember(store, once, every, found)
    finalists = [*finalists, *again]
    kind = "folds" if options.ensemble == "refit" else options.ensemble
    made = final.assemble(
        search.task, [*finalists, *seeds.more(finalists, choice)], choice, every, kind, calibrate=options.calibrate
    )
    if options.ensemble == "refit":
        made = final.refit(search.task, course, search.pool, choice, made)
    measured = record(search, runners, finalists, choice, made, course, found, plain, store.count("steps"), every)
    chosen = choice.chosen.candidate
    return TuneResult(
        chosen.recipe, chosen.lr, chosen.net, made.network, made.decision, measured, search.prepared, search.test
    )


def affordable(
    complete: Sequence[Trial], plain: Trial | None, lacks: Callable[[Trial], int], pace: float, end: float | None
) -> list[Trial]:
    """The best candidates, and the plain network, as far as they can be trained on the folds that each ``lacks``, in
    the time there is; at least the best.
    """
    left = math.inf if end is None or not pace else (end - time.monotonic()) / (1.2 * pace)
    left -= 0 if plain is None else lacks(plain)
    found: list[Trial] = []
    for runner in complete:
        if len(found) == FINALISTS:
            break
        cost = 0 if runner is plain else lacks(runner)
        if cost <= left or not (cost and found):
            found.append(runner)
            left -= cost
    return found + ([plain] if plain is not None and plain not in found else [])


@dataclass(frozen=True)
class Seeds:
    """Candidates trained again with other seeds, as far as the time allows.

    Attributes:
        every: the folds.
        end: ``time.monotonic()`` at which it ends, or None.
        pace: seconds of a member for all its epochs.
    """

    search: Search
    course: TrainingBudget
    every: Sequence[int]
    end: float | None
    pace: float

    def again(self, finalists: Sequence[Trial], choice: final.Choice, plain: Trial | None) -> list[Trial]:
        """The best two, the one chosen so far and the plain network with a second seed; nothing where the time does not
        allow it.
        """
        search, options = self.search, self.search.options
        if search.hurried:
            return []
        numbers = {
            *[r.number for r in sorted(finalists, key=lambda r: r.score)[:2]],
            choice.chosen.number,
            *([plain.number] if plain else []),
        }
        wanted = [r for r in finalists if r.number in numbers]
        if self.end is not None and options.budget is not None:
            now = time.monotonic()
            left = options.budget - (now - search.started)
            # What each ingredient earned comes after this, and must not suffer.
            later = len(effects.arms(search.space, choice.chosen.candidate)) if options.explain else 0
            untrained = self._untrained(wanted, 1)
            late = (
                left < REPEATS * options.budget
                or 1.1 * self.pace * len(self.every) * (len(untrained) + later) > self.end - now
            )
            if untrained and late:
                return []
        whole = self._trained(wanted, 1)
        return whole if len(whole) > 1 else []

    def more(self, finalists: Sequence[Trial], choice: final.Choice) -> list[Trial]:
        """Further seeds of the candidates in the final model while time is left: they steady what predicts, and change
        nothing that was compared.
        """
        found: list[Trial] = []
        if self.search.hurried or self.end is None or self.search.options.ensemble == "refit":
            return found
        counts = final.picked(self.search.task, finalists, choice, self.every, self.search.options.ensemble)
        first = {r.number: r for r in reversed(finalists)}
        wanted = [first[number] for number in sorted(counts, key=lambda number: -counts[number])]
        begin = 1 + max(r.repeat for r in finalists)
        each = 1.3 * self.pace * len(self.every)  # a few members in a stack are slower than many
        for repeat in range(begin, begin + SEEDS):
            began = time.monotonic()
            fits = int((self.end - began) / (1.1 * each)) if each else len(wanted)
            some = (
                wanted if not self._untrained(wanted, repeat) else wanted[: max(fits, 0)]
            )  # what is on the disk costs nothing
            if not some or len(found) * len(self.every) >= NETWORKS:
                break
            found += (whole := self._trained(some, repeat))
            if len(whole) < len(some):
                break
            each = (time.monotonic() - began) / len(some)
        return found

    def _untrained(self, runners: Sequence[Trial], repeat: int) -> list[Trial]:
        """Those of which this seed is not on the disk; after a kill in the report, all may be."""
        return [r for r in runners if artifacts.folds_of(self.search.folder, r.number, repeat) < len(self.every)]

    def _trained(self, runners: Sequence[Trial], repeat: int) -> list[Trial]:
        """Those whose networks of all folds were trained to their end."""
        search = self.search
        wanted = [r.untrained(repeat) for r in runners]
        found = with_networks(
            search.task, self.course, search.folder, wanted, folds=self.every, deadline=self.end, say=search.say
        )
        return [r for r in found if len(r.tensors) == len(self.every) and r.through(r.planned or self.course.epochs)]
