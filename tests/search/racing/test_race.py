"""The race: members are those that would have trained alone, the weaker ones are pruned, and the files hold what is
reported.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

import dashpot
from dashpot.population.members import initial
from dashpot.search.racing import checkpoints
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task, equal_folds, held_out, proper_score
from dashpot.search.racing.trial import TrainingBudget, Trial, default_rungs, task_schedule
from dashpot.search.space.space import Candidate
from tests.search.helpers import FOLDS, ROWS, TRAINING, candidate, own_clock, race, small_task

NEVER = dashpot.EarlyStopping(patience=1000)
SOME = [
    candidate(),
    candidate(dashpot.L1(strength=1e-3), lr=5e-3),
    candidate(dashpot.Dropout(p=0.3), NEVER, width=12),
    candidate(lr=0.1),
]
ONE = TrainingBudget(epochs=6, batch_size=16, rungs=(), folds=FOLDS, parallel=4)


def score_alone(
    task: Task, c: Candidate, fold: int, rows: np.ndarray, epochs: int = 6, repeat: int = 0
) -> tuple[torch.nn.Module, float]:
    """A candidate on a fold by ``dashpot.fit``, and its log loss by scikit-learn."""
    m = task.member(c, fold, repeat)
    model = initial(m)
    valid = None if m.watch is None else (task.x[m.watch], task.y[m.watch])
    options: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": 16,
        "schedule": task_schedule,
        "device": "cpu",
        "progress": False,
    }
    dashpot.fit(model, (task.x[m.rows], task.y[m.rows]), valid=valid, recipe=m.recipe, lr=m.lr, seed=m.seed, **options)
    with torch.no_grad():
        p = model(task.x[rows]).double().softmax(1).numpy()
    return model, float(log_loss(task.y[rows].numpy(), p, labels=[0, 1, 2]))


def recomputed(task: Task, r: Trial) -> list[float]:
    """The scores of each fold from the weights."""
    found = []
    for tensors, (_, valid) in zip(r.tensors, task.folds, strict=True):
        model = task.make(dict(r.candidate.net))
        model.load_state_dict(dict(tensors))
        with torch.no_grad():
            out = model.eval()(task.x[valid])
        found.append(proper_score(out, task.y[valid], task.scale))
    return found


def test_members_are_as_alone() -> None:
    task = small_task()
    # One evaluation, so that what is kept is the end.
    found = Race(task, ONE, [Trial(i, c) for i, c in enumerate(SOME)], folds=range(FOLDS)).run(only=6)
    for r in found:
        assert (r.state, r.epochs, r.best_epoch) == ("complete", 6, 6)
        for fold in range(FOLDS):
            model, score = score_alone(task, r.candidate, fold, task.folds[fold][1])
            assert r.scores[fold] == pytest.approx(score, rel=2e-4)
            for name, tensor in model.state_dict().items():
                assert torch.allclose(r.tensors[fold][name], tensor, atol=1e-4), (r.candidate, name)


def test_the_best_evaluation_is_kept_and_gives_the_scores(tmp_path: Path) -> None:
    task = small_task(noise=2.0)
    wild = [candidate(lr=0.3), *SOME]
    for r in race(task, wild, TrainingBudget(12, 16, (), FOLDS, 5)):
        means = dict(r.history)
        assert r.score == pytest.approx(min(means.values()))
        assert means[r.best_epoch] == min(means.values())
        assert recomputed(task, r) == pytest.approx(r.scores, rel=1e-5)
        for out, (_, valid), score in zip(r.outputs, task.folds, r.scores, strict=True):
            assert log_loss(task.y[valid].numpy(), out.double().softmax(1).numpy(), labels=[0, 1, 2]) == pytest.approx(
                score, rel=1e-6
            )
        checkpoints.save(tmp_path, r)
        again = checkpoints.load(tmp_path, r.number, r.candidate)
        assert again is not None
        assert recomputed(task, again) == pytest.approx(again.scores, rel=1e-5)
        assert (again.scores, again.best_epoch, again.epochs) == (r.scores, r.best_epoch, r.epochs)
    assert any(r.best_epoch < 12 for r in race(task, wild[:1], TrainingBudget(12, 16, (), FOLDS, 5))), (
        "a rate this high is best early: the test can fail"
    )


def test_file_of_another_candidate_or_damaged_is_not_used(tmp_path: Path) -> None:
    r = race(small_task(), SOME[:1])[0]
    checkpoints.save(tmp_path, r)
    assert checkpoints.load(tmp_path, 0, SOME[1]) is None
    assert checkpoints.load(tmp_path, 0, SOME[0], repeat=1) is None
    path = checkpoints.path_of(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-50])
    assert checkpoints.load(tmp_path, 0, SOME[0]) is None
    path.write_bytes(b"")
    assert checkpoints.load(tmp_path, 0, SOME[0]) is None


def test_a_third_goes_on_at_each_rung() -> None:
    task = small_task()
    seven = [candidate(lr=10.0**-k) for k in (4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 5.0)]
    told: list[tuple[int, str, int]] = []
    found = race(task, seven, report=lambda r: told.append((r.number, r.state, r.epochs)))
    at = {rung: [(dict(r.history)[rung], r.number) for r in found if rung in dict(r.history)] for rung in (1, 3, 6)}
    assert len(at[1]) == 7
    first = {number for _, number in sorted(at[1])[:3]}  # a third of 7, rounded up
    assert {number for _, number in at[3]} == first
    assert [r.number for r in found if r.state == "complete"] == [sorted(at[3])[0][1]], "a third of 3"
    assert sorted(r.epochs for r in found) == [1, 1, 1, 1, 3, 3, 6]
    for r in found:
        assert [s for n, s, _ in told if n == r.number][-1] == r.state
        assert (r.state == "complete") == bool(r.tensors), "networks of those that left are not kept"
    assert {(n, e) for n, s, e in told if s == "running"} == {(number, 1) for number in first} | {
        (r.number, 3) for r in found if r.epochs == 6
    }


def test_leaving_does_not_change_who_stays() -> None:
    task = small_task()
    together = race(task, [candidate(lr=1e-5), SOME[1], candidate(lr=1e-6), candidate(lr=2e-5)])
    alone = race(task, [SOME[1]], rungs=())
    assert together[1].state == "complete"
    assert together[1].scores == pytest.approx(alone[0].scores, rel=1e-4)
    assert together[1].best_epoch == alone[0].best_epoch


def test_protected_stay_and_take_no_place() -> None:
    task = small_task()
    bad = candidate(lr=1e-6)
    found = race(task, [bad, *(candidate(lr=10.0**-k) for k in (2.0, 2.5, 3.0))], protected=[0])
    assert found[0].state == "complete"
    assert found[0].score > min(r.score for r in found)
    assert [r.state for r in found[1:]].count("complete") == 1


def test_a_nan_fails_only_its_own_candidate() -> None:
    task = small_task()
    broken = candidate(lr=1e30)
    found = race(task, [SOME[0], broken, SOME[1]], rungs=())
    assert [r.state for r in found] == ["complete", "failed", "complete"]
    assert found[1].score == math.inf
    assert not found[1].tensors
    for i in (0, 2):
        own = race(task, [found[i].candidate], rungs=())[0]
        assert found[i].scores == pytest.approx(own.scores, rel=1e-4)
    row = found[1].record().to_dict()
    assert row["score"] is None
    assert all(s is None for s in row["fold_scores"])


def test_protected_may_fail_and_all_may_fail() -> None:
    told: list[str] = []
    found = race(
        small_task(), [candidate(lr=1e30), candidate(lr=1e31)], protected=[0], report=lambda r: told.append(r.state)
    )
    assert [r.state for r in found] == ["failed", "failed"]
    assert told == ["failed", "failed"]


def test_deadline_counts_who_is_left_as_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    own_clock(monkeypatch, lambda: now[0])

    def tick(stage: str, trials: Any, epoch: int) -> None:
        now[0] = float(epoch)

    found = race(small_task(), [candidate(lr=10.0**-k) for k in (2.0, 2.5, 5.0, 6.0)], deadline=2.0, say=tick)
    assert [r.state for r in found].count("complete") == 2, (
        "the rung after the first epoch left a third of 4, rounded up"
    )
    assert {r.epochs for r in found if r.state == "complete"} == {2}
    assert {r.epochs for r in found if r.state == "pruned"} == {1}
    none = race(small_task(), SOME[:2], deadline=-1.0)
    assert [(r.state, r.scores) for r in none] == [("pruned", []), ("pruned", [])], (
        "before the first epoch no trial has a score"
    )


def test_only_evaluates_once() -> None:
    task = small_task()
    r = Race(task, TRAINING, [Trial(0, SOME[0])], folds=range(FOLDS)).run(rungs=(), only=4)[0]
    assert [e for e, _ in r.history] == [4]
    assert (r.state, r.epochs) == ("complete", 4)
    full = race(task, SOME[:1], rungs=())[0]
    assert r.score == pytest.approx(dict(full.history)[4], rel=1e-5), "on the same schedule"


def test_evaluations_are_the_same_with_and_without_rungs() -> None:
    training = TrainingBudget(
        epochs=60, batch_size=64, rungs=(7, 20), folds=1, parallel=2
    )  # the evaluations are at every fifth epoch
    task = small_task()
    with_rungs, without = (race(task, SOME[:1], training, folds=[0], rungs=rungs)[0] for rungs in (None, ()))
    assert [e for e, _ in with_rungs.history] == [e for e, _ in without.history]


def test_seeds_differ_and_repeat() -> None:
    task = small_task()
    trials = [Trial(0, SOME[0]), Trial(0, SOME[0], repeat=1), Trial(0, SOME[0], repeat=1)]
    one, two, same = Race(task, ONE, trials, folds=range(FOLDS)).run()
    assert two.scores == pytest.approx(same.scores, rel=1e-5)
    assert all(abs(a - b) > 1e-4 for a, b in zip(one.scores, two.scores, strict=True))
    alone = [score_alone(task, SOME[0], fold, task.folds[fold][1], repeat=1)[1] for fold in range(FOLDS)]
    assert dict(two.history)[6] == pytest.approx(np.mean(alone), rel=2e-4)
    seeds = {task.member(SOME[0], fold, repeat).seed for fold in range(FOLDS) for repeat in range(4)}
    assert len(seeds) == 4 * FOLDS


def test_no_row_is_used_twice() -> None:
    """Trained on, watched, ranked by, and kept aside: four sets of rows that have none in common."""
    task = small_task()
    for c in SOME:
        for fold, (train, valid) in enumerate(task.folds):
            m = task.member(c, fold)
            watch = np.array([], dtype=int) if m.watch is None else m.watch
            assert not set(m.rows) & set(valid)
            assert not set(watch) & set(valid)
            assert not set(watch) & set(m.rows)
            assert set(m.rows) | set(watch) == set(train)
            assert max(*m.rows, *valid) < ROWS
            assert (len(watch) > 0) == any(isinstance(t, dashpot.EarlyStopping) for t in c.recipe)
    watched = task.member(SOME[2], 0).watch
    other = task.member(candidate(NEVER, lr=0.1), 0).watch
    assert watched is not None
    assert other is not None
    assert np.array_equal(watched, other), "all candidates watch the same rows of a fold"


def test_rows_that_are_not_a_folds_own_do_not_matter() -> None:
    """The strongest check for leaks: other rows may hold anything, and the network is bit for bit the same."""
    task = small_task()
    train, valid = task.folds[0]
    x, y = task.x.clone(), task.y.clone()
    rest = np.setdiff1d(np.arange(len(x)), train)
    x[rest] = 1e3 * torch.randn(len(rest), 5)
    y[rest] = (y[rest] + 1) % 3
    spoiled = Task(**{**task.__dict__, "x": x, "y": y})
    runs = [Race(t, ONE, [Trial(0, SOME[2])], folds=[0]).run(only=6)[0] for t in (task, spoiled)]
    for name, tensor in runs[0].tensors[0].items():
        assert torch.equal(tensor, runs[1].tensors[0][name]), name
    assert runs[0].scores != runs[1].scores
    assert len(valid)


def test_watched_rows_are_stratified() -> None:
    y = torch.tensor([0] * 40 + [1] * 20 + [2])
    train, watch = held_out(np.arange(61), y, 3)
    assert len(watch) == 9
    assert np.bincount(y[watch].numpy(), minlength=3).tolist() == [6, 3, 0], "the only row of a class is trained on"
    assert sorted([*train, *watch]) == list(range(61))
    values = torch.randn(50, 1)
    train, watch = held_out(np.arange(50), values, 3)
    assert len(watch) == 8


def test_equal_folds() -> None:
    folds = [(np.arange(10), np.arange(10, 12)), (np.arange(8), np.arange(8, 12))]
    (a, _), (b, valid) = equal_folds(folds, 0)
    assert len(a) == len(b) == 8
    assert set(a) <= set(range(10))
    assert np.array_equal(b, np.arange(8))
    assert np.array_equal(valid, np.arange(8, 12))


def test_regression_is_scored_in_its_units() -> None:
    task = small_task(regression=True)
    r = race(task, [candidate(width=8)], rungs=())[0]
    assert recomputed(task, r) == pytest.approx(r.scores, rel=1e-5)
    valid = task.folds[0][1]
    error = (r.outputs[0].double() - task.y[valid].double()).square().mean().sqrt()
    assert r.scores[0] == pytest.approx(10 * float(error), rel=1e-6)
    assert r.train_score is not None
    assert r.train_score > 0


def test_rungs() -> None:
    assert default_rungs(27) == (3, 9)
    assert default_rungs(9) == (1, 3)
    assert default_rungs(2) == (1,)
    assert default_rungs(1) == ()
    assert all(0 < r < e for e in range(1, 200) for r in default_rungs(e))


def test_cores_share_a_race() -> None:
    task = small_task()
    one = race(task, SOME, rungs=())
    torch.set_num_threads(2)
    two = race(task, SOME, rungs=())
    assert torch.get_num_threads() == 2, "given back"
    for a, b in zip(one, two, strict=True):
        assert a.scores == pytest.approx(b.scores, rel=1e-4)
        assert a.best_epoch == b.best_epoch
