"""Signals: how they are read, standardized and predicted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dashpot
from dashpot.core.errors import DashpotError
from dashpot.data import Problem, load_problem, load_rows
from dashpot.data.new_rows import new_inputs
from dashpot.data.signals import SignalPreprocessing

RNG = np.random.default_rng(0)
X, Y = RNG.normal(3.0, 2.0, (20, 2, 12)) * np.array([1.0, 100.0])[:, None], np.arange(20) % 2


def saved(tmp_path: Path, x: np.ndarray) -> Path:
    np.savez(tmp_path / "s.npz", X=x, y=Y)
    return tmp_path / "s.npz"


@pytest.mark.parametrize(("shape", "kind"), [((20, 2, 12), "signal"), ((20, 8, 12), "image"), ((20, 12), "table")])
def test_kind_is_seen_from_the_shape(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    assert load_problem(saved(tmp_path, RNG.random(shape))).kind == kind


@pytest.mark.parametrize("shape", [(20, 12), (20, 12, 30)])
def test_kind_that_is_said(tmp_path: Path, shape: tuple[int, ...]) -> None:
    problem = load_problem(saved(tmp_path, RNG.random(shape)), kind="signal")
    assert problem.kind == "signal"
    assert np.asarray(problem.inputs).shape == (20, *((1,) if len(shape) == 2 else ()), *shape[1:])


def test_columns_of_a_table_as_steps(tmp_path: Path) -> None:
    lines = [",".join([*(f"t{i}" for i in range(12)), "kind"])]
    lines += [",".join([*(f"{v:.6f}" for v in row), "ab"[k]]) for row, k in zip(X[:, 0], Y, strict=True)]
    (tmp_path / "s.csv").write_text("\n".join(lines))
    problem = load_problem(tmp_path / "s.csv", "kind", kind="signal")
    assert np.allclose(np.asarray(problem.inputs), X[:, :1], atol=1e-6)
    prepared = problem.prepare(np.arange(20))
    found, names = load_rows(tmp_path / "s.csv", prepared.preprocessing, "kind")
    assert np.array_equal(found.numpy(), prepared.x.numpy())
    assert len(names) == 20


def test_channels_are_standardized_by_the_training_rows_and_their_weights() -> None:
    weight = np.array([0.5, 1.0, 2.0] * 6 + [1.0, 3.0])
    train = np.arange(4, 16)
    share = np.repeat(weight[train], 12)
    flat = X[train].swapaxes(1, 2).reshape(-1, 2)
    mean = np.average(flat, axis=0, weights=share)
    scale = np.average((flat - mean) ** 2, axis=0, weights=share) ** 0.5
    how = SignalPreprocessing.fit(X, train, weight=weight)
    assert np.allclose(how.transform(X), (X - mean[:, None]) / scale[:, None], atol=1e-5)
    again = SignalPreprocessing.from_dict(how.to_dict())
    assert again == how
    again.check()


def test_a_constant_channel_becomes_zeros() -> None:
    x = X.copy()
    x[:, 1] = 0.1
    assert np.abs(SignalPreprocessing.fit(x, np.arange(20)).transform(x)[:, 1]).max() < 1e-12


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (np.where(X > 9, np.nan, X), None, "finite numbers, got NaN"),
        (X[:, :, :7], "signal", "at least 8 steps"),
        (X[:, 0], "image", "images"),
        (X[:, 0], "sound", "sound"),
    ],
)
def test_refused(tmp_path: Path, x: np.ndarray, kind: str | None, message: str) -> None:
    with pytest.raises(DashpotError, match=message):
        load_problem(saved(tmp_path, x), kind=kind)


def test_other_lengths_are_refused_at_prediction() -> None:
    how = SignalPreprocessing.fit(X, np.arange(20))
    for wrong in (X[:, :1], X[:, :, :11]):
        with pytest.raises(dashpot.DataError, match="2 channels of 12 steps"):
            new_inputs(wrong, how)


@pytest.mark.parametrize("column", [["a"] * 20, [1.0] * 19 + [None]])
def test_columns_that_are_no_steps(tmp_path: Path, column: list[Any]) -> None:
    import polars

    frame = {f"t{i}": X[:, 0, i] for i in range(12)} | {"more": column, "y": Y}
    polars.DataFrame(frame, strict=False).write_parquet(tmp_path / "s.parquet")
    with pytest.raises(dashpot.DataError, match="numbers"):
        load_problem(tmp_path / "s.parquet", "y", kind="signal")


def test_arrays_are_signals_by_themselves() -> None:
    assert Problem("s", X, Y).kind == "signal"
