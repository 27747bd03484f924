"""Temperature and decisions: optima by other means, what fitted rules score on fresh rows, and what small samples may
not do.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from dashpot.core.errors import ConfigError, DataError, UnknownNameError
from dashpot.evaluation.calibration import HIGHEST, LOWEST, fit_temperature
from dashpot.evaluation.decision import TAUS, Decision, _gains_of, cross_fitted_score, fit_decision
from dashpot.evaluation.metrics import METRICS, Metric, with_positive


def draw(n: int, classes: int = 3, seed: int = 0, rarity: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities [n, classes], each class rarer than the one before, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(size=(n, classes)) * 1.5 - rarity * np.arange(classes), axis=1)
    return p, np.asarray((rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1))


def floored(p: np.ndarray, share: float = 0.3) -> np.ndarray:
    """What label smoothing does: no probability is below share / classes."""
    return np.asarray((1 - share) * p + share / p.shape[1])


class TestTemperature:
    @pytest.mark.parametrize(("scale", "classes"), [(0.06, 4), (0.3, 2), (1.0, 3), (4.0, 5), (9.0, 2), (18.0, 3)])
    @pytest.mark.parametrize("smoothing", [0.0, 0.25, 5.0])
    def test_no_other_does_better(self, scale: float, classes: int, smoothing: float) -> None:
        p, y = draw(500, classes)
        z = np.log(p) * scale
        target = (1 - smoothing / 500) * np.eye(classes)[y] + smoothing / 500 / classes
        best = minimize_scalar(
            lambda t: -(target * log_softmax(z / t, axis=1)).sum(),
            bounds=(LOWEST, HIGHEST),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert fit_temperature(z, y, smoothing=smoothing) == pytest.approx(best.x, rel=1e-5)

    def test_it_finds_the_scale_of_calibrated_logits(self) -> None:
        p, y = draw(20_000)
        z = np.log(p) * 3 + 100.0  # a shift of a row changes nothing
        temperature = fit_temperature(z, y)
        assert temperature == pytest.approx(3, rel=0.05)
        assert log_loss(y, Decision(temperature).probabilities(z)) < log_loss(y, Decision().probabilities(z)) - 0.1

    def test_bounds(self) -> None:
        right, wrong = np.array([[3.0, 0.0], [0.0, 3.0]]), [1, 0]
        assert fit_temperature(right, [0, 1], smoothing=0) == LOWEST
        assert fit_temperature(right, wrong) == HIGHEST
        assert fit_temperature(np.full((4, 3), 7.0), [0, 1, 2, 0]) == 1.0
        assert LOWEST <= fit_temperature(right * 1e6, [0, 1]) <= HIGHEST

    def test_separable_rows_are_no_proof_of_certainty(self) -> None:
        z = np.array([[3.0, 0.0]] * 10 + [[0.0, 3.0]] * 10)
        y = np.repeat([0, 1], 10)
        mistake = Decision(fit_temperature(z, y)).probabilities(z[:1])[0, 1]
        assert mistake == pytest.approx(0.25 / 20 / 2, rel=1e-3)  # the smoothed target itself
        assert Decision(LOWEST).probabilities(z[:1])[0, 1] < 1e-20

    def test_a_missing_class_and_one_row(self) -> None:
        p, y = draw(200)
        z = np.log(p)[y < 2]
        assert LOWEST < fit_temperature(z, y[y < 2]) < HIGHEST
        assert LOWEST <= fit_temperature(z[:1], y[:1]) <= HIGHEST

    @pytest.mark.parametrize(
        ("logits", "y", "message"),
        [
            ([[1.0, np.nan]], [0], "logits must be finite, got [1.0, nan] in row 0"),
            ([[1.0, -np.inf]], [0], "Clip probabilities away from 0"),
            ([[1.0, 2.0]], [0, 1], "which have 1 rows, got 2"),
            ([[1.0, 2.0]], [2], "in [0, 1], got 2"),
            ([1.0, 2.0], [0, 1], "[rows, classes]"),
            ([[1.0], [2.0]], [0, 0], "at least 1 row and 2 classes, got [2, 1]"),
        ],
    )
    def test_bad_input(self, logits: Any, y: Any, message: str) -> None:
        with pytest.raises(DataError) as caught:
            fit_temperature(logits, y)
        assert message in str(caught.value)


class TestDecision:
    def test_probabilities_are_a_softmax(self) -> None:
        z = np.random.default_rng(0).normal(0, 300, (50, 4))
        for temperature in (0.05, 1.0, 7.0):
            assert np.allclose(
                Decision(temperature).probabilities(z), softmax(z / temperature, axis=1), rtol=1e-12, atol=0
            )

    def test_log_probabilities_may_be_minus_infinity(self) -> None:
        p = np.array([[0.0, 0.2, 0.8], [1.0, 0.0, 0.0]])
        with np.errstate(divide="ignore"):
            assert np.allclose(Decision().probabilities(np.log(p)), p)
        assert Decision(offsets=(9.0, 2.0, 0.0)).decide(p).tolist() == [1, 0], (
            "no weight makes an impossible class possible"
        )

    def test_offsets_of_minus_log_prior_are_p_over_prior(self) -> None:
        p, _ = draw(300)
        prior = np.array([0.7, 0.2, 0.1])
        assert (Decision(offsets=tuple(-np.log(prior))).decide(p) == (p / prior).argmax(axis=1)).all()
        assert (Decision(offsets=(0.0, 0.0, 0.0)).decide(p) == p.argmax(axis=1)).all()
        assert (Decision().decide(p) == p.argmax(axis=1)).all()

    def test_round_trip_through_json(self) -> None:
        p, y = draw(400)
        decision = fit_decision(p, y, "balanced_accuracy", temperature=1.7)
        assert decision.temperature == 1.7
        assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision
        assert Decision.from_dict({}) == Decision()

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"temperature": 0.0}, "temperature must be a number > 0"),
            ({"temperature": math.nan}, "temperature"),
            ({"temperature": math.inf}, "temperature"),
            ({"offsets": [0.0, math.inf]}, "offsets must be a number, finite"),
            ({"offsets": "ab"}, "offsets must be a number per class"),
            ({"offsets": ["a"]}, "offsets"),
            ({"tau": None}, "tau"),
            ({"note": 3}, "note must be a text"),
            ({"weights": []}, "made of temperature, offsets, tau, note, got 'weights'"),
            ([], "a dictionary"),
        ],
    )
    def test_what_is_no_decision(self, values: Any, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            Decision.from_dict(values)
        assert message in str(caught.value)

    def test_bad_input(self) -> None:
        with pytest.raises(DataError, match="must be of 2 classes"):
            Decision(offsets=(0.0, 1.0)).decide(draw(5)[0])
        for row in ([np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]):
            with pytest.raises(DataError, match="in row 1"):
                Decision().probabilities([[0.0, 0.0], row])
        with pytest.raises(DataError, match="For logits, take Decision.probabilities first"):
            Decision().decide([[3.0, -1.0]])
        with pytest.raises(DataError, match="at least 2 classes"):
            Decision().probabilities([1.0, 2.0])


class TestFitting:
    @pytest.mark.parametrize("name", ["accuracy", "log_loss", "brier", "roc_auc"])
    def test_the_most_probable_class_where_offsets_can_only_hurt(self, name: str) -> None:
        p, y = draw(300)
        decision = fit_decision(p, y, name)
        assert decision.offsets == (0.0, 0.0, 0.0)
        assert decision.tau == 0.0
        own = Metric("own", "classification", "higher", "decision", lambda p, y: 0.0)
        assert fit_decision(p, y, own).offsets == (0.0, 0.0, 0.0)

    @pytest.mark.parametrize("name", ["balanced_accuracy", "f1_macro"])
    @pytest.mark.parametrize("classes", [2, 4])
    def test_it_gains_on_fresh_rows(self, name: str, classes: int) -> None:
        p, y = draw(2000, classes)
        fresh, truth = draw(20_000, classes, seed=1)
        metric = METRICS[name]
        decision = fit_decision(p, y, name)
        offsets = np.log(np.bincount(y).max() / np.bincount(y))
        reachable = [metric((np.log(fresh) + tau * offsets).argmax(axis=1), truth) for tau in TAUS]
        plain, fitted = metric(fresh.argmax(axis=1), truth), metric(decision.decide(fresh), truth)
        assert fitted - plain > 0.75 * (max(reachable) - plain) > 0.005
        if name == "balanced_accuracy":
            assert fitted > plain + 0.02
            assert decision.tau == pytest.approx(1, abs=0.15)

    @pytest.mark.parametrize("flip", [False, True])
    @pytest.mark.parametrize("common", [False, True])
    def test_f1_is_near_the_best_threshold(self, flip: bool, common: bool) -> None:
        p, y = draw(2000, 2)
        fresh, truth = draw(20_000, 2, seed=1)
        if flip:
            p, y, fresh, truth = p[:, ::-1], 1 - y, fresh[:, ::-1], 1 - truth
        positive = int(flip) if common else 1 - int(flip)
        metric = with_positive(METRICS["f1"], positive)
        decision = fit_decision(p, y, metric if common else "f1")
        best = max(
            metric(np.where(fresh[:, positive] > t, positive, 1 - positive), truth) for t in np.arange(0.02, 0.98, 0.01)
        )
        assert metric(decision.decide(fresh), truth) > best - 0.01
        if not common:
            assert metric(decision.decide(fresh), truth) > metric(fresh.argmax(axis=1), truth) + 0.02

    def test_f1_of_few_rows_is_near_what_the_probabilities_expect(self) -> None:
        """Fitted on 100 rows, F1 on fresh ones is on average nearly that of the best threshold there is, and not that
        of the most probable class.
        """
        fresh, truth = draw(20_000, 2, seed=999)
        metric = with_positive(METRICS["f1"], 1)
        scored = np.mean([metric(fit_decision(*draw(100, 2, seed), metric).decide(fresh), truth) for seed in range(60)])
        best, plain = (
            max(metric(fresh[:, 1] > t, truth) for t in np.arange(0.1, 0.5, 0.02)),
            metric(fresh.argmax(axis=1), truth),
        )
        assert best - scored < 0.2 * (best - plain)

    @pytest.mark.parametrize("name", ["balanced_accuracy", "f1", "f1_macro"])
    def test_probabilities_with_a_floor_move_it(self, name: str) -> None:
        p, y = draw(4000, 2, rarity=3.0)
        fresh, truth = draw(20_000, 2, seed=1, rarity=3.0)
        decision = fit_decision(floored(p), y, name)
        full = Decision(offsets=tuple(np.log(np.bincount(y).max() / np.bincount(y))))
        metric = METRICS[name]
        assert decision.tau < 0.8
        assert metric(decision.decide(floored(fresh)), truth) > metric(full.decide(floored(fresh)), truth) + 0.05
        assert (
            metric(decision.decide(floored(fresh)), truth)
            > metric(fit_decision(p, y, name).decide(fresh), truth) - 0.02
        )

    def test_a_few_rows_do_not_move_it(self) -> None:
        """Of 200 samples of 60 rows, the best tau is far from 1 in most; the fitted one in few."""
        far_best, far = 0, 0
        for seed in range(200):
            p, y = draw(60, 2, seed)
            offsets = np.log(np.bincount(y, minlength=2).max() / np.maximum(np.bincount(y, minlength=2), 1))
            best = TAUS[
                np.argmax([METRICS["balanced_accuracy"]((np.log(p) + tau * offsets).argmax(axis=1), y) for tau in TAUS])
            ]
            far_best += abs(best - 1) > 0.3
            far += abs(fit_decision(p, y, "balanced_accuracy").tau - 1) > 0.3
        assert far_best > 80
        assert far < 30

    def test_one_row_is_no_evidence(self) -> None:
        # The one row of class 1 is won by a tau of 1.25 at no cost, which is worth half of the score.
        p = np.array([[0.99, 0.01]] * 40 + [[0.9, 0.1]] * 9 + [[0.978, 0.022]])
        y = np.array([0] * 49 + [1])
        assert fit_decision(p, y, "balanced_accuracy").tau == 1.0
        assert METRICS["balanced_accuracy"](fit_decision(p, y, "balanced_accuracy").decide(p), y) < METRICS[
            "balanced_accuracy"
        ](Decision(offsets=(0.0, 4.0)).decide(p), y)

    def test_even_classes_need_nothing(self) -> None:
        p, _ = draw(90)
        decision = fit_decision(p, np.arange(90) % 3, "balanced_accuracy")
        assert decision.offsets == (0.0, 0.0, 0.0)

    def test_a_missing_class_gets_no_weight(self) -> None:
        p, y = draw(600, 4)
        decision = fit_decision(p[y != 2], y[y != 2], "balanced_accuracy")
        assert decision.offsets[2] == 0.0
        assert decision.offsets[3] > decision.offsets[1] > 0
        assert len(fit_decision(p[y == 1], y[y == 1], "f1_macro").offsets) == 4

    @pytest.mark.parametrize("name", ["balanced_accuracy", "f1_macro", "f1"])
    def test_gains_of_rows_add_up_to_the_difference(self, name: str) -> None:
        rng = np.random.default_rng(0)
        for classes in (2,) if name == "f1" else (2, 5):
            metric = with_positive(METRICS[name], 1)
            y, best, other = (
                rng.permutation(np.arange(120) % classes),
                rng.integers(0, classes, 120),
                rng.integers(0, classes, 120),
            )
            assert _gains_of(metric, best, y)(other).sum() == pytest.approx(
                metric(best, y) - metric(other, y), abs=1e-12
            )
            assert not _gains_of(metric, best, y)(best).any() or _gains_of(metric, best, y)(
                best
            ).sum() == pytest.approx(0, abs=1e-12)

    def test_the_error_of_a_difference_is_that_of_repeated_samples(self) -> None:
        """The row-wise standard error against the spread of the difference over 300 fresh samples."""
        metric, offsets = METRICS["f1_macro"], np.array([0.0, 0.8, 1.6])
        differences, errors = [], []
        for seed in range(300):
            p, y = draw(400, 3, seed)
            one, other = (np.log(p) + offsets).argmax(axis=1), p.argmax(axis=1)
            differences.append(metric(one, y) - metric(other, y))
            errors.append(math.sqrt((_gains_of(metric, one, y)(other) ** 2).sum()))
        assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.2)

    @pytest.mark.parametrize(
        ("p", "y", "metric", "error", "message"),
        [
            ([[0.5, 0.6]], [0], "f1", DataError, "sum to 1"),
            ([[np.nan, 1.0]], [0], "accuracy", DataError, "finite, got nan"),
            ([[0.5, 0.5]], [0, 1], "accuracy", DataError, "got 2"),
            ([[0.5, 0.5]], [3], "accuracy", DataError, "got 3 in row 0"),
            ([[0.5, 0.5]], [0], "rmse", ConfigError, "one for classification"),
            ([[0.2, 0.3, 0.5]], [0], "f1", ConfigError, "one for 3 classes"),
            ([[0.5, 0.5]], [0], "balanced-accuracy", UnknownNameError, "'balanced_accuracy'"),
        ],
    )
    def test_bad_input(self, p: Any, y: Any, metric: str, error: type[Exception], message: str) -> None:
        for function in (fit_decision, cross_fitted_score):
            with pytest.raises(error) as caught:
                function(p, y, metric)
            assert message in str(caught.value)


class TestCrossFitting:
    @pytest.mark.parametrize("name", ["balanced_accuracy", "f1"])
    def test_each_row_is_decided_by_the_others(self, name: str) -> None:
        p, y = draw(40, 2, seed=3)
        metric = with_positive(METRICS[name], 1)
        others = [np.arange(40) != i for i in range(40)]
        decided = np.concatenate([fit_decision(p[rest], y[rest], metric).decide(p[~rest]) for rest in others])
        assert cross_fitted_score(p, y, name, folds=40) == metric(decided, y)

    def test_it_is_what_fresh_rows_say(self) -> None:
        fresh, truth = draw(20_000, 3, seed=999)
        estimates, scored = [], []
        for seed in range(40):
            p, y = draw(150, 3, seed)
            estimates.append(cross_fitted_score(p, y, "balanced_accuracy"))
            scored.append(METRICS["balanced_accuracy"](fit_decision(p, y, "balanced_accuracy").decide(fresh), truth))
        assert np.mean(estimates) == pytest.approx(np.mean(scored), abs=0.03)

    def test_seed_and_folds(self) -> None:
        p, y = draw(120)
        assert cross_fitted_score(p, y, "f1_macro", seed=1) == cross_fitted_score(p, y, "f1_macro", seed=1)
        assert len({cross_fitted_score(p, y, "f1_macro", seed=seed) for seed in range(6)}) > 1
        assert cross_fitted_score(p, y, "accuracy") == (p.argmax(axis=1) == y).mean()
        assert cross_fitted_score(p, y, "log_loss") == METRICS["log_loss"](p, y)
        assert 0 <= cross_fitted_score(p[:3], np.array([0, 0, 1]), "balanced_accuracy", folds=2) <= 1
        for folds in (1, 121, 2.5):
            with pytest.raises(ConfigError, match="folds"):
                cross_fitted_score(p, y, "accuracy", folds=folds)  # type: ignore[arg-type]  # refused
        with pytest.raises(ConfigError, match="seed"):
            cross_fitted_score(p, y, "accuracy", seed=-1)
