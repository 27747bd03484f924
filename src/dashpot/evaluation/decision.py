"""The metric decides the decision: one temperature, and class weights fitted to the metric on held-out predictions.

A network is trained by log loss and gives probabilities. The class to predict then depends on the metric. For
accuracy it is the most probable one. For balanced accuracy a row of a rare class counts more, and the best choice is
the largest ``p / prior``; for F1 it lies between the two. All are the largest ``log p + offset``, with ``offset = -tau
* log(prior)``, and the one number tau is fitted.

Held-out rows are few and a decision metric is coarse, so the tau that scores best on them is noisy. Theory names
a tau for calibrated probabilities, the anchor: 1 for balanced accuracy; for F1 the one with the best F1 as the
probabilities themselves expect it, which uses no label. The choice is the tau nearest to the anchor whose score is
within one standard error of the best. Differences are taken row by row, since two nearby taus agree on most rows. Clear
evidence, such as probabilities that label smoothing has floored, moves it; noise does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.evaluation.checks import checked_codes, checked_probabilities
from dashpot.evaluation.metrics import (
    Metric,
    f1_per_class,
    find_metric,
    positive_of,
    rarer_class,
    with_positive,
)

TAUS = np.arange(26) / 20  # 0 to 1.25


@dataclass(frozen=True)
class Decision:
    """From logits to calibrated probabilities, and from those to a class.

    Args:
        temperature: > 0; logits are divided by it.
        offsets: one number per class, a log weight, added to log p; none, or zeros, is the most probable class.
        tau: how far offsets go from 0 (most probable) to 1 (``p / prior``), for the record.
        note: why, in words.

    Raises:
        ConfigError: a temperature or an offset that is no such number.

    Example:
        >>> decision = Decision(temperature=2.0, offsets=(0.0, 1.5))
        >>> p = decision.probabilities([[2.0, 0.0], [6.0, 0.0]])
        >>> p.round(3).tolist()
        [[0.731, 0.269], [0.953, 0.047]]
        >>> decision.decide(p).tolist(), Decision().decide(p).tolist()
        ([1, 0], [0, 0])
    """

    temperature: float = 1.0
    offsets: tuple[float, ...] = ()
    tau: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "temperature", check_number("temperature", self.temperature, Range(0.0, math.inf, open="low"))
        )
        object.__setattr__(self, "tau", check_number("tau", self.tau, Range(-math.inf, math.inf)))
        if not isinstance(self.offsets, list | tuple | np.ndarray):
            raise ConfigError("offsets", "a number per class", self.offsets)
        object.__setattr__(
            self, "offsets", tuple(check_number("offsets", value, Range(-math.inf, math.inf)) for value in self.offsets)
        )
        if not isinstance(self.note, str):
            raise ConfigError("note", "a text", self.note)

    def probabilities(self, logits: Any) -> np.ndarray:
        """Softmax of ``logits / temperature``, float64 [n, classes]. Log probabilities are logits too, and may be -inf.

        Raises:
            DataError: NaN, +inf, a row of nothing but -inf, or no array [n, classes].
        """
        z = np.asarray(logits, dtype=np.float64)
        if z.ndim != 2 or z.shape[1] < 2:
            raise DataError(f"logits must be [rows, classes], with at least 2 classes, got {list(z.shape)}.")
        top = z.max(axis=1, keepdims=True)
        if np.isnan(z).any() or not np.isfinite(top).all():
            row = np.flatnonzero(np.isnan(z).any(axis=1) | ~np.isfinite(top[:, 0]))[0]
            raise DataError(
                f"logits must be finite (log probabilities may be -inf), got {z[row].tolist()} in row {row}."
            )
        # The largest first: it is 0 for every temperature, and nothing overflows.
        with np.errstate(under="ignore"):
            weight = np.exp((z - top) / self.temperature)
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def decide(self, probabilities: Any) -> np.ndarray:
        """The class of the largest ``log p + offset``, int64 [n]; the first of equals.

        Raises:
            DataError: no probabilities, or of another number of classes than there are offsets.
        """
        p = checked_probabilities(probabilities)
        if self.offsets and len(self.offsets) != p.shape[1]:
            raise DataError(
                f"probabilities must be of {len(self.offsets)} classes, as many as the decision was fitted to, got"
                f" {p.shape[1]}."
            )
        return np.asarray((_log(p) + np.array(self.offsets or 0.0)).argmax(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` reads them."""
        return {**asdict(self), "offsets": list(self.offsets)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Decision:
        """What :meth:`to_dict` wrote.

        Raises:
            ConfigError: a field too many, or a value that its rule forbids.
        """
        if not isinstance(values, dict):
            raise ConfigError("decision", "a dictionary, as Decision.to_dict makes it", values)
        known = list(cls.__dataclass_fields__)
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ConfigError(
                "decision", f"made of {', '.join(known)}", unknown[0], "Was it written by a newer version?"
            )
        return cls(**values)


def fit_decision(
    probabilities: Any,
    y: Any,
    metric: str | Metric,
    *,
    temperature: float = 1.0,
    weight: np.ndarray | None = None,
) -> Decision:
    """The decision rule for a metric, fitted on held-out (out-of-fold) predictions; see the top of this module for how.

    ``balanced_accuracy``, ``f1`` and ``f1_macro`` get a fitted tau. ``accuracy``, scores of probabilities and metrics
    of your own get the most probable class: on few rows fitted offsets lose accuracy. The positive class of ``f1`` is
    the rarer one in ``y``, unless :func:`~dashpot.evaluation.metrics.with_positive` fixed another.

    Args:
        probabilities: [n, classes], after the temperature if there is one.
        y: codes [n]. A class that is missing is given no weight.
        metric: a name in :data:`~dashpot.evaluation.metrics.METRICS`, or a metric.
        temperature: what the probabilities were made with; it is kept in the decision.
        weight: of the rows [n], above 0; one of weight 2 counts as two rows.

    Raises:
        UnknownNameError, ConfigError: no such metric, or not one of this task or number of classes.
        DataError: probabilities with NaN or that do not sum to 1, or lengths or codes that do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=2000); p = 1 / (1 + np.exp(3 - x)); y = (rng.random(2000) < p).astype(int)
        >>> decision = fit_decision(np.stack([1 - p, p], axis=1), y, "balanced_accuracy")
        >>> decision.tau, decision.note
        (1.0, 'tau 1 is within one standard error of the best, 1.05')
    """
    p = checked_probabilities(probabilities)
    codes = checked_codes(y, len(p), p.shape[1])
    chosen = _fixed(find_metric(metric, "classification", p.shape[1]), codes, weight)
    plain = Decision(temperature, (0.0,) * p.shape[1], 0.0, f"the most probable class, for {chosen.name}")
    if chosen.name not in ("balanced_accuracy", "f1", "f1_macro"):
        return plain
    direction = _direction(codes, p.shape[1], positive_of(chosen), weight)
    if not direction.any():
        return replace(plain, note="the most probable class: no class is rarer than another")
    log_p = _log(p)
    decided = [(log_p + tau * direction).argmax(axis=1) for tau in TAUS]
    scores = np.array([chosen(each, codes, weight) for each in decided])
    anchor = (
        1.0
        if chosen.name == "balanced_accuracy"
        else float(TAUS[np.argmax([_expected_f1(p, each, positive_of(chosen), weight) for each in decided])])
    )
    near = np.argsort(abs(TAUS - anchor), kind="stable")
    best = int(near[np.argmax(scores[near])])
    counts = np.ones(len(codes)) if weight is None else weight
    gains = _gains_of(chosen, decided[best], codes, counts)
    for i in near:
        gain = gains(decided[i])
        if counts @ gain <= math.sqrt(counts @ gain**2) + 1e-12:
            break
    tau = float(TAUS[i])
    why = f"tau {tau:g} " + (
        "scores best" if i == best else f"is within one standard error of the best, {TAUS[best]:g}"
    )
    return Decision(temperature, tuple((tau * direction).tolist()), tau, why)


def cross_fitted_score(probabilities: Any, y: Any, metric: str | Metric, folds: int = 5, seed: int = 0) -> float:
    """The score of the fitted decision on rows that it was not fitted to: fitted on all folds but one, it decides for
    that one; all rows are then scored at once.

    Scores of probabilities need no decision and are computed as they are.

    Args:
        probabilities, y, metric: as in :func:`fit_decision`.
        folds: 2 to the number of rows; each class is spread over them evenly.
        seed: of the shuffle.

    Raises:
        UnknownNameError, ConfigError, DataError: as :func:`fit_decision`, and for folds that are too many.
    """
    p = checked_probabilities(probabilities)
    codes = checked_codes(y, len(p), p.shape[1])
    chosen = _fixed(find_metric(metric, "classification", p.shape[1]), codes)
    if check_whole("folds", folds, 2) > len(p):
        raise ConfigError("folds", f"at most {len(p)}, the number of rows", folds)
    if chosen.kind == "probability":
        return chosen(p, codes)
    shuffled = np.random.default_rng(check_whole("seed", seed, 0)).permutation(len(p))
    fold = np.empty(len(p), dtype=np.int64)
    fold[shuffled[np.argsort(codes[shuffled], kind="stable")]] = np.arange(len(p)) % folds
    decided = np.empty(len(p), dtype=np.int64)
    for k in range(folds):
        decided[fold == k] = fit_decision(p[fold != k], codes[fold != k], chosen).decide(p[fold == k])
    return chosen(decided, codes)


def _log(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p.astype(np.float64)))


def _fixed(metric: Metric, y: np.ndarray, weight: np.ndarray | None = None) -> Metric:
    """F1 with its positive class chosen on all rows, the same for all folds."""
    return with_positive(metric, rarer_class(y, weight)) if metric.binary and positive_of(metric) is None else metric


def _direction(y: np.ndarray, classes: int, positive: int | None, weight: np.ndarray | None) -> np.ndarray:
    """Offsets at tau = 1: ``log(largest prior / prior)``. For F1 ``-log(prior)`` of the positive class alone: the best
    threshold is half the best F1 (Lipton, Elkan and Naryanaswamy 2014), which is at least that of naming every row
    positive, 2 prior / (1 + prior); tau = 1 is that end, and tau = 0 the other.
    """
    count = np.bincount(y, weight, minlength=classes)
    prior = (count + 1) / (
        count.sum() + classes
    )  # one more row each, so that two or three rows do not make a huge weight
    if positive is not None:
        return np.where(np.arange(classes) == positive, -np.log(prior), 0.0)
    return np.where(count > 0, np.log(prior.max() / prior), 0.0)


def _expected_f1(p: np.ndarray, decided: np.ndarray, positive: int | None, weight: np.ndarray | None) -> float:
    """F1 if the probabilities were the truth: about its expectation, with no label."""
    classes = p.shape[1]
    named = np.bincount(decided, weight, minlength=classes)
    p = p if weight is None else p * weight[:, None]
    hits = np.bincount(decided, weights=p[np.arange(len(p)), decided], minlength=classes)
    each = 2 * hits / np.maximum(p.sum(axis=0) + named, 1e-12)
    return float(each.mean() if positive is None else each[positive])


def _gains_of(
    metric: Metric, best: np.ndarray, y: np.ndarray, counts: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from other decisions to what each row adds to ``score(best) - score(other)`` [n]: their sum, each as
    often as its row counts, is the difference.

    Mean recall is a sum over rows already. F1 is a ratio N / D per class, and with the other's F1 as r, the difference
    is ``sum((N - r D) - (N' - r D')) / D``.
    """
    count = np.bincount(y, counts)
    if metric.name == "balanced_accuracy":
        weight = 1 / (count[y] * (count > 0).sum())
        return lambda other: np.asarray(weight * ((best == y) * 1.0 - (other == y)))
    positive = positive_of(metric)

    def gains(other: np.ndarray) -> np.ndarray:
        size = int(max(best.max(), other.max(), y.max())) + 1
        total = np.bincount(best, counts, minlength=size) + np.bincount(y, counts, minlength=size)
        ratio = np.nan_to_num(f1_per_class(other, y, size, counts))
        counted = total > 0 if positive is None else np.arange(size) == positive
        weight = counted / np.where(total > 0, total, 1) / max(counted.sum(), 1)

        def part(decided: np.ndarray) -> np.ndarray:
            # The true class's D is the same on both sides.
            return np.asarray(2 * weight[y] * (decided == y) - (weight * ratio)[decided])

        return np.asarray(part(best) - part(other))

    return gains
