"""Weights in a problem, a comparison and the command line: 0 is absent, 2 counts as two rows."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LassoCV, RidgeCV

import dashpot
from dashpot.comparison.compare import compare
from dashpot.comparison.reference_models import fit_reference, references
from dashpot.data import Problem, load_problem
from dashpot.data.rows import Rows
from dashpot.training.builtin import split_scores

RNG = np.random.default_rng(0)


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashpot", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


X = RNG.normal(size=(90, 4))
VALUES = X[:, 0] - 2 * X[:, 1] + RNG.normal(size=90)
NAMES = np.where(VALUES > 0, "yes", "no")
COUNT = RNG.integers(0, 3, 90)


def problem(rows: Any, y: np.ndarray, weight: Any = None) -> Problem:
    return Problem("made", Rows(tuple("abcd"), matrix=X[rows]), y[rows], weight=weight)


@pytest.mark.parametrize("y", [VALUES, NAMES])
def test_a_comparison_passes_over_rows_of_weight_0(y: np.ndarray) -> None:
    kept = np.flatnonzero(COUNT)
    recipe = dashpot.Mixup(alpha=0.2) | dashpot.EarlyStopping(patience=1) | dashpot.L1(relative=0.01)
    mine = compare(problem(slice(None), y, COUNT), recipe, repeats=1, epochs=2)
    theirs = compare(problem(kept, y, COUNT[kept]), recipe, repeats=1, epochs=2)
    for one, other in zip(mine.arms, theirs.arms, strict=True):
        assert (one.runs[0].error, one.runs[0].test) == (None, other.runs[0].test), one.name
    plain = compare(problem(kept, y), recipe, repeats=1, epochs=2)
    assert [arm.runs[0].test for arm in mine.arms] != [arm.runs[0].test for arm in plain.arms]


def test_a_problem_is_prepared_and_scored_by_weight() -> None:
    weight = np.maximum(COUNT, 1).astype(float)
    data = problem(slice(None), VALUES, weight)
    split = data.split(0)
    prepared = data.prepare(split.train)
    rows = np.repeat(split.train, weight[split.train].astype(int))
    assert prepared.target.mean == pytest.approx(VALUES[rows].mean())
    assert prepared.target.scale == pytest.approx(VALUES[rows].std())
    assert prepared.preprocessing.to_dict()["mean"] == pytest.approx(tuple(X[rows].mean(axis=0)))
    network = dashpot.fit(_line(), prepared.part(split.train), epochs=1, progress=False).model
    own = split_scores(network, prepared, split)["test"]["rmse"]
    error = (network(prepared.x).detach()[:, 0].numpy() * prepared.target.scale + prepared.target.mean - VALUES)[
        split.test
    ]
    assert own == pytest.approx(np.sqrt(np.average(error**2, weights=weight[split.test])), rel=1e-5)


def _line() -> Any:
    import torch

    return torch.nn.Linear(4, 1)


def test_references_learn_with_weights() -> None:
    weight = np.maximum(COUNT, 1).astype(float)
    for name, make in references("regression").items():
        model = make(360)
        fit_reference(model, X, VALUES, weight)
        if isinstance(model, RidgeCV | LassoCV):
            other = make(360).fit(X, VALUES, sample_weight=weight)
            np.testing.assert_allclose(model.coef_, other.coef_, err_msg=name)
            assert not np.allclose(model.coef_, make(360).fit(X, VALUES).coef_)


def test_the_column_of_weights_is_no_input_and_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["a", "b", "often", "y"])
        writer.writerows([X[i, 0], X[i, 1], COUNT[i], NAMES[i]] for i in range(90))
    data = load_problem(file, "y", weights="often")
    assert (data.n, data.inputs.names) == ((COUNT > 0).sum(), ("a", "b"))
    options = ("--target", "y", "--weights", "often", "--epochs", "2", "--out", tmp_path / "run")
    run("fit", file, *options, cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["data"]["rows"] == (COUNT > 0).sum()
    done = run("predict", tmp_path / "run", file, "--out", tmp_path / "p.csv", cwd=tmp_path)
    assert done.stderr == ""
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 91


def test_columns_that_are_no_weights(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,w,v,y\n" + "".join(f"{i},{i - 3},{'' if i == 4 else 1},{i % 2}\n" for i in range(20)))
    for column, message in {
        "w": "w must be finite numbers >= 0, got -3 in row 1",
        "v": "v must be finite numbers >= 0, got nan in row 5",
        "x": "weights must be a column of t.csv, got 'x'",
        "y": "another column than the target",
    }.items():
        with pytest.raises(dashpot.DataError, match=message):
            load_problem(file, "y", weights=column)
    with pytest.raises(dashpot.ConfigError, match="weights must be None where data are no table"):
        load_problem(None, weights="w")


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_targets_whose_squares_no_number_holds_are_refused(size: float) -> None:
    with pytest.raises(dashpot.DataError, match="the target must"):
        problem(slice(None), VALUES * size)
    with pytest.raises(dashpot.DataError, match="the target must"):
        dashpot.DashpotRegressor(epochs=1).fit(X, VALUES * size)


def test_classes_of_one_and_two_rows_are_kept_with_a_warning() -> None:
    names = NAMES.astype(object)
    names[0], names[1:3] = "one", "two"
    with pytest.warns(dashpot.data.DataWarning, match=r"class 'one' \(1\), 'two' \(2\)"):
        data = problem(slice(None), names)
    split = data.split(0)
    parts = [[data.classes[c] for c in data.labels[rows]] for rows in (split.train, split.valid, split.test)]
    assert [part.count("one") for part in parts] == [1, 0, 0]
    assert [part.count("two") for part in parts] == [1, 1, 0]
    record = compare(data, dashpot.Recipe((dashpot.Mixup(alpha=0.2),)), repeats=1, epochs=1)
    assert [arm.runs[0].error for arm in record.arms] == [None] * len(record.arms)
