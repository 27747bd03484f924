"""A search with weights of rows, with classes rarer than its folds, and with one positive class throughout."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as theirs
import torch

import dashpot
from dashpot.data import Problem
from dashpot.data.rows import Rows
from dashpot.evaluation.metrics import METRICS, Metric
from dashpot.search.config import SearchConfig
from dashpot.search.racing.task import held_out, proper_score
from dashpot.search.run import Search

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 3))
VALUES = X[:, 0] + X[:, 1] + RNG.normal(size=100)
CODES = np.digitize(VALUES, [-0.5, 0.5])
COUNT = RNG.integers(0, 4, 100)
QUICK: dict[str, Any] = {"trials": 2, "epochs": 2, "cv": 2, "explain": False, "device": "cpu", "bfloat16": False}


def tuned(x: Any, y: Any, weight: Any = None, **options: Any) -> dashpot.TuneResult:
    config = SearchConfig(
        **{**QUICK, "recipe": ("mixup", "early-stopping"), "networks": ("width=8", "depth=1"), **options}
    )
    return dashpot.tune((x, y), sample_weight=weight, config=config, progress=False)


def _scores(result: dashpot.TuneResult) -> list[Any]:
    return [(c["params"], c["history"]) for c in result.record["candidates"]]


@pytest.mark.parametrize("y", [VALUES, CODES])
def test_a_row_of_weight_0_is_absent(y: np.ndarray) -> None:
    kept = COUNT > 0
    wild = np.where(kept[:, None], X, 1e6)
    mine, other = tuned(wild, y, COUNT), tuned(X[kept], y[kept], COUNT[kept])
    assert _scores(mine) == _scores(other)
    assert mine.record["test"] == other.record["test"]
    np.testing.assert_array_equal(mine.predict(X), other.predict(X))
    assert mine.record["test"] != tuned(X[kept], y[kept]).record["test"]


def test_scores_of_the_test_part_are_weighted() -> None:
    weight = np.where(CODES == 0, 5.0, 1.0) + (COUNT > 1)
    result = tuned(X, CODES, weight)
    test, found = result.test, result.record["test"]["chosen"]
    own = theirs.accuracy_score(CODES[test], result.predict(X[test]), sample_weight=weight[test])
    assert found["accuracy"] == pytest.approx(own)
    assert found["log_loss"] == pytest.approx(
        theirs.log_loss(CODES[test], result.predict_proba(X[test]), sample_weight=weight[test]), rel=1e-5
    )


def test_proper_scores_are_those_of_repeated_rows() -> None:
    weight = np.maximum(COUNT, 1)
    index = torch.from_numpy(np.repeat(np.arange(100), weight))
    for y in (torch.from_numpy(CODES), torch.from_numpy(VALUES).float()):
        out = torch.randn(100, 1 if y.is_floating_point() else 3, generator=torch.Generator().manual_seed(0))
        mine = proper_score(out, y, 2.0, weight.astype(float))
        assert mine == pytest.approx(proper_score(out[index], y[index], 2.0), rel=1e-6)


def test_a_metric_of_ones_own_is_in_the_test_scores_and_must_know_weights() -> None:
    def share(predicted: np.ndarray, y: np.ndarray) -> float:
        return float((predicted == y).mean())

    own = Metric("share", "classification", "higher", "decision", share)
    config = SearchConfig(**QUICK, metric=own)  # type: ignore[arg-type]  # a metric of its own
    result = dashpot.tune((X, CODES), config=config, progress=False)
    scores = result.record["test"]["chosen"]
    assert scores["share"] == scores["accuracy"]
    with pytest.raises(
        dashpot.ConfigError, match=r"metric must be one whose function takes \(predicted, truth, weight"
    ):
        # A metric of its own.
        dashpot.tune((X, CODES), sample_weight=COUNT, metric=own, trials=2, progress=False)  # type: ignore[arg-type]


def test_f1_is_of_one_class_throughout(tmp_path: Path) -> None:
    y = np.array(["a"] * 50 + ["b"] * 52)
    x = np.where(y == "a", 1.0, 0.0)[:, None] + RNG.normal(size=(102, 2))
    result = tuned(x, y, metric="f1")
    assert result.record["positive"] == "a"
    test = result.test
    own = theirs.f1_score(y[test], result.predict(x[test]), pos_label="a")
    assert result.record["test"]["chosen"]["f1"] == pytest.approx(own)
    other = tuned(x, y, metric="f1", positive="b")
    own = theirs.f1_score(y[test], other.predict(x[test]), pos_label="b")
    assert (other.record["positive"], other.record["test"]["chosen"]["f1"]) == ("b", pytest.approx(own))
    for options, message in (
        ({"metric": "f1", "positive": "c"}, "one of the classes 'a', 'b'"),
        ({"positive": "a"}, "f1"),
    ):
        with pytest.raises(dashpot.ConfigError, match=message):
            tuned(x, y, **options)


def test_classes_rarer_than_the_folds_are_accepted_unless_somebody_said_how_many(tmp_path: Path) -> None:
    names = np.array(["common", "usual"])[(VALUES > 0).astype(int)].astype(object)
    names[0], names[1:3] = "once", "twice"
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = Problem("made", Rows(tuple("abc"), matrix=X), names)
        Search(problem, SearchConfig(trials=2), tmp_path / "b", note=notes.append)
        result = tuned(X, names, cv=None, metric="roc_auc")
        with pytest.raises(dashpot.ConfigError, match="cv must be at most 1"):
            tuned(X, names, cv=2)
    assert any("class 'once' (1), 'twice' (2)" in note for note in notes)
    assert result.record["folds"] == 5
    assert np.isfinite([c["score"] for c in result.record["candidates"]]).all()
    assert all(np.isfinite(list(scores.values())).all() for scores in result.record["test"]["references"].values())
    assert result.predict_proba(X).shape == (100, 4)


def test_early_stopping_has_rows_where_no_class_has_one_to_spare() -> None:
    train, watch = held_out(np.arange(6), torch.arange(6), 0)
    assert (len(train), len(watch)) == (5, 1)


def test_a_study_with_weights_in_its_table_is_resumed(tmp_path: Path) -> None:
    from dashpot.search.outcome.folder import read_config, write_config

    file = tmp_path / "t.csv"
    file.write_text("a,w,y\n" + "".join(f"{i * 0.37 % 1},{i % 3},{'no' if i % 2 else 'yes'}\n" for i in range(40)))
    write_config(tmp_path, file, "y", None, SearchConfig(trials=2), "w")
    problem = read_config(tmp_path)[0]
    assert (problem.n, problem.weight is None) == (sum(i % 3 > 0 for i in range(40)), False)
    assert METRICS["accuracy"].takes_weights
