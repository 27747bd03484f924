"""Metrics, calibration and decisions with weights: as scikit-learn's, and as with repeated rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as theirs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dashpot.evaluation.calibration import fit_temperature
from dashpot.evaluation.cross_validation import folds
from dashpot.evaluation.decision import fit_decision
from dashpot.evaluation.metrics import METRICS, with_positive

ORACLES: dict[str, Any] = {
    "accuracy": theirs.accuracy_score,
    "balanced_accuracy": theirs.balanced_accuracy_score,
    "f1_macro": lambda y, d, sample_weight: theirs.f1_score(y, d, average="macro", sample_weight=sample_weight),
    "log_loss": theirs.log_loss,
    "brier": theirs.brier_score_loss,
    "r2": theirs.r2_score,
    "rmse": theirs.root_mean_squared_error,
    "mae": theirs.mean_absolute_error,
}


def data(seed: int, classes: int = 3, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    y = np.array([rng.choice(classes, p=row) for row in p])
    y[:classes] = np.arange(classes)
    return p, y, rng.integers(1, 5, n).astype(float)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_metrics_are_scikit_learns_and_those_of_repeated_rows(seed: int) -> None:
    p, y, weight = data(seed)
    index = np.repeat(np.arange(len(y)), weight.astype(int))
    for name, metric in METRICS.items():
        if metric.binary:
            continue
        guess = p if metric.kind == "probability" else p.argmax(1) if metric.kind == "decision" else p[:, 0]
        truth = y / 2 if metric.kind == "value" else y
        found = metric(guess, truth, weight)
        assert found == pytest.approx(metric(guess[index], truth[index])), name
        if name in ORACLES:
            assert found == pytest.approx(ORACLES[name](truth, guess, sample_weight=weight)), name
    p, y, weight = data(seed, 2)
    auc = theirs.roc_auc_score(y, p[:, 1], sample_weight=weight)
    assert METRICS["roc_auc"](p, y, weight) == pytest.approx(auc)
    f1 = theirs.f1_score(y, p.argmax(1), pos_label=0, sample_weight=weight)
    assert with_positive(METRICS["f1"], 0)(p.argmax(1), y, weight) == pytest.approx(f1)


@given(st.integers(0, 10_000), st.sampled_from(["balanced_accuracy", "f1_macro", "accuracy"]))
@settings(max_examples=15, deadline=None)
def test_calibration_and_decision_are_those_of_repeated_rows(seed: int, metric: str) -> None:
    p, y, weight = data(seed)
    index = np.repeat(np.arange(len(y)), weight.astype(int))
    logits = np.log(p) * 1.7
    assert fit_temperature(logits, y, weight=weight) == pytest.approx(fit_temperature(logits[index], y[index]))
    mine, other = fit_decision(p, y, metric, weight=weight), fit_decision(p[index], y[index], metric)
    assert (mine.tau, mine.offsets) == (other.tau, pytest.approx(other.offsets))


def test_a_constant_truth_has_no_variance_to_explain_whatever_rounding_says() -> None:
    truth, weight = np.full(7, 0.1), np.arange(1.0, 8)
    assert METRICS["r2"](truth, truth, weight) == 1
    assert METRICS["r2"](truth + 1e-9, truth, weight) == METRICS["r2"](truth + 1e-9, truth) == 0


def test_rare_classes_are_spread_over_the_folds_as_far_as_they_go() -> None:
    y = torch.tensor([0] * 20 + [1] * 13 + [2] * 2 + [3])
    found = folds(y, None, 0)
    assert len(found) == 5
    assert sorted(np.concatenate([valid for _, valid in found]).tolist()) == list(range(36))
    for c, most in ((0, 4), (1, 3), (2, 1), (3, 1)):
        assert max(int((y[valid] == c).sum()) for _, valid in found) == most
    assert {len(valid) for _, valid in found} == {7, 8}
    with pytest.raises(ValueError, match="cv must be at most 1"):
        folds(y, 5, 0)
