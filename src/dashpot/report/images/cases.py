"""``Judged``: a model's answers on images whose truth is known, and the worst of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dashpot.evaluation.decision import Decision

CASES, BINS, PAIRS = 24, 10, 400
"""Pictures of a figure, or mistakes of a table; bins of the calibration; values whose prediction is kept."""
LISTED = 200
"""With more classes only the most frequent confusions are kept."""
TARGETS = 6
"""Of more targets only the first ones are kept."""


class Pictures(Protocol):
    """Images by their number: an array, or what reads each where it is."""

    def __getitem__(self, i: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Judged:
    """A model's answers on some images.

    Attributes:
        pixels: each [channels, height, width], uint8 or in [0, 1].
        truth: class codes [n], or values [n], of several targets [n, targets].
        predicted: the same, by the model.
        probabilities: [n, classes]; None for values.
        classes: their names; empty for values.
        rows: the number of each image in its data.
        weight: how often each counts, or None.
    """

    pixels: Pictures = field(repr=False)
    truth: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    probabilities: np.ndarray | None = field(repr=False)
    classes: Sequence[str]
    rows: np.ndarray = field(repr=False)
    weight: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        pixels: Pictures,
        truth: np.ndarray,
        outputs: np.ndarray,
        rows: np.ndarray,
        *,
        decision: Decision | None = None,
        classes: Sequence[str] = (),
        scale: float = 1.0,
        mean: float = 0.0,
        weight: np.ndarray | None = None,
    ) -> Judged:
        """From a network's outputs [n, classes], or standardized values [n, 1]; of several targets [n, ...].

        Args:
            decision: from outputs to classes; by default the most probable one.
            scale, mean: of standardized values, in the target's own units.
        """
        if not classes:
            wide = math.prod(outputs.shape[1:])
            y, out = (np.asarray(v, dtype=np.float64).reshape(len(rows), wide) * scale + mean for v in (truth, outputs))
            y, out = (v[:, 0] if wide == 1 else v for v in (y, out))
            return cls(pixels, y, out, None, (), rows, weight)
        p = (decision or Decision()).probabilities(outputs)
        return cls(pixels, truth, (decision or Decision()).decide(p), p, classes, rows, weight)

    @property
    def confusion(self) -> np.ndarray:
        """How many images of each class (row) were taken for each class (column), by weight; float64."""
        n = len(self.classes)
        counts: np.ndarray = np.bincount(self.truth * n + self.predicted, weights=self.weight, minlength=n * n)
        return counts.astype(np.float64).reshape(n, n)

    @property
    def wrong(self) -> np.ndarray:
        """The positions of the mistakes, those the model was surest of first; of values all, the largest errors
        first, of several targets each in standard deviations of its truth and together as a root mean square.
        """
        if self.probabilities is None:
            error = np.abs(self.predicted - self.truth)
            if error.ndim == 2:
                spread = self.truth.std(axis=0)
                error = np.sqrt(np.mean((error / np.where(spread > 0, spread, 1.0)) ** 2, axis=1))
            return np.argsort(-error, kind="stable")
        wrong = np.flatnonzero(self.predicted != self.truth)
        return wrong[np.argsort(-self.sureness[wrong], kind="stable")]

    @property
    def sureness(self) -> np.ndarray:
        """The probability of what was predicted [n]."""
        assert self.probabilities is not None
        return np.asarray(self.probabilities[np.arange(len(self.predicted)), self.predicted])

    def to_dict(self) -> dict[str, Any]:
        """What figures and pages show, as plain JSON."""
        found: dict[str, Any] = {"mistakes": [self._case(int(i)) for i in self.wrong[:CASES]]}
        if not self.classes:
            some = np.unique(np.linspace(0, max(len(self.truth) - 1, 0), min(PAIRS, len(self.truth))).astype(int))
            if self.truth.ndim == 1:
                return {**found, "pairs": _pairs(self.truth, self.predicted, some)}
            shown = range(min(self.truth.shape[1], TARGETS))
            return {**found, "targets": [_pairs(self.truth[:, k], self.predicted[:, k], some) for k in shown]}
        found |= {"classes": list(self.classes), "calibration": self.calibration()}
        if len(self.classes) <= LISTED:
            return {**found, "confusion": self.confusion.tolist()}
        return {**found, "confusions": self._confusions()}

    def calibration(self) -> list[tuple[float, float, float]]:
        """By how sure the model was, in bins of equally many rows: the mean probability of what it said, the share of
        right answers, and the rows, both by weight.
        """
        order, sure = np.argsort(self.sureness, kind="stable"), self.sureness
        weight = np.ones(len(order)) if self.weight is None else self.weight
        parts = [part for part in np.array_split(order, BINS) if weight[part].sum() > 0]
        right = (self.truth == self.predicted).astype(np.float64)
        return [
            (
                float(np.average(sure[part], weights=weight[part])),
                float(np.average(right[part], weights=weight[part])),
                float(weight[part].sum()),
            )
            for part in parts
        ]

    def _confusions(self) -> list[tuple[str, str, int]]:
        """(class, taken for, how many rows), the most frequent first."""
        wrong = np.flatnonzero(self.truth != self.predicted)
        codes, counts = np.unique(self.truth[wrong] * len(self.classes) + self.predicted[wrong], return_counts=True)
        first = np.argsort(-counts, kind="stable")[:LISTED]
        pairs = [divmod(int(code), len(self.classes)) for code in codes[first]]
        return [(self.classes[a], self.classes[b], int(n)) for (a, b), n in zip(pairs, counts[first], strict=True)]

    def _case(self, i: int) -> dict[str, Any]:
        if self.probabilities is None:
            return {"row": int(self.rows[i]), "truth": _plain(self.truth[i]), "predicted": _plain(self.predicted[i])}
        names = {"truth": self.classes[self.truth[i]], "predicted": self.classes[self.predicted[i]]}
        return {"row": int(self.rows[i]), **names, "probability": float(self.sureness[i])}


def _pairs(truth: np.ndarray, predicted: np.ndarray, some: np.ndarray) -> list[list[float]]:
    return [[float(truth[i]), float(predicted[i])] for i in some]


def _plain(value: np.ndarray) -> float | list[float]:
    """One value, or those of the first targets."""
    return float(value) if np.ndim(value) == 0 else [float(v) for v in value[:TARGETS]]
