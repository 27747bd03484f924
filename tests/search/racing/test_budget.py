"""The training budget: costs, what is reduced first, and the message for a budget that is too small."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError
from dashpot.evaluation.cross_validation import enough_rows
from dashpot.search.race_plan import RacePlan
from dashpot.search.racing import budget as budgets
from dashpot.search.racing.budget import (
    Pace,
    fit_budget,
    from_dict,
    race_share,
    seconds_of,
    to_dict,
)
from dashpot.search.racing.planning import member_epochs
from dashpot.search.racing.trial import TrainingBudget, default_rungs
from dashpot.training.defaults import FEWEST_EPOCHS, MOST_EPOCHS_IN_SEARCH, batch_size_for, epochs_for
from tests.search.helpers import TRAINING, candidate, own_clock, race, small_space, small_task

ROWS = 2000


def counted_epochs(parallel: int, protected: int, folds: int, epochs: int) -> int:
    """Member epochs of a real race, by counting who is alive in each epoch."""
    alive: list[int] = []
    training = TrainingBudget(epochs, 64, default_rungs(epochs), folds, parallel)
    candidates = [candidate(lr=1e-3 * (k + 1)) for k in range(parallel)]
    race(
        small_task(),
        candidates,
        training,
        folds=range(folds),
        protected=range(protected),
        say=lambda stage, trials, epoch: alive.append(len(trials)),
    )
    # It is reported after the rung, so that an epoch was trained by those of the one before.
    return folds * (parallel + sum(alive[:-1]))


@pytest.mark.parametrize(
    ("parallel", "protected", "folds", "epochs"), [(9, 0, 1, 9), (7, 2, 2, 12), (4, 1, 3, 5), (5, 2, 1, 1)]
)
def test_cost_is_that_of_a_race(parallel: int, protected: int, folds: int, epochs: int) -> None:
    assert member_epochs(parallel, protected, folds, epochs) == counted_epochs(parallel, protected, folds, epochs)


def test_no_budget_is_the_whole_course() -> None:
    training = fit_budget(ROWS, 5, Pace(100.0), None)
    assert (training.parallel, training.folds, training.epochs) == (
        budgets.PARALLEL,
        5,
        epochs_for(ROWS, batch_size_for(ROWS)),
    )
    assert fit_budget(ROWS, 5, Pace(100.0), None, epochs=7, batch_size=50).batch_size == 50


def test_first_things_give_way_first() -> None:
    """From plenty of time to hardly any: parallel trials to 12, epochs to 40, folds to 3; then parallel trials to
    8, epochs to 20, folds to 1, parallel trials to 4, epochs to 10.
    """
    steps: list[tuple[int, int, int]] = []
    for budget in np.geomspace(1e6, 1, 4000):
        try:
            found = fit_budget(ROWS, 5, Pace(0.05), float(budget))
        except ConfigError:
            break
        if not steps or steps[-1] != (found.parallel, found.epochs, found.folds):
            steps.append((found.parallel, found.epochs, found.folds))
        cost = 0.05 * member_epochs(found.parallel, 2, found.folds, found.epochs)
        assert cost <= budgets.RACE * budget
        assert found.rungs == default_rungs(found.epochs)
    most = epochs_for(ROWS, batch_size_for(ROWS))
    corners = [
        (16, most, 5),
        (12, most, 5),
        (12, 40, 5),
        (12, 40, 3),
        (8, 40, 3),
        (8, 20, 3),
        (8, 20, 1),
        (4, 20, 1),
        (4, 10, 1),
    ]
    assert [corner for corner in steps if corner in corners] == corners
    for before, after in itertools.pairwise(steps):
        assert all(b >= a for b, a in zip(before, after, strict=True)), "nothing grows as the time shrinks"
        assert sum(b != a for b, a in zip(before, after, strict=True)) == 1 or after in corners, (
            "one thing after another"
        )


def test_what_may_shrink_further_does_so_last_and_left_out_rungs_cost_more() -> None:
    last = (("parallel", 2, 1), ("epochs", 4, None))
    found = []
    for budget in np.geomspace(1e4, 0.5, 4000):
        try:
            found.append(fit_budget(ROWS, 1, Pace(0.05), float(budget), last=last, bracket=1))
        except ConfigError:
            break
    assert all(c.rungs == default_rungs(c.epochs)[1:] for c in found)
    assert (found[-1].parallel, found[-1].epochs) == (2, 4)
    assert min(c.epochs for c in found if c.parallel > 2) == 10
    assert {c.parallel for c in found if c.epochs < 10} == {2}
    plain, later = (fit_budget(ROWS, 1, Pace(0.05), 12.0, bracket=bracket) for bracket in (0, 1))
    assert (later.parallel, later.epochs) < (plain.parallel, plain.epochs)


def test_epochs_that_were_asked_for_stay() -> None:
    offered = np.geomspace(1e4, 10, 300)
    found = []
    for budget in offered:
        try:
            found.append(fit_budget(ROWS, 5, Pace(0.05), float(budget), epochs=33))
        except ConfigError:
            break
    assert {c.epochs for c in found} == {33}
    assert (found[-1].parallel, found[-1].folds) == (budgets.LEAST_PARALLEL, 1)


def test_too_small_a_budget_is_told_what_would_do() -> None:
    with pytest.raises(ConfigError) as caught:
        fit_budget(ROWS, 5, Pace(0.5), 10.0, spent=2.0)
    text = str(caught.value)
    assert "first rung" in text
    assert "10 s" in text
    named = int(re.findall(r"at least (\d+) s", text)[0])
    assert named > 10
    fit_budget(ROWS, 5, Pace(0.5), float(named), spent=2.0)  # what it says is true
    with pytest.raises(ConfigError):
        fit_budget(ROWS, 5, Pace(0.5), named - 1.0, spent=2.0)
    takes = float(re.findall(r"takes ([\d.]+) s", text)[0])
    assert takes == pytest.approx(0.5 * member_epochs(4, 2, 1, 10), abs=0.06)


def test_the_smallest_race_may_take_a_larger_share_where_none_fits() -> None:
    last = (("epochs", 6, None), ("parallel", 2, 1), ("epochs", 3, None))
    options: dict[str, Any] = {"race": 0.3, "last": last, "bracket": 2, "spent": 10.0}
    for pace in (2.0, 4.0, 8.0):
        found = fit_budget(ROWS, 1, Pace(pace), 100.0, most=0.6, **options)
        assert seconds_of(found, Pace(pace)) <= 0.6 * 100 - 10
    assert (found.parallel, found.epochs) == (2, 3)
    with pytest.raises(ConfigError, match="at least 97 s"):  # (10 + 2 candidates x 3 epochs x 8 s) / 0.6
        fit_budget(ROWS, 1, Pace(8.0), 96.0, most=0.6, **options)
    with pytest.raises(ConfigError, match="at least 194 s"):
        fit_budget(ROWS, 1, Pace(8.0), 100.0, **options)
    plan = RacePlan(1, 0.3, most=0.6)
    assert [plan.lasting(seconds, 100.0) for seconds in (10, 45, 90)] == [0.3, 0.45, 0.6]
    assert RacePlan(1, 0.3).lasting(90, 100.0) == 0.3


def test_time_that_is_gone_counts() -> None:
    assert fit_budget(ROWS, 5, Pace(0.05), 100.0, spent=40.0).epochs < fit_budget(ROWS, 5, Pace(0.05), 100.0).epochs
    with pytest.raises(ConfigError, match="after 60"):
        fit_budget(ROWS, 5, Pace(1e-6), 100.0, spent=60.0)


def test_the_race_gets_what_the_rest_will_not_need() -> None:
    training = fit_budget(ROWS, 5, Pace(1e-3), 300.0)
    assert training.folds == 5

    def share(pace: float, explain: bool = True) -> float:
        return race_share(training, Pace(pace), 5, 300.0, least=0.5, explain=explain, finalists=6)

    # By hand: 22 candidates (7 without explaining) on 5 folds for 96 epochs at 4 ms, times 1.3, are 55 (17) of 300
    # seconds.
    assert training.epochs == 96
    assert share(1e-3) == 0.82
    assert share(4e-3) == pytest.approx(0.9 - 1.3 * 22 * 5 * 96 * 4e-3 / 300)
    assert share(4e-3, explain=False) == 0.82
    assert share(1.0) == 0.5, "never less than the share that is planned with"


def test_sizes() -> None:
    sizes = [batch_size_for(n) for n in range(10, 200_000, 100)]
    assert set(sizes) <= {32, 64, 128, 256}
    assert sizes == sorted(sizes)
    for rows in (50, 500, 5000, 500_000):
        assert FEWEST_EPOCHS <= epochs_for(rows, batch_size_for(rows)) <= MOST_EPOCHS_IN_SEARCH


def test_plain_json() -> None:
    assert from_dict(to_dict(TRAINING)) == TRAINING


def test_pace_is_measured_and_leaves_no_trace() -> None:
    task = small_task()
    state = torch.get_rng_state()
    found = budgets.pace(task, [candidate(), candidate(width=12)], 32)
    assert 0 < found.seconds < 5
    assert torch.equal(torch.get_rng_state(), state)


def test_slow_networks_are_timed_on_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(10_000)
    task = replace(small_task(), folds=[(rows, rows[:2500]), (rows, rows[:2500])])
    timed: list[int] = []

    def seconds(a_row: float) -> float:
        timed.clear()
        monkeypatch.setattr(
            budgets, "_epoch", lambda task, candidates, batch_size, rows: (timed.append(rows), rows * a_row)[1]
        )
        return budgets.pace(task, [candidate()] * 10, 64).seconds

    # By hand: 10 candidates on 2 folds and 4,000 rows at 10 microseconds are 0.8 s; at 100 they would be 8.
    assert seconds(1e-5) == pytest.approx(0.1)
    assert timed == [256, 4000]
    assert seconds(1e-4) == pytest.approx(1.0)
    assert timed == [256]


def test_pace_survives_members_that_diverge() -> None:
    assert budgets.pace(small_task(), [candidate(lr=1e30)], 32).seconds >= 0


def test_folds_and_classes() -> None:
    enough_rows(np.array([5, 9]), 5)
    with pytest.raises(ConfigError, match="at most 4, the rows of the smallest class, got 5"):
        enough_rows(np.array([4, 9]), 5)


def test_worker_keeps_to_its_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By a clock of its own: every epoch takes a second; races begin only where one is likely to end in time."""
    from dashpot.search.racing.worker import Worker
    from dashpot.search.storage.study import Store

    now = [0.0]
    own_clock(monkeypatch, lambda: now[0])

    def say(stage: str, trials: Any, epoch: int) -> None:
        now[0] += 1.0

    store = Store(str(tmp_path / "journal.log"), "study", {}, sampler="random")
    training = TrainingBudget(epochs=6, batch_size=32, rungs=(1, 3), folds=2, parallel=4)
    worker = Worker(small_task(), small_space(), training, store, tmp_path, deadline=20.0, trials=None, say=say)
    worker.run()
    store.close()
    # Three races of 6 s; the last 2 s allow no fourth one of 3 candidates (1.5 s each).
    assert len(worker.raced) == 12
    assert now[0] == 18.0
    assert all(r.state in ("complete", "pruned", "failed") for r in worker.raced)
