"""Pruning: brackets cost the same, none is pruned without rungs, and the options say so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashpot.core.errors import ConfigError
from dashpot.search.config import SearchConfig
from dashpot.search.racing.budget import Pace, fit_budget, from_dict, to_dict
from dashpot.search.racing.planning import exchanges, member_epochs, rungs_for
from dashpot.search.racing.pruning import (
    bracket,
    in_words,
    moved,
    pairs,
    perturbed,
)
from dashpot.search.racing.race import Race
from dashpot.search.racing.trial import SCHEDULES, TrainingBudget, Trial
from dashpot.search.racing.worker import Worker
from dashpot.search.space.distributions import Categorical, Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from dashpot.search.storage.study import Store
from tests.search.helpers import FOLDS, candidate, own_clock, race, small_space, small_task, trial, tuned

WHOLE = TrainingBudget(epochs=9, batch_size=40, rungs=(1, 3), folds=1, parallel=12, schedule="hyperband")
LADDER = [candidate(lr=10.0**-k) for k in np.linspace(1.5, 5, 12)]


def by_counting(parallel: int, rungs: tuple[int, ...], epochs: int) -> int:
    """Epochs of all members, one epoch after another."""
    total, alive = 0, parallel
    for epoch in range(1, epochs + 1):
        total += alive
        if epoch in rungs and epoch < epochs:
            alive = math.ceil(alive / 3)
    return total


@pytest.mark.parametrize("epochs", [5, 9, 27, 40, 120])
@pytest.mark.parametrize("parallel", [4, 8, 12, 16])
def test_brackets_cost_about_the_same(epochs: int, parallel: int) -> None:
    whole = TrainingBudget(
        epochs, 32, rungs_for(TrainingBudget(epochs, 32, (), 3, parallel), epochs), 3, parallel, "hyperband"
    )
    trainings = [bracket(whole, turn) for turn in range(3)]
    assert trainings[0] == whole
    assert [c.rungs for c in trainings] == [whole.rungs, whole.rungs[1:], ()]
    assert [c.parallel for c in trainings] == sorted((c.parallel for c in trainings), reverse=True)
    cost = by_counting(parallel, whole.rungs, epochs)
    for c in trainings[1:]:
        assert 2 <= c.parallel <= parallel
        # No other number of trials comes nearer.
        nearest = min(abs(by_counting(n, c.rungs, epochs) - cost) for n in range(2, parallel + 1))
        assert abs(by_counting(c.parallel, c.rungs, epochs) - cost) == nearest
        assert member_epochs(c.parallel, 0, 3, epochs, c.rungs) == 3 * by_counting(c.parallel, c.rungs, epochs)
    assert bracket(whole, 3) == whole
    assert all(bracket(TrainingBudget(9, 32, (1, 3), 3, 8, s), 1).bracket == 0 for s in SCHEDULES if s != "hyperband")


def test_races_of_the_brackets() -> None:
    """Trained, not planned: epochs of members, and the baseline in each."""
    task, spent = small_task(), []
    for turn in range(3):
        training = bracket(WHOLE, turn)
        some = [candidate(lr=1e-6), *LADDER[: training.parallel - 1]]
        found = race(task, some, training, folds=[0], protected=[0])
        assert found[0].state == "complete"
        assert {r.epochs for r in found} == {*training.rungs, 9}
        spent.append(sum(r.epochs for r in found))
    assert spent[0] > 30
    assert max(spent) < 1.3 * min(spent), spent


@pytest.mark.parametrize(
    ("schedule", "turn", "rungs"),
    [("halving", 0, {1, 3}), ("hyperband", 1, {3}), ("hyperband", 2, set()), ("none", 0, set())],
)
def test_a_shortened_race_keeps_to_its_bracket(
    schedule: str, turn: int, rungs: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own, a second for each epoch of a member: the deadline allows three fifths of the epochs."""
    from dashpot.search.racing import race as module

    now = [0.0]
    train = module.ParallelTrials.train

    def slow(self: Any, deadline: float | None) -> bool:
        now[0] += sum(len(p.alive) for p in self._populations)
        return train(self, deadline)

    own_clock(monkeypatch, lambda: now[0])
    monkeypatch.setattr(module.ParallelTrials, "train", slow)
    training = bracket(
        TrainingBudget(27, 40, rungs_for(TrainingBudget(27, 40, (), 1, 9, schedule), 27), 1, 9, schedule), turn
    )
    deadline = 0.6 * by_counting(training.parallel, training.rungs, 27)
    trials = [Trial(i, c) for i, c in enumerate(LADDER[: training.parallel])]
    made = Race(small_task(), training, trials, folds=[0], deadline=deadline, elastic=True)
    found = made.run()
    assert 12 < made.planned < 20
    left = {r.epochs for r in found if r.state == "pruned"}
    assert left == set(rungs_for(training, made.planned))
    assert len(left) == len(rungs)
    assert all(r.epochs == made.planned for r in found if r.state == "complete")


def test_none_prunes_no_trial() -> None:
    training = fit_budget(80, FOLDS, Pace(1e-6), None, epochs=6, batch_size=40, schedule="none")
    assert (training.rungs, training.schedule) == ((), "none")
    found = race(small_task(), LADDER[:5], training)
    assert [(r.state, r.epochs, r.lineage) for r in found] == [("complete", 6, [])] * 5


def test_the_course_costs_what_it_will() -> None:
    """Where none is pruned, a race is longer: fewer candidates fit into the same time."""
    parallel = {s: fit_budget(2000, 5, Pace(0.005), 60.0, epochs=27, schedule=s).parallel for s in SCHEDULES}
    assert parallel["halving"] == parallel["hyperband"] > parallel["none"] == parallel["population"]
    for s in SCHEDULES:
        training = fit_budget(2000, 5, Pace(1e-3), 60.0, schedule=s)
        assert from_dict(to_dict(training)) == training
        assert bool(in_words(training)) == (s != "none")
    old = {k: v for k, v in to_dict(WHOLE).items() if k not in ("schedule", "bracket")}
    assert from_dict(old).schedule == "halving", "a study from before there was a choice"


def test_workers_walk_the_brackets_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each race of a study takes the next bracket, whichever worker begins it; one that comes later goes
    on from there.
    """
    from dashpot.search.racing import worker as module

    begun: list[tuple[int, int]] = []

    class Recorded(Race):
        def __init__(self, task: Any, training: TrainingBudget, trials: Any, **options: Any) -> None:
            begun.append((training.bracket, len(trials)))
            super().__init__(task, training, trials, **options)

    monkeypatch.setattr(module, "Race", Recorded)
    training = TrainingBudget(6, 40, (1, 2), 1, 6, "hyperband")
    sizes = [bracket(training, turn).parallel for turn in range(3)]
    first, second = (Store(str(tmp_path / "journal.log"), "study", {}, sampler="random") for _ in range(2))
    for store, limit in ((first, sum(sizes[:2])), (second, sum(sizes) + sizes[0])):
        worker = Worker(small_task(), small_space(), training, store, tmp_path, deadline=None, trials=limit)
        worker.run()
    first.close()
    second.close()
    assert begun == [(0, sizes[0]), (1, sizes[1]), (2, sizes[2]), (0, sizes[0])]


def test_exchanges() -> None:
    assert exchanges(16) == (2, 4, 6, 8, 10, 12, 14)
    assert exchanges(1) == ()
    for epochs in range(2, 130):
        found = exchanges(epochs)
        assert all(0 < e < epochs for e in found)
        assert len(found) == min(7, epochs - 1)


def test_which_trial_takes_over_which() -> None:
    def of(*scores: float, best: dict[int, float] | None = None) -> list[Trial]:
        return [trial(i, [(best or {}).get(i, s)], history=[(1, s)]) for i, s in enumerate(scores)]

    rng = np.random.default_rng(0)
    eight = of(0.8, 0.1, 0.7, 0.3, 0.2, 0.6, 0.5, 0.9)
    for _ in range(20):
        found = pairs(range(8), range(8), eight, rng)
        assert [i for i, _ in found] == [0, 7]
        assert {source for _, source in found} <= {1, 4}
    assert {i for i, _ in pairs(range(8), [0, 2, 3, 5], eight, rng)} == {0}, (
        "the protected are not replaced, however bad"
    )
    assert {s for _ in range(20) for _, s in pairs(range(8), [2, 3], eight, rng)} == {1, 4}, "and may be copied"
    assert pairs(range(2), [0], of(0.5, 0.1), rng) == [], "one alone stays: else there would be nothing but copies"
    assert pairs(range(2), range(2), of(0.2, 0.2), rng) == []
    assert pairs(range(2), range(2), of(math.nan, 0.2), rng) == [(0, 1)]
    # The one whose end is worst was the best of all once, and stays for that.
    assert pairs(range(3), range(3), of(0.9, 0.3, 0.5, best={0: 0.1}), rng) == [(2, 1)]


def test_perturbed_stays_in_the_space() -> None:
    parts = technique_spaces(["l1:strength=1e-5..1e-2", "dropout:p=0.1..0.5", "mixup:alpha=0.2"])
    space = Space(parts, lr=Numeric(1e-4, 1e-1, log=True), net={"width": Categorical((8, 12))})
    rng = np.random.default_rng(0)
    found = space.candidate(
        {
            "l1": True,
            "l1.strength": 1e-5,
            "dropout": True,
            "dropout.p": 0.45,
            "mixup": True,
            "lr": 1e-1,
            "net.width": 12,
        }
    )
    distributions = space.distributions()
    for _ in range(200):
        new = perturbed(space, found, rng)
        assert new is not None
        assert [t.kind() for t in new.recipe] == [t.kind() for t in found.recipe]
        assert {k: v for k, v in new.params.items() if k not in ("l1.strength", "dropout.p", "lr")} == {
            k: v for k, v in found.params.items() if k not in ("l1.strength", "dropout.p", "lr")
        }
        for name in ("l1.strength", "dropout.p", "lr"):
            d, old, value = distributions[name], found.params[name], new.params[name]
            assert isinstance(d, Numeric)
            assert d.low <= value <= d.high
            assert value in (pytest.approx(0.8 * old), pytest.approx(1.25 * old), d.low, d.high)
            assert value != old
        found = new
    fixed = Space(technique_spaces(["l1:strength=1e-3", "dropout"]), lr=Numeric(1e-2, 1e-2))
    assert perturbed(fixed, fixed.candidate({"l1": True, "dropout": False, "lr": 1e-2}), rng) is None


def test_whole_numbers_stay_whole() -> None:
    span = Numeric(1, 10, integer=True)
    assert [moved(4, f, span) for f in (0.8, 1.25)] == [3, 5]
    assert isinstance(moved(9, 1.25, span), int)
    assert (moved(9, 1.25, span), moved(1, 0.8, span)) == (10, 1)


def test_what_is_close_to_one_moves_by_what_it_lacks() -> None:
    """0.8 or 1.25 times a decay of 0.99 would be an end of its range, whatever it was."""
    span = Numeric(0.9, 0.9999)
    assert [moved(0.99, f, span) for f in (0.8, 1.25)] == pytest.approx([0.992, 0.9875])
    assert (moved(0.9, 1.25, span), moved(0.9999, 0.8, span)) == (0.9, 0.9999)


@pytest.mark.parametrize("bad", ["", "Halving", "asha", "pbt"])
def test_unknown_schedules_are_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="schedule must be one of halving, hyperband, none, population"):
        SearchConfig(trials=4, schedule=bad).check()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_known_schedules_are_not(schedule: str) -> None:
    SearchConfig(trials=4, schedule=schedule).check()


def test_workers_with_other_schedules_do_not_mix(tmp_path: Path) -> None:
    """A report on half of each would be on neither."""
    with_ = {"schedule": "halving"}
    Store(str(tmp_path / "journal.log"), "study", with_).close()
    with pytest.raises(ConfigError, match="of the same schedule"):
        Store(str(tmp_path / "journal.log"), "study", {"schedule": "population"})


def test_from_python() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    options: dict[str, Any] = {
        "recipe": ["l1"],
        "net": {"width": (8,), "depth": (1,)},
        "trials": 6,
        "epochs": 8,
        "cv": 2,
        "explain": False,
        "progress": False,
    }
    record = tuned((x, x[:, 0] > 0), schedule="population", **options).record
    assert record["race"]["schedule"] == "population"
    assert all(row["epochs"] == 8 for row in record["candidates"])
    assert any(row["stages"] for row in record["candidates"])
    with pytest.raises(ConfigError, match="schedule must be one of .*got 'asha'"):
        tuned((x, x[:, 0] > 0), schedule="asha", **options)
