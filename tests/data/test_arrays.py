"""Arrays that do not fit each other, and targets that are no targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dashpot
from dashpot.data import Preprocessing, load_problem, load_rows
from dashpot.data.rows import Rows


def parts(**change: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "X_train": rng.random((12, 3)),
        "y_train": np.arange(12) % 2,
        "X_test": rng.random((6, 3)),
        "y_test": np.arange(6) % 2,
        **change,
    }


def whole(**change: Any) -> dict[str, Any]:
    return {"X": np.random.default_rng(0).random((12, 3)), "y": np.arange(12) % 2, **change}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (whole(X=np.array(3.0)), "X must have 2 dimensions or more"),
        (whole(X=np.arange(12.0)), "X must have 2 dimensions or more"),
        (whole(y=np.array(1)), "y must have one dimension, .* got shape \\[\\]"),
        (whole(y=np.ones((12, 2))), "y must have one dimension, .* got shape \\[12, 2\\]"),
        (whole(y=np.arange(11) % 2), "12 rows in X and 11 targets in y"),
        (parts(X_test=np.ones((6, 2))), r"rows of one shape, got \[3\] and \[2\]"),
        # The sums are the same, so that the labels would be those of other rows.
        (parts(y_train=np.arange(11) % 2, y_test=np.arange(7) % 2), "12 rows in X_train and 11 targets in y_train"),
        (parts(y_test=np.ones((6, 1))), "y_test must have one dimension"),
        (parts(X_train=np.array(1.0)), "X_train must have 2 dimensions"),
        (parts(X_test=np.array([["a"] * 3] * 6)), "X_test must hold numbers"),
        (parts(y_test=np.array(["0", "1"] * 3)), "must both be numbers or both be text"),
        (whole(y=np.arange(12).astype("datetime64[D]")), "y must hold numbers, truth values or text, got datetime64"),
        (whole(y=np.arange(12) % 2 * 1j), "got complex128"),
        (whole(y=np.zeros(12, dtype=[("a", int)])), "y must hold numbers, truth values or text"),
        (whole(y=np.array([b"\xff", b"a"] * 6)), "y must be text in UTF-8"),
    ],
)
def test_bad_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(dashpot.DataError, match=rf"a\.npz.*{message}"):
        load_problem(tmp_path / "a.npz")


def test_bytes_are_text(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **whole(y=np.array(["grün".encode(), b"rot"] * 6)))
    assert load_problem(tmp_path / "a.npz").classes == ("grün", "rot")


@pytest.mark.parametrize(
    ("x", "message"),
    [(np.array(1.0), "2 dimensions"), (np.arange(3.0), "2 dimensions"), (np.array([["a"]]), "numbers")],
)
def test_bad_arrays_to_predict_for(tmp_path: Path, x: np.ndarray, message: str) -> None:
    plan = Preprocessing.fit(Rows(("x0",), matrix=np.arange(9.0)[:, None]))
    np.savez(tmp_path / "a.npz", X=x)
    with pytest.raises(dashpot.DataError, match=f"X must h.*{message}"):
        load_rows(tmp_path / "a.npz", plan)
