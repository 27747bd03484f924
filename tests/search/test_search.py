"""A whole search: what it reports is what its files and its model say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, r2_score, roc_auc_score

from dashpot.comparison.reference_models import references, seconds_at_most
from dashpot.core.errors import ConfigError
from dashpot.data import Problem
from dashpot.data.rows import to_rows
from dashpot.evaluation.calibration import fit_temperature
from dashpot.search import run as search_run
from dashpot.search.config import SearchConfig
from dashpot.search.outcome import ablation, ensemble, finish, seeds
from dashpot.search.outcome.result import TuneResult
from dashpot.search.racing import checkpoints
from dashpot.search.racing.trial import Trial
from dashpot.search.run import Search, run
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from tests.search.helpers import SHORT, candidate, iris, own_clock, regression, searching, table


def small_net(options: Any) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuneResult]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("iris")
    return folder, run(iris(), SearchConfig(**SHORT, metric="balanced_accuracy"), folder)


def test_record_is_whole(done: tuple[Path, TuneResult]) -> None:
    record = done[1].record
    json.dumps(record, allow_nan=False)
    rows = record["candidates"]
    assert [row["number"] for row in rows] == list(range(6))
    assert {row["state"] for row in rows} <= {"complete", "pruned", "failed"}
    baseline = rows[record["baseline"]]
    assert (baseline["name"], baseline["recipe"], baseline["state"]) == ("baseline", "no technique", "complete")
    assert {record["chosen"], record["best"]} <= {row["number"] for row in rows if row["state"] == "complete"}
    assert (record["metric"], record["proper"], record["better"]) == ("balanced_accuracy", "log_loss", "higher")
    assert record["train_rows"] + record["test_rows"] == record["rows"] == 150
    assert sum(w for _, w in record["final_members"]) == pytest.approx(1)
    assert len({n for n, _ in record["final_members"]}) == len(record["final_members"])


def test_scores_are_those_of_the_files(done: tuple[Path, TuneResult]) -> None:
    """The mean over folds and seeds, from the outputs and again from the weights."""
    folder, result = done
    search = searching(iris(), folder, **SHORT, metric="balanced_accuracy")
    told = [row for row in result.record["candidates"] if row["state"] == "complete"]
    assert len(told) >= 2
    several = 0
    for row in told:
        candidate = search.space.candidate(row["params"])
        losses = []
        for repeat in range(row["seeds"]):  # each is scored at one temperature for all folds
            trial = checkpoints.load(folder, row["number"], candidate, repeat)
            assert trial is not None
            logits, truth = [], []
            for tensors, (_, valid) in zip(trial.tensors, search.task.folds, strict=True):
                model = search.task.make(dict(candidate.net))
                model.load_state_dict(dict(tensors))
                with torch.no_grad():
                    logits.append(model.eval()(search.task.x[valid]).double().numpy())
                truth.append(search.task.y[valid].numpy())
            temperature = fit_temperature(np.concatenate(logits), np.concatenate(truth))
            losses.append(
                [
                    log_loss(y, softmax(z / temperature, axis=1), labels=[0, 1, 2])
                    for z, y in zip(logits, truth, strict=True)
                ]
            )
        several += row["seeds"] > 1
        assert row["fold_scores"] == pytest.approx(list(np.mean(losses, axis=0)), rel=1e-4)
        assert row["score"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert row["se"] == pytest.approx(np.std(np.mean(losses, axis=0), ddof=1) / 3**0.5, rel=1e-3)
    chosen = next(row for row in told if row["number"] == result.record["chosen"])
    assert chosen["seeds"] == 2
    assert several >= 2, "those that are compared in the end have two seeds"


def test_test_scores_are_those_of_the_model(done: tuple[Path, TuneResult]) -> None:
    _, result = done
    problem = iris()
    y = problem.labels[result.test]
    assert np.array_equal(result.test, problem.pool_and_test(0)[1])
    x = load_iris().data[result.test]
    p = result.predict_proba(x)
    codes = np.array([problem.classes.index(name) for name in result.predict(x)])
    told = result.record["test"]["chosen"]
    assert told["log_loss"] == pytest.approx(log_loss(y, p, labels=[0, 1, 2]), rel=1e-6)
    assert told["accuracy"] == pytest.approx(accuracy_score(y, codes))
    assert told["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, codes))
    assert told["f1_macro"] == pytest.approx(f1_score(y, codes, average="macro"))
    assert told["roc_auc"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    assert "f1" not in told
    assert set(result.record["test"]["baseline"]) == set(told)
    assert len(result.record["test"]["references"]) >= 2


def test_a_saved_run_gives_the_same_predictions(done: tuple[Path, TuneResult], tmp_path: Path) -> None:
    from dashpot.runs.saved import load_decision, load_run, predictions

    folder = done[1].save(tmp_path / "run")
    network, preprocessing, target = load_run(folder)
    x = load_iris().data
    found = predictions(network, torch.from_numpy(preprocessing.transform(to_rows(x))), target, load_decision(folder))
    p = done[1].predict_proba(x)
    np.testing.assert_allclose(np.stack([found[f"p({name})"] for name in iris().classes], 1), p, atol=1e-5)
    assert found["prediction"] == list(done[1].predict(x))


def test_interactions_reach_the_report(tmp_path: Path) -> None:
    options = SearchConfig(
        **{**SHORT, "trials": 3}, recipe=["weight-decay:strength=0.5", "dropout:p=0.2", "mixup:alpha=0.2"]
    )
    search = Search(iris(), options, tmp_path)
    # Baseline with a learning rate at which nothing is learned, so that the whole default space wins.
    baseline = search.space.baseline()
    slower = {**baseline.params, "lr": 5e-4}
    search.space.baseline = lambda: search.space.candidate(slower)  # type: ignore[method-assign]  # put in for the test
    whole = search.space.candidate({**search.space.default().params, "lr": 2e-2})
    # Put in for the test.
    search.first_candidates = lambda: [search.space.baseline(), whole, whole]  # type: ignore[method-assign]
    store = search.open()
    try:
        training = search.training_budget(store)
        search.work(store, training)
        record = search.finish(store, training).record
    finally:
        store.close()
    assert record["candidates"][record["best"]]["recipe"] == str(whole.recipe) or record["chosen"] != record["baseline"]
    if record["candidates"][record["chosen"]]["recipe"] == str(whole.recipe):
        assert len(record["contributions"]) == 6
        assert len(record["interactions"]) == 3


def test_two_candidates_are_enough(tmp_path: Path) -> None:
    result = run(table(), SearchConfig(**{**SHORT, "trials": 2, "explain": False}), tmp_path)
    assert len(result.record["candidates"]) == 2
    assert result.record["contributions"] == result.record["interactions"] == []
    assert result.record["importance"] == {}


@pytest.mark.parametrize("kind", ["folds", "refit"])
def test_kinds_of_final_model(kind: str, tmp_path: Path) -> None:
    result = run(table(), SearchConfig(**{**SHORT, "trials": 3, "explain": False}, ensemble=kind), tmp_path)
    assert result.record["final_members"] == [[result.record["chosen"], 1.0]]
    assert ("refit" in result.record["final"]) == (kind == "refit")
    assert result.predict_proba(load_frame()).shape == (5, 2)


def load_frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"c": ["level 1"] * 5, "b": np.arange(5.0), "a": np.arange(5.0) - 2})


def test_regression(tmp_path: Path) -> None:
    problem = regression()
    result = run(problem, SearchConfig(**{**SHORT, "trials": 3, "epochs": 30}), tmp_path)
    test = result.test
    values = result.predict(frame_of(problem, test))
    y = problem.labels[test]
    assert result.record["metric"] == "r2"
    assert result.record["test"]["chosen"]["r2"] == pytest.approx(r2_score(y, values.reshape(-1)), rel=1e-5)
    assert result.record["test"]["chosen"]["rmse"] == pytest.approx(
        float(np.sqrt(np.mean((y - values.reshape(-1)) ** 2))), rel=1e-5
    )
    assert result.record["test"]["chosen"]["r2"] > 0.5
    assert result.decision is None


def frame_of(problem: Problem, rows: np.ndarray) -> Any:
    import pandas as pd

    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(problem.n, 3)), columns=list("abc")).iloc[rows]


@pytest.fixture
def hurried(tmp_path: Path) -> Any:
    """A search whose race is over, and whose user waits; its store and training."""
    search = searching(table(), tmp_path, **SHORT)
    store = search.open()
    training = search.training_budget(store)
    search.work(store, training)
    search.hurried = True
    yield search, store, training
    store.close()


def test_a_hurried_end_trains_nothing_more(hurried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    search, store, training = hurried
    monkeypatch.setattr("dashpot.search.outcome.ablation.in_groups", None)
    monkeypatch.setattr("dashpot.search.racing.worker.Race", None)
    result = search.finish(store, training)
    assert {row["seeds"] for row in result.record["candidates"]} == {1}
    assert result.record["contributions"] == []


def test_a_hurried_end_is_near(hurried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are on another machine, or were never trained on all folds, may take seconds and no more; but one
    must have its first epochs.
    """
    search, store, training = hurried
    ends: list[float] = []
    now = search.started + 50.0
    own_clock(monkeypatch, lambda: now)

    def instead(*given: Any, deadline: float, **rest: Any) -> list[Trial]:
        ends.append(deadline - now)
        raise InterruptedError

    monkeypatch.setattr(finish, "with_networks", instead)
    for pace in (0.0, 50.0):
        monkeypatch.setattr(
            finish,
            "remembered",
            lambda *given, pace=pace: [
                Trial(0, search.space.baseline(), "pruned", epochs=1, seconds=pace * 3, scores=[1.0] * 3)
            ],
        )
        with pytest.raises(InterruptedError):
            search.finish(store, training)
    # By hand: an epoch of all three folds takes 150 s at 50 s each.
    assert ends == pytest.approx([10, 450])


def test_seeds_take_no_time_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searching(iris(), tmp_path, **{**SHORT, "trials": None, "budget": 100.0})
    asked: list[int] = []

    def instead(task: Any, training: Any, folder: Any, wanted: list[Trial], **rest: Any) -> list[Trial]:
        asked.append(len(wanted))
        return [replace(r, tensors=[{}] * 3, epochs=6) for r in wanted]

    monkeypatch.setattr(seeds, "with_networks", instead)
    finalists = [Trial(i, search.space.baseline(), "complete", scores=[1.0 + i / 10] * 3) for i in range(5)]
    choice = finish.ensemble.choose(finalists)
    training = search_run.budgets.from_dict({"epochs": 6, "batch_size": 16, "rungs": [], "folds": 3, "parallel": 4})

    def again(at: float, pace: float, explain: bool = True) -> int:
        asked.clear()
        own_clock(monkeypatch, lambda: search.started + at)
        search.config = replace(search.config, explain=explain)
        found = seeds.Seeds(search.setup(), training, [0, 1, 2], search.started + 90, pace).again(
            finalists, choice, finalists[4]
        )
        assert len(found) == sum(asked)
        assert all(r.repeat == 1 for r in found)
        return len(found)

    assert again(50, 0.01) == 3, "the best two and baseline"
    assert again(86, 0.01) == 0, "less than 15 % is left"
    assert again(50, 4.0) == 3, "3 candidates on 3 folds at 4.4 s are less than 40 s"
    assert again(50, 4.5) == 0, "at 5 s they are not"
    finalists[2] = replace(finalists[2], candidate=search.space.default())
    choice = replace(choice, chosen=finalists[2])
    later = 4 + len(ablation.arms(search.space, search.space.default()))
    assert again(50, 39 / (1.1 * 3 * later)) == 4, "the chosen one too"
    assert again(50, 4.0) == 0, "the contribution of each technique needs the time"
    assert again(50, 3.0, explain=False) == 4
    search.hurried = True
    assert again(50, 0.01) == 0


def test_time_that_is_left_trains_more_seeds_of_what_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searching(iris(), tmp_path, **{**SHORT, "trials": None, "budget": 100.0})
    now = [0.0]
    own_clock(monkeypatch, lambda: search.started + now[0])
    asked: list[list[tuple[int, int]]] = []

    def instead(task: Any, training: Any, folder: Any, wanted: list[Trial], **rest: Any) -> list[Trial]:
        asked.append([(r.number, r.repeat) for r in wanted])
        now[0] += 3.0 * len(wanted)
        return [replace(r, tensors=[{}] * 3, epochs=6) for r in wanted]

    monkeypatch.setattr(seeds, "with_networks", instead)
    monkeypatch.setattr(finish.ensemble, "picked", lambda *given: {2: 1, 0: 5})
    finalists = [Trial(i, search.space.baseline(), "complete", scores=[1.0 + i / 10] * 3) for i in range(3)]
    finalists.append(replace(finalists[0], repeat=1))
    choice = finish.ensemble.choose(finalists)
    training = search_run.budgets.from_dict({"epochs": 6, "batch_size": 16, "rungs": [], "folds": 3, "parallel": 4})

    def more(at: float, pace: float) -> list[list[tuple[int, int]]]:
        asked.clear()
        now[0] = at
        found = seeds.Seeds(search.setup(), training, [0, 1, 2], search.started + 90, pace).more(finalists, choice)
        assert len(found) == sum(map(len, asked))
        return list(asked)

    # By hand: a candidate takes 3 s, a round of both 6; the one that counts most first, seeds that are not there yet.
    assert more(72, 0.01) == [[(0, 2), (2, 2)], [(0, 3), (2, 3)], [(0, 4)]]
    assert more(10, 0.01) == [[(0, n), (2, n)] for n in (2, 3, 4, 5)], "enough is enough"
    assert more(89, 2.0) == []
    search.hurried = True
    assert more(10, 0.01) == []


def test_where_every_loss_is_infinite(tmp_path: Path) -> None:
    def space(prepared: Any) -> Space:
        return Space(technique_spaces(["l1"]), lr=Numeric(1e30, 1e31, log=True), net=None)

    search = Search(iris(), SearchConfig(**{**SHORT, "networks": ()}), tmp_path, space=space, make=small_net)
    store = search.open()
    try:
        training = search.training_budget(store)
        search.work(store, training)
        with pytest.raises(ConfigError, match="every loss became infinite.*learning rate"):
            search.finish(store, training)
    finally:
        store.close()


def test_some_that_diverge_lose_and_no_more(tmp_path: Path) -> None:
    def space(prepared: Any) -> Space:
        return Space(technique_spaces(["l1"]), lr=Numeric(1e-3, 1e31, log=True), net=None, lr_default=1e-2)

    search = Search(
        iris(),
        SearchConfig(**{**SHORT, "networks": (), "trials": 8, "sampler": "random"}),
        tmp_path,
        space=space,
        make=small_net,
    )
    store = search.open()
    try:
        training = search.training_budget(store)
        search.work(store, training)
        record = search.finish(store, training).record
    finally:
        store.close()
    states = [row["state"] for row in record["candidates"]]
    assert "failed" in states
    assert len(states) == 8
    assert record["candidates"][record["chosen"]]["state"] == "complete"
    json.dumps(record, allow_nan=False)


def test_settings_tell_what_differs(tmp_path: Path) -> None:
    one_search = searching(table(), tmp_path)
    one = one_search.settings()
    assert one == searching(table(), tmp_path).settings()
    for key, other in {
        "data": searching(table(seed=1), tmp_path),
        "space": searching(table(), tmp_path, without=("mixup",)),
        "folds": searching(table(), tmp_path, cv=4),
        "seed": searching(table(), tmp_path, seed=1),
        "metric": searching(table(), tmp_path, metric="f1"),
        "calibrate": searching(table(), tmp_path, calibrate=False),
        "test part": searching(table(), tmp_path, test=False),
        "model": Search(table(), one_search.config, tmp_path, make=small_net),
        "loss": Search(table(), one_search.config, tmp_path, loss=torch.nn.functional.multi_margin_loss),
    }.items():
        # Another network has other tensors.
        expected = ["model", "network"] if key == "model" else [key]
        assert [name for name in one if one[name] != other.settings()[name]] == expected


def test_a_search_that_was_killed_in_its_report_ends_as_it_would_have(tmp_path: Path) -> None:
    """All its networks are on the disk; that no time is left must not leave them out."""

    def ended(late: float) -> tuple[dict[str, Any], torch.Tensor]:
        search = searching(iris(), tmp_path, **{**SHORT, "budget": 100.0})
        search.started -= late
        store = search.open()
        try:
            training = search.training_budget(store)
            search.work(store, training)
            result = search.finish(store, training)
        finally:
            store.close()
        x = search.prepared.x[torch.as_tensor(result.test)]
        return result.record, result.network(x)

    first, before = ended(0.0)
    again, after = ended(99.0)
    assert "seeds in all" in first["final"]
    assert first["contributions"]
    for key in ("chosen", "why", "final", "final_members", "contributions", "interactions", "member_steps"):
        assert again[key] == first[key], key
    assert torch.equal(before, after)


def test_steps_are_those_of_all_workers_and_lives(tmp_path: Path) -> None:
    counts = []
    for trials in (4, 7):
        search = searching(iris(), tmp_path, **{**SHORT, "trials": trials, "explain": False})
        store = search.open()
        training = search.training_budget(store)
        search.work(store, training)
        counts.append(search.finish(store, training).record)
        store.close()
    # Without early stopping a network takes as many steps in an epoch as there are batches; the last one may join the
    # one before.
    for record in counts:
        rows = record["train_rows"] * 2 // 3
        steps = sum(row["epochs"] for row in record["candidates"]) * 3 * max(1, round(rows / record["batch_size"]))
        assert 0.5 * steps < record["member_steps"] <= 1.5 * steps
    assert counts[1]["member_steps"] > counts[0]["member_steps"]


def test_finals_and_first_measures_keep_to_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashpot.population.population import Population

    sizes: list[int] = []
    whole = Population.__init__

    def counted(self: Any, members: Any, *given: Any, **options: Any) -> None:
        sizes.append(len(members))
        whole(self, members, *given, **options)

    monkeypatch.setattr(Population, "__init__", counted)
    for module in ("memory", "networks"):
        monkeypatch.setattr(f"dashpot.search.racing.{module}.most_members", lambda *given, **options: 6)
    run(iris(), SearchConfig(**{**SHORT, "trials": 9}), tmp_path)
    assert len(sizes) > 3
    # A race has four candidates at least, of one fold each.
    assert max(sizes) <= 6


def test_finalists_are_those_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    own_clock(monkeypatch, lambda: 1000.0)
    found = [Trial(i, candidate(lr=1e-3 * (i + 1)), "complete", scores=[float(i)] * 3) for i in range(9)]
    here = {0: 0, 1: 5, 2: 0, 3: 2, 8: 0}

    def numbers(seconds: float | None, baseline: int | None = None) -> list[int]:
        end = None if seconds is None else 1000.0 + seconds
        own = None if baseline is None else found[baseline]
        return [r.number for r in finish.affordable(found, own, lambda r: here.get(r.number, 5), 1.0, end)]

    assert numbers(None) == [0, 1, 2, 3, 4, 5]
    assert numbers(1e6, baseline=8) == [0, 1, 2, 3, 4, 5, 8]
    assert numbers(0.1, baseline=8) == [0, 2, 8], "those whose networks are here"
    assert numbers(1.2 * 2.5, baseline=8) == [0, 2, 3, 8]
    assert numbers(1.2 * 7.5, baseline=8) == [0, 1, 2, 3, 8]
    assert numbers(1.2 * 7.5, baseline=4) == [0, 2, 3, 4, 8], "the baseline's folds come first"
    here.clear()
    assert numbers(0.1) == [0], "one there must be"


@pytest.mark.parametrize("long", [False, True])
def test_boosted_trees_stand_beside_where_they_are_ready_in_time(
    long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    if long:
        monkeypatch.setattr(
            "dashpot.search.outcome.record.seconds_at_most",
            lambda model, *part: 1e6 if hasattr(model, "max_leaf_nodes") else 0.0,
        )
    options = SearchConfig(**{**SHORT, "trials": 2, "epochs": 2, "budget": 100.0, "explain": False})
    found = run(iris(), options, tmp_path, note=notes.append).record["test"]["references"]
    assert "logistic regression, L2" in found
    assert ("histogram gradient boosting" in found) != long
    assert any("would take longer than the budget" in note for note in notes) == long


def test_what_boosted_trees_take_is_told_by_their_first_rounds() -> None:
    x, y = load_iris(return_X_y=True)
    models = {name: make(x.size) for name, make in references("classification").items()}
    assert seconds_at_most(models["logistic regression, L2"], x, y) == 0
    trees = models["histogram gradient boosting"]
    assert seconds_at_most(trees, x, y) > 0
    assert not hasattr(trees, "n_iter_"), "it is still to be fitted"


def test_units_that_compress_made_zero_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "picked", lambda task, trials, *_: {trial.number: 1 for trial in trials})
    for name, told in (("compress:to=0.5x parameters", True), ("weight-decay", False)):
        notes: list[str] = []
        options = SearchConfig(**{**SHORT, "trials": 2, "epochs": 4, "explain": False, "recipe": [name]})
        run(iris(), options, tmp_path / name[:4], note=notes.append)
        assert any("dashpot shrink" in note for note in notes) == told
