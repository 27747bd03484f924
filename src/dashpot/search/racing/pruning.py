"""Pruning: which trials of a race end early. Successive halving, Hyperband's brackets, none, or population-based
training.

``population`` is population-based training (Jaderberg et al., "Population Based Training of Neural Networks", 2017):
after each eighth of the epochs the worst quarter goes on from copies of networks of the best quarter, with strengths
and learning rates a little weaker or stronger. So strengths change over the training like a schedule. The result is the
sequence of strengths of one network, kept stage by stage, and trained again through all of its stages. When not to use
it: for a budget in which one race hardly fits, since no trial is pruned; where constant strengths are wanted; and it is
greedy: strong regularization, which pays late, scores badly at an early exchange.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dashpot.search.racing.planning import member_epochs
from dashpot.search.racing.trial import ETA, HYPERBAND, POPULATION, TrainingBudget, Trial, default_rungs
from dashpot.search.space.distributions import Distribution, Numeric, clipped
from dashpot.search.space.space import Candidate, Space

BRACKETS = 3
"""Two rungs, one, and none."""
QUARTER = 4
"""A population exchanges its worst quarter for its best."""
FACTORS = (0.8, 1.25)
WORSE, OF_FIRST = 0.2, 0.02
"""By how much a score is worse than the best one: a fifth of it, and a fiftieth of the first, without which a score
near 0 would be worse by chance.
"""


def bracket(training: TrainingBudget, turn: int) -> TrainingBudget:
    """The budget of the ``turn``-th race of a study: with Hyperband its brackets in turn, else always the same.

    Halving prunes after a ninth of the epochs, where scores may say little yet. The second bracket prunes only after a
    third of the epochs, the third not at all, with fewer candidates, so that each race takes about as many epochs (Li
    et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018). Not worth it where
    early scores predict final ones, as they mostly do here, since two thirds of the time then go to races of few
    candidates. Nor in a budget of one or two races.

    >>> whole = TrainingBudget(81, 32, (9, 27), 5, 16, "hyperband")
    >>> [(b.rungs, b.parallel) for b in (bracket(whole, turn) for turn in range(4))]
    [((9, 27), 16), ((27,), 7), ((), 4), ((9, 27), 16)]
    """
    k = turn % BRACKETS
    if training.schedule != HYPERBAND or k == 0:
        return training
    rungs = default_rungs(training.epochs)[k:]
    cost = member_epochs(training.parallel, 0, 1, training.epochs, training.rungs)
    parallel = min(
        range(2, training.parallel + 1),
        key=lambda n: abs(member_epochs(n, 0, 1, training.epochs, rungs) - cost),
        default=training.parallel,
    )
    return replace(training, rungs=rungs, parallel=parallel, bracket=k)


def only_worse(history: Sequence[tuple[int, float]]) -> bool:
    """Whether a network overfits: its best score was in the first half of its epochs so far, the last two were clearly
    worse, and the last one was no better than the one before.

    Of 1,620 such candidates that were trained on, on 17 tables and scored without a temperature, 3 improved on their
    best, none of them in the better third of its table. The last condition is for scores that oscillate at a high
    learning rate and improve when it falls.

    >>> only_worse([(3, 0.08), (4, 0.10), (7, 0.11)]), only_worse([(3, 0.08), (4, 0.11), (7, 0.10)])
    (True, False)
    >>> only_worse([(5, 0.08), (6, 0.10), (7, 0.11)])
    False
    """
    if len(history) < 3:
        return False
    best, score = min(history, key=lambda evaluation: evaluation[1] if math.isfinite(evaluation[1]) else math.inf)
    first = history[0][1] if math.isfinite(history[0][1]) else score
    limit = score + WORSE * abs(score) + OF_FIRST * abs(first)
    before, last = history[-2][1], history[-1][1]
    return history[-1][0] >= 2 * best and not before <= limit and not last < before


def staying(candidates: Sequence[int], free: Sequence[int], trials: Sequence[Trial]) -> set[int]:
    """Who stays at a rung: the best third of the ``free`` trials, of all ``candidates`` those that are not free, and
    the best of each network, where several are raced: some learn later than others.
    """
    ranked = sorted(free, key=lambda i: trials[i].score)
    best: dict[str, int] = {}
    for i in sorted(candidates, key=lambda i: trials[i].score):
        best.setdefault(str(trials[i].candidate.net.get("net")), i)
    return {*ranked[: math.ceil(len(free) / ETA)], *(set(candidates) - set(free)), *best.values()}


def pairs(
    running: Sequence[int], free: Sequence[int], trials: Sequence[Trial], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Which trial takes over which network: each of the worst quarter of the ``free`` trials one of the best quarter of
    all, drawn at random.

    The best are ranked by their last scores, since the current network is copied; the worst by their best scores, since
    these are what they lose.
    """

    def now(i: int) -> float:
        return trials[i].history[-1][1] if trials[i].history and math.isfinite(trials[i].history[-1][1]) else math.inf

    count = max(1, len(free) // QUARTER) if len(free) > 1 else 0
    best = sorted(running, key=now)[: max(1, len(running) // QUARTER)]
    worst = [i for i in sorted(free, key=lambda i: trials[i].score)[len(free) - count :] if i not in best]
    return [
        (i, source) for i in worst for source in [best[int(rng.integers(len(best)))]] if now(source) < trials[i].score
    ]


def perturbed(space: Space, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    """The same candidate with every strength and the learning rate a little weaker or stronger, inside their ranges;
    None where nothing can change.

    Everything else stays: the techniques that are on, named choices, and the network, whose weights the copy has.
    """
    ranges: dict[str, Distribution] = {
        f"{part.name}.{field}": d for part in space.techniques for field, d in part.fields.items()
    }
    params = dict(candidate.params)
    for name, distribution in {**ranges, "lr": space.lr}.items():
        if name in params and isinstance(distribution, Numeric):
            first, second = rng.permutation(FACTORS)
            value = moved(params[name], float(first), distribution)
            # At an end of its range it can only turn back.
            params[name] = value if value != params[name] else moved(params[name], float(second), distribution)
    return space.candidate(params) if params != dict(candidate.params) else None


def moved(value: float, factor: float, distribution: Numeric) -> float | int:
    """A number times a factor, inside its range and whole where it has to be.

    >>> moved(0.01, 0.8, Numeric(1e-4, 1.0, log=True)), moved(4, 1.25, Numeric(1, 10, integer=True))
    (0.008, 5)
    >>> round(moved(0.98, 1.25, Numeric(0.9, 0.9999)), 6)
    0.975
    """
    if distribution.integer:
        return int(clipped(round(value * factor), distribution))
    if (
        not distribution.log and distribution.low >= 0.5 and distribution.high <= 1
    ):  # close to one, such as the decay of an average: what it lacks counts
        return float(clipped(1 - (1 - value) * factor, distribution))
    return float(clipped(value * factor, distribution))


def in_words(training: TrainingBudget) -> str:
    """The pruning of a race, for people.

    >>> in_words(TrainingBudget(27, 32, (3, 9), 3, 8))
    'all but the best third pruned after epochs 3, 9'
    """
    if training.schedule == POPULATION:
        return "none pruned; after each eighth the worst quarter takes over networks of the best, with other strengths"
    if not training.rungs:
        return ""
    several = "s" * (len(training.rungs) > 1)
    pruned = f"all but the best third pruned after epoch{several} {', '.join(map(str, training.rungs))}"
    return pruned + "; in the races after it later, and not at all, with fewer candidates" * (
        training.schedule == HYPERBAND
    )
