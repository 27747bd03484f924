"""Topics of texts: a truncated singular value decomposition of their TF-IDF features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_ROWS = 20_000
"""Rows that topics are found from: more change them little, and the decomposition stays within 100 MB."""
NAMED = 3
STEPS = 8
"""Whole numbers to the root of the mean square of a topic's weights: rounding is 0.13 % of their squares."""
LEAST = 1e-4


@dataclass(frozen=True)
class Topics:
    """Directions in the space of terms: features are the products of TF-IDF rows with them.

    They are the first right singular vectors of the training rows, uncentred, so that a text without known terms stays
    all zeros (latent semantic analysis). One factor for all brings the mean square of the training rows' features to 1;
    a topic keeps its share of it, so that the last ones, which are mostly noise, stay small. Of both signs the one is
    taken that makes the largest weight positive. Weights are rounded to whole numbers and saved as text: 256 topics of
    4,000 terms take about 3 MB.

    Attributes:
        unit: what a whole number stands for.
        weights: of each topic, one whole number for each term, separated by spaces.
    """

    unit: float
    weights: tuple[str, ...]

    @staticmethod
    def fit(x: csr_matrix, weight: np.ndarray, most: int) -> Topics:
        """At most ``most`` topics of the rows ``x`` [rows, terms], of which row i counts ``weight[i]`` times; fewer
        where the rows have no more directions.
        """
        from scipy.sparse import diags
        from sklearn.utils.extmath import randomized_svd

        if x.shape[0] > MOST_ROWS:
            picked = np.linspace(0, x.shape[0] - 1, MOST_ROWS).astype(np.int64)
            x, weight = x[picked], weight[picked]
        scaled = (diags(np.sqrt(weight).astype(np.float32)) @ x).tocsr()
        most = max(1, min(most, *x.shape))
        _, size, found = randomized_svd(scaled, most, n_oversamples=16, n_iter=4, random_state=0)
        kept = size > LEAST * size[0]
        if not kept.any():
            return Topics(1.0, ())
        size, found = size[kept].astype(np.float64), found[kept].astype(np.float64)
        largest = np.abs(found).argmax(axis=1)
        found *= np.sign(found[np.arange(len(found)), largest])[:, None]
        gain = np.sqrt(weight.sum() * len(size) / (size**2).sum())
        steps = STEPS * np.sqrt(x.shape[1])  # a vector of length 1 has the mean square 1 / terms
        whole = np.rint(found * steps).astype(np.int64)
        return Topics(float(gain / steps), tuple(" ".join(map(str, row)) for row in whole.tolist()))

    def __len__(self) -> int:
        return len(self.weights)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The whole numbers, int32 [topics, terms].

        Raises:
            ValueError: text that holds something else, or topics of different lengths.
        """
        try:
            return np.array([[int(number) for number in row.split(" ")] for row in self.weights], dtype=np.int32)
        except (OverflowError, AttributeError) as error:  # a number too large, or no text
            raise ValueError(str(error)) from None

    def transform(self, x: csr_matrix) -> np.ndarray:
        """TF-IDF rows to features, float32 [rows, topics]."""
        result: np.ndarray = x @ self._directions
        return result

    @cached_property
    def _directions(self) -> np.ndarray:
        return np.ascontiguousarray((self.numbers * self.unit).T, dtype=np.float32)

    def names(self, words: Sequence[str], pieces: Sequence[str]) -> tuple[str, ...]:
        """``"topic 3 (late, train, the train)"``: the words that speak most for it, or else pieces."""
        found = []
        for i, row in enumerate(self.numbers):
            told: list[str] = []
            for shown, part in ((words, row[: len(words)]), ([repr(piece) for piece in pieces], row[len(words) :])):
                if not told:
                    told = [shown[at] for at in np.argsort(-part, kind="stable")[:NAMED] if part[at] > 0]
            found.append(f"topic {i + 1} ({', '.join(told)})")
        return tuple(found)
