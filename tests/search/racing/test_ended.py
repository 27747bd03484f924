"""Candidates that overfit end early: they keep their best evaluation, and their rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dashpot
from dashpot.search.outcome.ablation import measure
from dashpot.search.racing import checkpoints
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.pruning import only_worse
from dashpot.search.racing.race import Race
from dashpot.search.racing.trial import Stage, TrainingBudget, Trial
from tests.search.helpers import FOLDS, candidate, race, small_space, small_task

LONG = TrainingBudget(epochs=60, batch_size=16, rungs=(7, 20), folds=FOLDS, parallel=6)
HASTY = [candidate(lr=rate, width=64) for rate in (0.02, 0.03, 0.05)]
"""With labels that are mostly noise, these are at their best after some epochs, and then learn the noise."""
SLOW = [candidate(lr=rate) for rate in (1e-4, 2e-4)]


def task(**options: Any) -> Any:
    return small_task(noise=2.0, **options)


class Whole(Race):
    """A race in which no candidate ends early."""

    def over(self, i: int) -> bool:
        return False


def whole(candidates: Sequence[Any], training: TrainingBudget = LONG, **options: Any) -> list[Trial]:
    return Whole(task(), training, [Trial(i, c) for i, c in enumerate(candidates)], folds=range(FOLDS), **options).run(
        ()
    )


def test_it_ends_at_its_best() -> None:
    found, others = race(task(), [*HASTY, *SLOW], LONG, rungs=()), whole([*HASTY, *SLOW])
    assert [r.ended for r in found] == [True, True, True, False, False]
    for r, other in zip(found, others, strict=True):
        assert r.state == other.state == "complete"
        assert (r.epochs < 60) == r.ended
        assert other.epochs == 60
        assert r.planned == 60
        # What it is was found out before, so that nothing is lost.
        assert r.best_epoch == other.best_epoch
        assert r.scores == pytest.approx(other.scores, rel=1e-5)
        assert r.history == [pytest.approx(evaluation, rel=1e-5) for evaluation in other.history[: len(r.history)]]
        for mine, theirs in zip(r.tensors, other.tensors, strict=True):
            assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in theirs)


def test_who_ended_takes_a_place_at_every_rung() -> None:
    many = [*HASTY, *SLOW, candidate(lr=1e-5)]
    late = replace(LONG, rungs=(20, 40))
    with_rungs = race(task(), many, late)
    # Those that stay are those that would have stayed had they trained on: their best scores were known at each rung.
    expected = Whole(task(), late, [Trial(i, c) for i, c in enumerate(many)], folds=range(FOLDS)).run()
    assert [r.state for r in with_rungs] == [r.state for r in expected]
    assert {r.ended for r in with_rungs if r.epochs > 7} == {True, False}
    assert sum(r.epochs for r in with_rungs) < sum(r.epochs for r in expected)


def test_where_all_have_ended_the_race_is_over_and_the_rungs_are_not_forgotten() -> None:
    training = replace(LONG, rungs=(30, 50))  # after all of them have ended
    found = race(task(), HASTY, training)
    assert all(r.ended for r in found)
    best = min(found, key=lambda r: r.score)
    assert [r.state for r in found] == ["complete" if r is best else "pruned" for r in found], "a third of three"
    assert max(r.epochs for r in found) < 30


def test_a_baseline_that_ended_is_complete() -> None:
    found = race(task(), [HASTY[2], *HASTY[:2], *SLOW], replace(LONG, rungs=(30, 50)), protected=[0])
    assert (found[0].state, found[0].ended) == ("complete", True)


def test_trained_again_on_other_folds_it_may_end_elsewhere_and_is_whole(tmp_path: Path) -> None:
    known = Race(task(), replace(LONG, folds=1), [Trial(0, HASTY[2])], folds=[0]).run()[0]
    assert known.ended
    again = with_networks(task(), LONG, tmp_path, [known], folds=range(FOLDS), deadline=None, say=lambda *args: None)
    assert len(again) == 1
    assert len(again[0].tensors) == FOLDS
    # Saved for the next call; those that are incomplete at the deadline are not.
    assert (
        with_networks(task(), LONG, tmp_path, [known], folds=range(FOLDS), deadline=0.0, say=lambda *args: None)[
            0
        ].scores
        == again[0].scores
    )


def test_whose_strengths_change_on_the_way_is_never_over() -> None:
    changed = Trial(0, HASTY[2], lineage=[Stage(0, HASTY[2]), Stage(50, replace(HASTY[2], lr=1e-3))])
    assert Race(task(), LONG, [changed], folds=range(FOLDS)).run(rungs=())[0].epochs == 60
    for schedule in ("population", "none"):
        trial = Race(task(), replace(LONG, schedule=schedule), [Trial(0, HASTY[2])], folds=range(FOLDS)).run(rungs=())[
            0
        ]
        assert trial.ended == (schedule == "none")


def test_files_and_the_store_know_that_it_ended(tmp_path: Path) -> None:
    trial = race(task(), HASTY[2:], LONG, rungs=())[0]
    checkpoints.save(tmp_path, trial)
    found = checkpoints.load(tmp_path, 0, trial.candidate)
    assert found is not None
    assert found.ended
    assert found.through(60)
    assert not replace(found, ended=False).through(60)
    assert trial.record().ended
    assert not race(task(), SLOW[:1], LONG, rungs=())[0].record().ended


def test_it_is_explained_by_others_that_may_end_too() -> None:
    space = small_space(dashpot.WeightDecay(strength=0.01), net=False)
    chosen = race(task(), [space.candidate({"weight-decay": True, "lr": 0.05})], LONG, rungs=())[0]
    assert chosen.ended
    said: list[str] = []
    options: dict[str, Any] = {
        "deadline": None,
        "seconds_per_member": 0.0,
        "say": lambda *args: None,
        "note": said.append,
    }
    found = measure(task(), LONG, space, chosen, range(FOLDS), **options)
    assert [row["technique"] for row in found.contributions] == ["weight-decay"]
    assert said == []


@pytest.mark.parametrize(
    ("scores", "over"),
    [
        ([1.0, 0.5, 0.7, 0.8], True),
        ([1.0, 0.5, 0.7, 0.69], False),  # it comes back
        ([1.0, 0.5, 0.61, 0.8], False),  # once is not twice
        ([1.0, 0.9, 0.8, 0.7], False),
        ([0.5, 0.8], False),  # too few to tell
        ([3.0, 0.001, 0.05, 0.06], False),  # next to nothing is no score to compare with: the first one is
        ([3.0, 0.001, 0.07, 0.09], True),
        ([1.0, 0.5, math.inf, math.inf], True),
        ([math.nan, 0.5, 0.7, math.nan], True),
        ([math.nan, 0.5, 0.52, 0.53], False),
    ],
)
def test_when_scores_have_only_become_worse(scores: list[float], over: bool) -> None:
    assert only_worse([(2**k, score) for k, score in enumerate(scores)]) is over


def test_a_late_best_has_not_been_waited_for() -> None:
    assert not only_worse([(1, 1.0), (10, 0.5), (15, 0.8), (19, 0.9)])
    assert only_worse([(1, 1.0), (10, 0.5), (15, 0.8), (20, 0.9)])


def test_early_stopping_of_its_own_has_its_way() -> None:
    """It trains on other rows and keeps its own best: the race only saves the epochs after it."""
    stopped = candidate(dashpot.EarlyStopping(patience=1000), lr=0.05, width=64)
    mine, other = race(task(), [stopped], LONG, rungs=())[0], whole([stopped])[0]
    assert mine.scores == pytest.approx(other.scores, rel=1e-5)
