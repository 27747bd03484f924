"""The estimators that search inside ``fit``, in scikit-learn's own tools."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dashpot import DashpotClassifier, DashpotError, DashpotRegressor, EarlyStopping
from dashpot.data import DataWarning

QUICK: dict[str, Any] = {"trials": 3, "epochs": 12, "cv": 2, "width": 32, "random_state": 0}


def auto(**options: Any) -> DashpotClassifier:
    return DashpotClassifier("auto", **{**QUICK, **options})


@pytest.fixture(scope="module")
def iris() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_iris(return_X_y=True)
    return x, np.array(["setosa", "versicolor", "virginica"], dtype=object)[y]


@pytest.fixture(scope="module")
def fitted(iris: tuple[np.ndarray, np.ndarray]) -> DashpotClassifier:
    return auto().fit(*iris)


def test_it_learns_and_tells_what_it_did(fitted: DashpotClassifier, iris: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = iris
    assert fitted.score(x, y) > 0.9
    assert fitted.predict(x).dtype == y.dtype
    record = fitted.report_
    assert record is not None
    assert record["train_rows"] == 150
    assert record["test_rows"] == 0
    assert len(record["candidates"]) == 3
    assert {c["params"]["net.width"] for c in record["candidates"]} == {32}
    assert {c["params"]["net.depth"] for c in record["candidates"]} <= {2, 3}
    assert str(fitted.recipe_) == next(c["recipe"] for c in record["candidates"] if c["number"] == record["chosen"])
    assert fitted.history_[-1]["epoch"] <= fitted.n_iter_ == 12


def test_probabilities_are_calibrated_and_decided_by_the_fitted_rule(
    fitted: DashpotClassifier, iris: tuple[np.ndarray, np.ndarray]
) -> None:
    x, _ = iris
    p = fitted.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(x)), p, rtol=1e-9)
    # A classifier has one.
    logits = fitted._outputs(x).numpy() / fitted.decision_.temperature  # type: ignore[union-attr]
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(p, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_array_equal(fitted.predict(x[:10]), fitted.predict(x)[:10])


def test_clone_pickle_and_the_same_random_state(fitted: DashpotClassifier, iris: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = iris
    again = clone(fitted)
    assert not hasattr(again, "model_")
    np.testing.assert_array_equal(again.fit(x, y).predict_proba(x), fitted.predict_proba(x))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), fitted.predict_proba(x))
    again.set_params(recipe="dropout:p=0.1").fit(x, y)
    assert again.report_ is None
    assert type(again.model_).__name__ == "MLP"


def test_pipeline_cross_validation_and_grid_search(iris: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = iris
    assert cross_val_score(make_pipeline(StandardScaler(), auto()), x, y, cv=2).mean() > 0.85
    search = GridSearchCV(auto(), {"epochs": [1, 12]}, cv=2).fit(x, y)
    assert search.best_params_ == {"epochs": 12}


@pytest.mark.slow
def test_processes_give_the_same_as_one(iris: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = iris
    one, two = (cross_val_score(auto(), x, y, cv=2, n_jobs=n, scoring="neg_log_loss") for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-3)


def test_the_metric_moves_the_decision() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(0)
    x, y = x[:, :1], np.where(rng.random(len(y)) < 0.6, 1, y)
    rare = [(auto(metric=metric).fit(x, y).predict(x) == 0).mean() for metric in ("accuracy", "balanced_accuracy")]
    assert rare[1] > rare[0] + 0.05


def test_a_frame_with_gaps_and_levels() -> None:
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "blue"], 160)
    size = np.where(rng.random(160) < 0.1, np.nan, rng.normal(size=160))
    frame = pd.DataFrame({"size": size, "colour": colour})
    model = auto().fit(frame, pd.Series(colour == "red"))
    assert model.score(frame, colour == "red") > 0.9
    assert list(model.feature_names_in_) == ["size", "colour"]
    assert model.predict(pd.DataFrame({"size": [0.0], "colour": ["never seen"]})).dtype == bool


def test_a_regression_in_its_own_units() -> None:
    x, y = load_diabetes(return_X_y=True)
    y = 1000 + 50 * y
    model = DashpotRegressor("auto", **{**QUICK, "epochs": 25}).fit(x, y)
    assert model.score(x, y) == pytest.approx(r2_score(y, model.predict(x)))
    assert model.score(x, y) > 0.35
    assert abs(model.predict(x).mean() - y.mean()) < 0.05 * y.mean()
    assert model.report_ is not None
    assert model.report_["candidates"][0]["score"] > 100  # RMSE in the target's units
    with pytest.raises(DashpotError, match="one value per row"):
        model.fit(x, np.column_stack([y, y]))


def test_folds_are_fewer_where_a_class_is_small() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    model = auto(cv=5, epochs=2).fit(x, np.arange(40) >= 37)
    assert model.report_ is not None
    assert model.report_["folds"] == 3


@pytest.mark.parametrize(
    ("options", "weight", "message"),
    [
        ({"trials": None, "budget": "soon"}, None, "budget must be"),
        ({"trials": 1}, None, "trials must be"),
        ({"metric": "rmse"}, None, "metric must be one for classification"),
        ({"width": 0}, None, "width must be"),
        ({"cv": 1}, None, "cv must be"),
        ({"class_weight": "balanced"}, None, "class_weight must be None"),
        ({}, -np.ones(150), "sample_weight"),
    ],
)
def test_bad_input(options: dict[str, Any], weight: Any, message: str, iris: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises((DashpotError, ValueError), match=message):
        auto(**options).fit(*iris, sample_weight=weight)


def test_equal_weights_and_rare_classes(iris: tuple[np.ndarray, np.ndarray], fitted: DashpotClassifier) -> None:
    x, y = iris
    np.testing.assert_array_equal(
        auto().fit(x, y, sample_weight=np.full(150, 2.0)).predict_proba(x), fitted.predict_proba(x)
    )
    with pytest.warns(DataWarning, match=r"class '\d+' \(2\)"):
        model = auto(epochs=2).fit(x, np.where(np.arange(150) < 2, "odd", y.astype(str)))
    assert model.predict_proba(x).shape == (150, 4)


def test_a_named_recipe_is_as_before() -> None:
    x, y = load_iris(return_X_y=True)
    model = DashpotClassifier(EarlyStopping(patience=3), epochs=20, random_state=0).fit(x, y)
    out = model._outputs(x)
    np.testing.assert_allclose(model.predict_proba(x), out.softmax(1).numpy(), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(x), model.classes_[out.argmax(1).numpy()])
