"""``sample_weight`` and ``class_weight`` of the estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dashpot import DashpotClassifier, DashpotError, DashpotRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 1.0]
Y = X[:, 0] + RNG.normal(size=40)
COUNT = RNG.integers(1, 4, 40)


def fitted(kind: Any, x: np.ndarray, y: np.ndarray, weight: Any = None, **options: Any) -> Any:
    options = {"epochs": 5, "batch_size": 1000, "random_state": 0, "width": 8, **options}
    return kind(**options).fit(x, y, sample_weight=weight)


@pytest.mark.parametrize(("kind", "y"), [(DashpotRegressor, Y), (DashpotClassifier, Y > 0)])
def test_a_weight_of_2_counts_as_two_rows_in_scaling_too(kind: Any, y: np.ndarray) -> None:
    mine, theirs = fitted(kind, X, y, COUNT), fitted(kind, np.repeat(X, COUNT, 0), np.repeat(y, COUNT))
    assert mine.preprocessing_.mean == pytest.approx(tuple(np.average(X, axis=0, weights=COUNT)))
    out = "predict" if kind is DashpotRegressor else "predict_proba"
    np.testing.assert_allclose(getattr(mine, out)(X), getattr(theirs, out)(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "y"), [(DashpotRegressor, Y), (DashpotClassifier, np.digitize(Y, [-0.5, 0.5]))])
@pytest.mark.parametrize("recipe", [None, "early-stopping"])
def test_a_weight_of_0_is_an_absent_row(kind: Any, y: np.ndarray, recipe: Any) -> None:
    x, y = X.copy(), y.copy()
    kept = y != 2 if kind is DashpotClassifier else COUNT > 1
    x[~kept] *= 1e6  # columns are not scaled by what is absent
    mine = fitted(kind, x, y, kept * 1.0, batch_size=16, recipe=recipe)
    theirs = fitted(kind, x[kept], y[kept], batch_size=16, recipe=recipe)
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))
    if kind is DashpotClassifier:
        assert mine.classes_.tolist() == [0, 1]


def test_class_weight_is_in_the_loss_and_not_in_the_scaling() -> None:
    y = (Y > 0).astype(int)
    plain, heavy = (
        fitted(DashpotClassifier, X, y, lr=0.02),
        fitted(DashpotClassifier, X, y, class_weight={0: 1.0, 1: 20.0}, lr=0.02),
    )
    assert plain.preprocessing_ == heavy.preprocessing_
    assert heavy.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.02
    # Balanced by what rows weigh, as scikit-learn does: equal to the weights of repeated rows.
    mine = fitted(DashpotClassifier, X, y, COUNT, class_weight="balanced")
    theirs = fitted(DashpotClassifier, np.repeat(X, COUNT, 0), np.repeat(y, COUNT), class_weight="balanced")
    np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), rtol=1e-4)


def test_early_stopping_watches_with_weights() -> None:
    y = (Y > 0).astype(int)
    weight = np.where(RNG.random(40) < 0.5, 1.0, 9.0)
    options = {"recipe": "early-stopping", "batch_size": 8}
    one = fitted(DashpotClassifier, X, y, weight, **options).history_[0]["val_loss"]
    assert one != fitted(DashpotClassifier, X, y, **options).history_[0]["val_loss"]


@pytest.mark.parametrize("weight", [np.full(40, np.nan), np.full(40, -1.0), np.zeros(40), np.ones(39)])
def test_weights_that_are_none(weight: np.ndarray) -> None:
    with pytest.raises((DashpotError, ValueError), match="weight"):
        fitted(DashpotRegressor, X, Y, weight)
