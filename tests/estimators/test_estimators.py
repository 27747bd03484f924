"""The estimators inside scikit-learn's own tools."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dashpot import L1, DashpotClassifier, DashpotError, DashpotRegressor, EarlyStopping, LabelSmoothing, Mixup

MINIBATCHES = (
    "mini-batches are drawn by rows: a row of weight 2 is in one batch, two equal rows may be in two (scikit-learn's"
    " own MLP differs likewise)"
)
EXPECTED = dict.fromkeys(
    ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"), MINIBATCHES
)


@pytest.mark.filterwarnings("ignore")  # the checks feed data that are meant to warn
@parametrize_with_checks(
    [DashpotClassifier(epochs=30), DashpotRegressor(epochs=60)], expected_failed_checks=lambda estimator: EXPECTED
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def classifier(**options: Any) -> DashpotClassifier:
    return DashpotClassifier(**{"epochs": 30, "random_state": 0, **options})


def test_pipeline_search_and_cross_validation() -> None:
    x, y = load_iris(return_X_y=True)
    assert cross_val_score(make_pipeline(StandardScaler(), classifier(epochs=80)), x, y, cv=3).mean() > 0.9
    search = GridSearchCV(
        classifier(epochs=15), {"recipe": [None, "weight-decay:strength=0.1", L1(strength=5.0)]}, cv=3
    ).fit(x, y)
    assert search.cv_results_["rank_test_score"][2] == 3
    assert search.best_estimator_.recipe != L1(strength=5.0)


def test_pickle_clone_and_determinism() -> None:
    x, y = load_iris(return_X_y=True)
    model = classifier(recipe=Mixup() | L1(strength=1e-3)).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    np.testing.assert_array_equal(clone(model).fit(x, y).predict_proba(x), model.predict_proba(x))
    assert not hasattr(clone(model), "model_")
    assert type(model.model_).__name__ == "MLP"
    assert not any(m._forward_hooks for m in model.model_.modules())


def test_the_global_random_state_stays() -> None:
    x, y = load_iris(return_X_y=True)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (the global state is what is tested)
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    classifier(recipe="dropout:p=0.3").fit(x, y)
    assert torch.equal(torch.rand(1), expected[0])
    assert np.random.rand() == expected[1]  # noqa: NPY002


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_mixed_tables_with_missing_and_unseen(library: Any) -> None:
    rng = np.random.default_rng(0)
    n = 200
    colour = rng.choice(["red", "blue", None], n)
    size = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    y = np.where((colour == "red") ^ (np.nan_to_num(size) > 0), "yes", "no")
    model = classifier(epochs=80).fit(library({"size": size, "colour": list(colour)}), y)
    assert model.score(library({"size": size, "colour": list(colour)}), y) > 0.9
    assert set(model.predict(library({"size": [0.5], "colour": ["never seen"]}))) <= {"yes", "no"}
    assert list(model.feature_names_in_) == ["size", "colour"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pd.DataFrame({"size": [0.5], "other": ["red"]}))


def test_sparse_equals_dense() -> None:
    x, y = load_iris(return_X_y=True)
    a, b = classifier().fit(x, y), classifier().fit(scipy.sparse.csr_array(x), y)
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(scipy.sparse.csc_array(x)), rtol=1e-6)


def test_class_and_sample_weights_move_the_decision() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = x[:, :1]
    y = np.where(np.random.default_rng(0).random(len(y)) < 0.5, y, 1)
    share = [
        classifier(class_weight=w, recipe=LabelSmoothing(smoothing=0.1)).fit(x, y).predict(x).mean()
        for w in (None, "balanced", {0: 50, 1: 1})
    ]
    assert share[0] > share[1] > share[2]
    weighted = classifier(recipe=LabelSmoothing(smoothing=0.1)).fit(x, y, sample_weight=np.where(y == 0, 50.0, 1.0))
    # As class_weight, but columns are scaled by what rows weigh, too.
    np.testing.assert_allclose(weighted.predict(x).mean(), share[2], atol=0.1)


def test_early_stopping_holds_rows_out_and_nothing_else_does() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    assert "val_loss" in classifier(recipe=EarlyStopping(patience=3)).fit(x, y).history_[0]
    assert "val_loss" not in classifier().fit(x, y).history_[0]


def test_a_regression_in_its_own_units_and_a_linear_layer_that_selects() -> None:
    x, y = load_diabetes(return_X_y=True)
    y = 1000 + 50 * y
    model = DashpotRegressor(
        depth=0, lr=0.02, epochs=300, batch_size=len(x), recipe="l1:strength=0.1", random_state=0
    ).fit(x, y)
    assert model.score(x, y) > 0.45
    assert abs(model.predict(x).mean() - y.mean()) < 0.02 * y.mean()
    assert (model.model_.head.weight == 0).sum() >= 2
    two = DashpotRegressor(epochs=20, random_state=0).fit(x, np.column_stack([y, -y]))
    assert two.predict(x).shape == (len(x), 2)


def test_beats_guessing_on_text_labels() -> None:
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = classifier().fit(x, names)
    assert model.score(x, names) > DummyClassifier().fit(x, names).score(x, names) + 0.4
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x)), model.predict_proba(x))


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        ({"recipe": "l9"}, None, "technique must be one of"),
        ({"recipe": 3}, None, "recipe must be"),
        ({"width": 0}, None, "width must be"),
        ({"validation_fraction": 1.5}, None, "validation_fraction must be"),
        ({}, np.full((150, 2), np.inf), "infinity"),
    ],
)
def test_bad_input(options: dict[str, Any], x: Any, message: str) -> None:
    good, y = load_iris(return_X_y=True)
    with pytest.raises((DashpotError, ValueError), match=message):
        classifier(**options).fit(good if x is None else x, y)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
@pytest.mark.parametrize("kind", [DashpotClassifier, DashpotRegressor])
def test_a_missing_target_is_named_unless_its_row_is_absent(kind: Any, missing: Any) -> None:
    x = np.random.default_rng(0).normal(size=(12, 2))
    y = np.array(["1", "2", missing] * 4, dtype=object)
    with pytest.raises(DashpotError, match=r"missing in 4 of 12\. Remove those rows"):
        kind(epochs=1).fit(x, y)
    there = np.arange(12) % 3 < 2
    model = kind(epochs=1, random_state=0).fit(x, y, sample_weight=there.astype(float))
    alone = kind(epochs=1, random_state=0).fit(x[there], y[there])
    assert list(model.predict(x)) == list(alone.predict(x))
