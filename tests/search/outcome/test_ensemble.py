"""From finalists to a model: the choice, the ensemble, its decision, and that the files give it back."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error

import dashpot
from dashpot.evaluation.calibration import fit_temperature
from dashpot.evaluation.decision import Decision, fit_decision
from dashpot.evaluation.losses import predict
from dashpot.evaluation.metrics import METRICS, find_metric
from dashpot.nets import MLP, Ensemble
from dashpot.search.outcome import ensemble
from dashpot.search.outcome.ensemble import assemble, averaged, choose, out_of_fold, pick, refit
from dashpot.search.racing import checkpoints
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial
from tests.search.helpers import FOLDS, candidate, own_clock, race, small_task, trial

EVERY = list(range(FOLDS))
TRAINING = TrainingBudget(8, 16, (1, 3), FOLDS, 4)


@pytest.fixture(scope="module")
def task() -> Task:
    return small_task()


@pytest.fixture(scope="module")
def finalists(task: Task) -> list[Trial]:
    torch.set_num_threads(1)
    some = [
        candidate(),
        candidate(dashpot.Dropout(p=0.2), lr=3e-2),
        candidate(dashpot.L1(strength=1e-2), width=12),
        candidate(lr=2e-3),
    ]
    return sorted(race(task, some, TRAINING, rungs=()), key=lambda r: r.score)


def simplest_within_one_error(trials: list[Trial]) -> set[int]:
    """The rule in plain words, by going through all: numbers that may be chosen."""
    best = min(trials, key=lambda r: sum(r.scores))
    passing = []
    for r in trials:
        differences = [a - b for a, b in zip(r.scores, best.scores, strict=True)]
        n, mean = len(differences), sum(differences) / len(differences)
        error = (sum((d - mean) ** 2 for d in differences) / (n - 1) / n) ** 0.5
        if r is best or (mean <= error and len(r.candidate.recipe) < len(best.candidate.recipe)):
            passing.append(r)
    fewest = min(len(r.candidate.recipe) for r in passing)
    lowest = min(sum(r.scores) for r in passing if len(r.candidate.recipe) == fewest)
    return {r.number for r in passing if len(r.candidate.recipe) == fewest and sum(r.scores) == lowest}


def test_one_standard_error_rule() -> None:
    rng = np.random.default_rng(0)
    other = 0
    for _ in range(300):
        folds = rng.normal(1.0, 0.5, size=5)  # folds differ more than candidates do
        found = [trial(i, folds + rng.normal(0.02 * i, 0.05, size=5), int(rng.integers(0, 5))) for i in range(6)]
        choice = choose(found)
        assert choice.best.number == min(found, key=lambda r: r.score).number
        assert {choice.chosen.number} == simplest_within_one_error(found)
        other += choice.chosen is not choice.best
    assert 50 < other < 290, "both happen"


def test_choice_by_hand() -> None:
    best = trial(0, [1.0, 2.0, 3.0], 2)
    near = trial(1, [1.0, 2.1, 3.0], 1)  # mean 1/30, standard error 1/30
    far = trial(2, [1.1, 2.1, 3.1], 0)  # clearly worse: the folds agree
    assert choose([far, best, near]).chosen is near
    assert "1 technique instead of 2" in choose([far, best, near]).why
    assert choose([far, best]).chosen is best
    assert choose([far, best, near], simplest=False).chosen is best
    equal = trial(3, [1.0, 2.0, 3.0], 1)
    assert choose([best, equal]).chosen is equal
    assert choose([trial(0, [1.0, 1.0], 3), trial(1, [1.0, 1.0], 0)]).chosen.number == 0, "two folds know no error"
    assert choose([best]).chosen is best


def test_seeds_are_averaged_by_fold() -> None:
    one, two = trial(4, [1.0, 2.0, 3.0], train_score=1.0), trial(4, [2.0, 2.0, 5.0], train_score=2.0)
    found = averaged(one, [one, two])
    assert found.scores == [1.5, 2.0, 4.0]
    assert found.train_score == 1.5
    assert found.score == 2.5
    assert one.scores == [1.0, 2.0, 3.0]


def picks(task: Task, found: list[Trial]) -> dict[int, int]:
    """By position, where each candidate has one seed."""
    at = {r.number: i for i, r in enumerate(found)}
    return {at[number]: n for number, n in pick(task, found, EVERY).items()}


def mean_probabilities(task: Task, found: list[Trial], counts: dict[int, int]) -> np.ndarray:
    total = sum(counts.values())
    return sum(n / total * out_of_fold(task, found[i], EVERY)[0].double().softmax(1).numpy() for i, n in counts.items())


def out_of_fold_loss(task: Task, found: list[Trial], counts: dict[int, int]) -> float:
    rows = np.concatenate([task.folds[f][1] for f in EVERY])
    return float(log_loss(task.y[rows].numpy(), mean_probabilities(task, found, counts), labels=[0, 1, 2]))


def test_ensemble_is_never_worse_out_of_fold_than_its_best_member(task: Task, finalists: list[Trial]) -> None:
    counts = picks(task, finalists)
    alone = [out_of_fold_loss(task, finalists, {i: 1}) for i in range(len(finalists))]
    assert out_of_fold_loss(task, finalists, counts) <= min(alone) + 1e-9
    assert sum(counts.values()) <= ensemble.PICKS
    # Every single exchange that a greedy search could have made first is no better.
    best_two = min(
        out_of_fold_loss(task, finalists, {i: 1, j: 1} if i != j else {i: 2})
        for i, j in itertools.product(range(4), repeat=2)
    )
    assert out_of_fold_loss(task, finalists, counts) <= max(best_two, min(alone)) + 1e-3


def test_ensemble_finds_what_belongs_together(task: Task) -> None:
    """Two that know half of the rows each, and one that is slightly better than either: only together
    they are right.
    """
    made = [trial(i, [0.5 + 0.01 * i] * FOLDS) for i in range(3)]
    for i, r in enumerate(made):
        for f in EVERY:
            truth = torch.nn.functional.one_hot(task.y[task.folds[f][1]], 3).double()
            knows = torch.arange(len(truth)) % 2 == i if i < 2 else torch.ones(len(truth), dtype=torch.bool)
            p = (
                torch.where(knows.unsqueeze(1), 0.97 * truth + 0.01, torch.full_like(truth, 1 / 3))
                if i < 2
                else 0.33 * truth + 0.67 / 3
            )
            r.outputs.append(p.log())
    counts = picks(task, made)
    assert counts[0] == counts[1] > counts.get(2, 0)


def test_ensemble_network_is_the_weighted_mean_of_probabilities(task: Task, finalists: list[Trial]) -> None:
    made = assemble(task, finalists, choose(finalists), EVERY, "finalists")
    counts = picks(task, finalists)
    total = sum(counts.values())
    x = task.x[-20:]
    expected = np.zeros((20, 3))
    for i, n in counts.items():
        for tensors in finalists[i].tensors:
            model = task.make(dict(finalists[i].candidate.net))
            model.load_state_dict(dict(tensors))
            with torch.no_grad():
                expected += n / total / FOLDS * model.eval()(x).double().softmax(1).numpy()
    np.testing.assert_allclose(made.network(x).exp().detach().numpy(), expected, atol=1e-6)
    assert dict(made.members) == pytest.approx({finalists[i].number: n / total for i, n in counts.items()})
    outputs, rows = made.held_out
    np.testing.assert_allclose(outputs.exp().numpy(), mean_probabilities(task, finalists, counts), atol=1e-6)
    assert sorted(rows) == list(range(120)), "each row once, by networks that have not seen it"


@pytest.mark.parametrize("calibrate", [True, False])
def test_decision_is_that_of_the_out_of_fold_outputs(task: Task, finalists: list[Trial], calibrate: bool) -> None:
    balanced = replace(task, metric=find_metric("balanced_accuracy", "classification", 3))
    made = assemble(balanced, finalists, choose(finalists), EVERY, "finalists", calibrate=calibrate)
    outputs, rows = made.held_out
    logits, y = outputs.double().numpy(), task.y[rows].numpy()
    temperature = fit_temperature(logits, y) if calibrate else 1.0
    expected = fit_decision(
        Decision(temperature=temperature).probabilities(logits), y, "balanced_accuracy", temperature=temperature
    )
    assert made.decision == expected
    assert (temperature == 1.0) != calibrate


def test_one_candidates_folds_and_seeds(task: Task, finalists: list[Trial]) -> None:
    choice = choose(finalists)
    chosen = choice.chosen
    again = Race(task, TRAINING, [Trial(chosen.number, chosen.candidate, repeat=1)], folds=EVERY).run(rungs=())
    one = assemble(task, finalists, choice, EVERY, "folds")
    assert len(one.network.networks) == FOLDS  # type: ignore[arg-type]  # it is an ensemble
    both = assemble(task, [*finalists, *again], choice, EVERY, "folds")
    assert len(both.network.networks) == 2 * FOLDS  # type: ignore[arg-type]  # it is an ensemble
    assert both.members == [(chosen.number, 1.0)]
    assert "1 candidate with 2 seeds in all" in both.text
    p = [task_probabilities(task, r) for r in (chosen, again[0])]
    np.testing.assert_allclose(both.held_out[0].exp().numpy(), (p[0] + p[1]) / 2, atol=1e-6)


def test_seeds_of_a_candidate_count_as_one(task: Task, finalists: list[Trial]) -> None:
    """A lucky seed may not be picked by itself: the candidate is the mean of its seeds."""
    other = Race(task, TRAINING, [Trial(finalists[0].number, finalists[0].candidate, repeat=1)], folds=EVERY).run(
        rungs=()
    )[0]
    found = [*finalists, other]
    counts = pick(task, found, EVERY)
    assert sum(counts.values()) <= ensemble.PICKS
    expected = np.zeros((120, 3))
    for number, n in counts.items():
        seeds = [r for r in found if r.number == number]
        for r in seeds:
            expected += n / sum(counts.values()) / len(seeds) * task_probabilities(task, r)
    made = assemble(task, found, choose(finalists), EVERY, "finalists")
    np.testing.assert_allclose(made.held_out[0].exp().numpy(), expected, atol=1e-6)
    # It is an ensemble.
    assert len(made.network.networks) == FOLDS * sum(r.number in counts for r in found)  # type: ignore[arg-type]
    assert sum(made.network.weights) == pytest.approx(1.0)


def task_probabilities(task: Task, r: Trial) -> np.ndarray:
    return out_of_fold(task, r, EVERY)[0].softmax(1).numpy()


def test_refit_is_one_training_on_all_rows_but_the_test_part(task: Task, finalists: list[Trial]) -> None:
    from dashpot.population.members import initial
    from dashpot.search.racing.trial import task_schedule

    pool = np.arange(120)
    first = next(r for r in finalists if r.number == 0)
    choice = ensemble.Choice(replace(first, best_epoch=5), first, "")
    folds = assemble(task, finalists, choice, EVERY, "folds")
    made = refit(task, TRAINING, pool, choice, folds)
    assert (made.decision, made.members) == (folds.decision, [(first.number, 1.0)])
    whole = replace(task, folds=[(pool, pool[:1])])
    m = whole.member(first.candidate, 0)
    model = initial(m)

    # Five of eight epochs: five epochs on the first five eighths of the schedule.
    options: dict[str, Any] = {
        "epochs": 5,
        "batch_size": 16,
        "device": "cpu",
        "progress": False,
        "schedule": lambda p: task_schedule(p * 5 / 8),
    }
    dashpot.fit(model, (task.x[pool], task.y[pool]), lr=m.lr, seed=m.seed, **options)
    for name, tensor in model.state_dict().items():
        assert torch.allclose(made.network.state_dict()[name], tensor, atol=1e-4), name


def test_regression_ensemble_is_the_mean_of_values(tmp_path: Path) -> None:
    task = small_task(regression=True)
    found = race(task, [candidate(lr=1e-2), candidate(lr=3e-2)], TRAINING, rungs=())
    made = assemble(task, found, choose(found), EVERY, "finalists")
    assert made.decision is None
    counts = picks(task, found)
    x = task.x[-20:]
    expected = torch.zeros(20, 1)
    for i, n in counts.items():
        for tensors in found[i].tensors:
            model = task.make(dict(found[i].candidate.net))
            model.load_state_dict(dict(tensors))
            expected += n / sum(counts.values()) / FOLDS * model.eval()(x).detach()
    assert torch.allclose(made.network(x), expected, atol=1e-5)
    y = task.y[-20:].numpy()
    values = ensemble.metric_values(predict(made.network, x), y, task.scale, None, {"rmse": METRICS["rmse"]})
    assert values["rmse"] == pytest.approx(mean_squared_error(10 * y, 10 * expected.numpy()) ** 0.5, rel=1e-5)


def test_description_of_an_ensemble_gives_it_back() -> None:
    from dashpot.nets import describe, from_description

    both = Ensemble([MLP(4, 3, width=8, depth=1), MLP(4, 3, width=12, depth=2)], [1.0, 3.0], classes=True).eval()
    twin = from_description(json.loads(json.dumps(describe(both))))
    twin.load_state_dict(both.state_dict())
    x = torch.randn(7, 4)
    assert torch.equal(twin.eval()(x), both(x))
    assert both(x).exp().sum(1).detach().numpy() == pytest.approx(np.ones(7), abs=1e-5)
    one, two = (network(x).softmax(1) for network in both.networks)
    assert torch.allclose(both(x).exp(), 0.25 * one + 0.75 * two, atol=1e-6)


# --- networks from files ---------------------------------------------------------------------------------------------


def test_finalists_get_the_folds_they_lack(task: Task, tmp_path: Path) -> None:
    short = race(task, [candidate(), candidate(lr=3e-2)], TRAINING, folds=range(2), rungs=())
    for r in short:
        checkpoints.save(tmp_path, r)
    options: dict[str, Any] = {"folds": EVERY, "deadline": None, "say": lambda *args: None}
    found = with_networks(task, TRAINING, tmp_path, short, **options)
    for r in found:
        before = next(s for s in short if s.number == r.number)
        assert len(r.tensors) == len(r.outputs) == len(r.scores) == FOLDS
        assert r.scores[:2] == pytest.approx(before.scores)
        last = race(task, [r.candidate], TRAINING, folds=[2], rungs=())[0]
        assert r.scores[2] == pytest.approx(last.scores[0], rel=1e-4)
        assert r.train_score == pytest.approx((2 * (before.train_score or 0) + (last.train_score or 0)) / 3, rel=1e-3)
    assert [r.score for r in found] == sorted(r.score for r in found)
    again = with_networks(task, TRAINING, tmp_path, short, **{**options, "deadline": -1.0})
    assert [len(r.tensors) for r in again] == [FOLDS, FOLDS], "they are files by now"


def test_lost_files_are_trained_again_with_the_same_result(task: Task, tmp_path: Path) -> None:
    first = race(task, [candidate(), candidate(lr=3e-2)], TRAINING, rungs=())
    found = with_networks(task, TRAINING, tmp_path, first, folds=EVERY, deadline=None, say=lambda *args: None)
    for r in found:
        assert r.scores == pytest.approx(next(f for f in first if f.number == r.number).scores, rel=1e-4)


def test_folds_that_the_end_of_the_time_cut_short_are_not_used(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    short = race(task, [candidate(), candidate(lr=3e-2)], TRAINING, folds=range(2), rungs=())
    for r in short:
        checkpoints.save(tmp_path, r)
    now = [0.0]
    own_clock(monkeypatch, lambda: now[0])

    def tick(*args: Any) -> None:
        now[0] += 1

    found = with_networks(task, TRAINING, tmp_path, short, folds=EVERY, deadline=2.5, say=tick)
    assert [len(r.tensors) for r in found] == [2, 2], "three of eight epochs are no training"
    assert {r.number: r.scores for r in found} == {r.number: pytest.approx(r.scores) for r in short}


def test_what_was_cut_short_is_no_finalist_beside_a_whole_one_and_is_not_kept(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    found = race(task, [candidate(), candidate(lr=3e-2)], TRAINING, rungs=())
    checkpoints.save(tmp_path, found[0])
    now = [0.0]
    own_clock(monkeypatch, lambda: now[0])

    def tick(*args: Any) -> None:
        now[0] += 1

    options: dict[str, Any] = {"folds": EVERY, "say": tick}
    assert [r.number for r in with_networks(task, TRAINING, tmp_path, found, **options, deadline=2.5)] == [0]
    checkpoints.path_of(tmp_path, 0).unlink()
    now[0] = 0.0
    alone = with_networks(task, TRAINING, tmp_path, found[1:], **options, deadline=2.5)
    assert [(r.number, r.epochs) for r in alone] == [(1, 3)], "better than nothing"
    assert with_networks(task, TRAINING, tmp_path, found[1:], **options, deadline=None)[0].epochs == TRAINING.epochs


def test_final_network_is_in_evaluation_mode(task: Task, finalists: list[Trial]) -> None:
    made = assemble(task, finalists, choose(finalists), EVERY, "finalists")
    assert all(not m.training for m in made.network.modules())
