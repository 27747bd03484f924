"""Metrics against scikit-learn, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from dashpot.core.errors import ConfigError, DataError, UnknownNameError
from dashpot.evaluation.losses import metrics_of
from dashpot.evaluation.metrics import METRICS, Metric, find_metric, proper_of, with_positive

RNG = np.random.default_rng(0)


def problem(classes: int, n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Uneven classes and informative, rounded (so tied) probabilities."""
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    p = np.round(np.exp(rng.normal(size=(n, classes)) + np.eye(classes)[y]), 1) + 0.1
    return p / p.sum(axis=1, keepdims=True), y


ORACLES = {
    "accuracy": lambda p, y: sk.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda p, y: sk.balanced_accuracy_score(y, p.argmax(1)),
    "f1_macro": lambda p, y: sk.f1_score(y, p.argmax(1), average="macro", zero_division=0),
    "log_loss": lambda p, y: sk.log_loss(y, p, labels=range(p.shape[1])),
    "brier": lambda p, y: sk.brier_score_loss(y, p if p.shape[1] > 2 else p[:, 1], labels=range(p.shape[1])),
    "roc_auc": lambda p, y: sk.roc_auc_score(y, p if p.shape[1] > 2 else p[:, 1], multi_class="ovr"),
}


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("name", ORACLES)
def test_scores_of_classes_are_those_of_scikit_learn(name: str, classes: int) -> None:
    p, y = problem(classes)
    metric = METRICS[name]
    assert metric(p if metric.kind == "probability" else p.argmax(1), y) == pytest.approx(
        ORACLES[name](p, y), rel=1e-12
    )


def test_f1_is_of_the_rarer_class_unless_told() -> None:
    p, y = problem(2)
    decided = p.argmax(1)
    assert (y == 0).sum() < (y == 1).sum()
    assert METRICS["f1"](decided, y) == pytest.approx(sk.f1_score(y, decided, pos_label=0))
    assert METRICS["f1"](1 - decided, 1 - y) == METRICS["f1"](decided, y)
    assert with_positive(METRICS["f1"], 1)(decided, y) == pytest.approx(sk.f1_score(y, decided, pos_label=1))
    assert METRICS["f1"]([1, 1, 1, 0], [1, 0, 1, 0]) == pytest.approx(sk.f1_score([1, 0, 1, 0], [1, 1, 1, 0])), (
        "a tie is class 1"
    )
    assert METRICS["f1"]([0, 0], [0, 0]) == 0.0, "class 1 neither occurs nor is predicted"
    told = pickle.loads(pickle.dumps(with_positive(METRICS["f1"], 0)))
    assert told([0, 1], [0, 0]) == pytest.approx(2 / 3)
    assert with_positive(METRICS["accuracy"], 0) is METRICS["accuracy"]


@pytest.mark.parametrize(
    ("name", "oracle"), [("r2", sk.r2_score), ("rmse", sk.root_mean_squared_error), ("mae", sk.mean_absolute_error)]
)
def test_scores_of_values_are_those_of_scikit_learn(name: str, oracle: Any) -> None:
    y = RNG.normal(3, 2, 50)
    predicted = y + RNG.normal(size=50)
    assert METRICS[name](predicted, y) == pytest.approx(oracle(y, predicted), rel=1e-12)
    assert METRICS[name](y, y) == oracle(y, y)
    assert METRICS[name](np.zeros(5), np.ones(5)) == oracle(np.ones(5), np.zeros(5)), "a constant target"
    assert METRICS[name](np.ones(5), np.ones(5)) == oracle(np.ones(5), np.ones(5))


def test_the_same_numbers_as_the_scores_of_a_model() -> None:
    out, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    ours, p = metrics_of(out, y), out.double().softmax(dim=1)
    assert METRICS["log_loss"](p, y) == pytest.approx(ours["loss"], rel=1e-6)
    assert METRICS["balanced_accuracy"](p.argmax(1), y) == pytest.approx(ours["balanced_accuracy"])
    values = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    ours = metrics_of(values, values.flip(0))
    assert [METRICS[name](values, values.flip(0)) for name in ("r2", "rmse")] == pytest.approx(
        [ours["r2"], ours["rmse"]], rel=1e-6
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_true_class_of_probability_zero_costs_what_it_costs_in_scikit_learn(dtype: Any) -> None:
    p = np.array([[0, 1], [1, 0], [0.25, 0.75]], dtype=dtype)
    assert METRICS["log_loss"](p, [0, 0, 1]) == pytest.approx(sk.log_loss([0, 0, 1], p), rel=1e-6)


def test_classes_that_do_not_occur() -> None:
    p, y = problem(4)
    kept = y < 2
    p, y = p[kept], y[kept]
    recall = [(p.argmax(1)[y == c] == c).mean() for c in (0, 1)]
    assert METRICS["balanced_accuracy"](p.argmax(1), y) == pytest.approx(np.mean(recall))
    assert METRICS["f1_macro"](p.argmax(1), y) == pytest.approx(ORACLES["f1_macro"](p, y))
    assert METRICS["roc_auc"](p, y) == pytest.approx(np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in (0, 1)]))
    with pytest.raises(DataError, match="at least 2 classes, got only class 1"):
        METRICS["roc_auc"](p[y == 1], y[y == 1])


def test_better_says_which_way_is_better() -> None:
    p, y = problem(2)
    worse, values = p[:, ::-1], RNG.normal(size=50)
    for metric in METRICS.values():
        good, bad = (
            (p, worse)
            if metric.kind == "probability"
            else (y, 1 - y)
            if metric.kind == "decision"
            else (values, -values)
        )
        truth = values if metric.kind == "value" else y
        assert metric.sign * metric(good, truth) > metric.sign * metric(bad, truth), metric.name
        assert METRICS[metric.name] is metric


class TestFinding:
    def test_a_metric_that_fits(self) -> None:
        assert find_metric("f1", "classification", 2) is METRICS["f1"]
        own = Metric("own", "regression", "higher", "value", lambda p, y: 1.0)
        assert find_metric(own, "regression") is own

    def test_an_unknown_name_gets_those_that_fit_and_a_suggestion(self) -> None:
        with pytest.raises(UnknownNameError, match="'accuracy'") as caught:
            find_metric("acuracy", "classification", 3)
        assert caught.value.known == ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "brier", "roc_auc")

    @pytest.mark.parametrize(
        ("name", "task", "classes", "message"),
        [
            (
                "r2",
                "classification",
                0,
                (
                    "one for classification (accuracy, balanced_accuracy, f1, f1_macro, log_loss, brier, roc_auc), got"
                    " 'r2'"
                ),
            ),
            ("f1", "regression", 0, "one for regression (r2, rmse, mae), got 'f1'"),
            ("f1", "classification", 3, "one for 3 classes (accuracy, balanced_accuracy, f1_macro,"),
            (3, "regression", 0, "a Metric or its name: one of r2, rmse, mae, got 3"),
            ("r2", "ranking", 0, "task must be one of classification, regression, got 'ranking'"),
        ],
    )
    def test_what_does_not_fit(self, name: Any, task: str, classes: int, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            find_metric(name, task, classes)
        assert message in str(caught.value)

    def test_the_proper_score(self) -> None:
        assert {name: proper_of(metric).name for name, metric in METRICS.items()} == {
            name: "log_loss" if metric.task == "classification" else "rmse" for name, metric in METRICS.items()
        }
        with pytest.raises(UnknownNameError):
            proper_of("acc")


@pytest.mark.parametrize(
    ("name", "predicted", "truth", "message"),
    [
        ("log_loss", [[0.5, 0.4]], [0], "sum to 1 in each row, got [0.5, 0.4] in row 0"),
        ("log_loss", [[1.5, -0.5]], [0], "must be >= 0"),
        ("brier", [[0.5, 0.5], [np.nan, 1.0]], [0, 1], "finite, got nan in row 1"),
        ("roc_auc", [0.5, 0.5], [0, 1], "[rows, classes], with at least 1 row and 2 classes, got [2]"),
        ("log_loss", [[0.5, 0.5]], [0, 1], "which have 1 rows, got 2"),
        ("log_loss", [[0.5, 0.5]], [2], "whole numbers in [0, 1], got 2 in row 0"),
        ("accuracy", [0, 1], [0], "which have 2 rows, got 1"),
        ("accuracy", [0.5, 1], [0, 1], "predicted codes must be whole numbers from 0"),
        ("accuracy", [0, -1], [0, 1], "got -1 in row 1"),
        ("accuracy", [0, 1], ["a", "b"], "Number the classes first"),
        ("accuracy", [], [], "at least one row"),
        ("rmse", [[1.0], [2.0]], [1.0, 2.0], "one shape, with at least one row, got [2, 1] and [2]"),
        ("mae", [1.0, np.inf], [1.0, 2.0], "predictions must be finite, got inf"),
    ],
)
def test_bad_input_is_a_clear_error(name: str, predicted: Any, truth: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        METRICS[name](predicted, truth)
    assert message in str(caught.value)


def test_f1_refuses_a_third_class() -> None:
    with pytest.raises(ConfigError, match="f1_macro"):
        METRICS["f1"]([0, 1, 2], [0, 1, 1])
    with pytest.raises(ConfigError, match="positive must be 0 or 1"):
        with_positive(METRICS["f1"], 2)
