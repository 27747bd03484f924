"""How many texts hold what, in memory that does not grow with the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

MOST_TERMS = 2_000_000
"""Different words, or pieces of words, that are counted at once: some 200 MB."""
MOST_KEYS, WAITING = 4_000_000, 2_000_000
"""Different grams that are counted at once, 64 MB, and grams that wait to be counted, 16 MB."""


def texts_with_terms(texts: Iterable[Iterable[str]], most: int = MOST_TERMS) -> Counter[str]:
    """How many texts hold each term, of sets of terms.

    Of more than ``most`` different ones the rarest so far are forgotten, and a term that comes again later starts
    anew: counts of rare terms may then be too small.

    >>> texts_with_terms([{"a", "b"}, {"a"}])
    Counter({'a': 2, 'b': 1})

    Paper: Manku and Motwani, "Approximate Frequency Counts over Data Streams", VLDB 2002.
    """
    found: Counter[str] = Counter()
    for terms in texts:
        found.update(terms)
        if len(found) > most:
            least = _least(np.fromiter(found.values(), np.int64, len(found)), most)
            found = Counter({term: count for term, count in found.items() if count > least})
    return found


class KeyCounts:
    """How often each of many whole numbers comes.

    Of more than ``most`` different ones the rarest so far are forgotten; then ``exact`` is False, and counts of rare
    ones may be too small.

    Example:
        >>> counts = KeyCounts()
        >>> counts.add(np.array([7, 5, 7]))
        >>> [part.tolist() for part in counts.result()]
        [[5, 7], [1, 2]]
    """

    def __init__(self, most: int | None = None, waiting: int | None = None) -> None:
        self.most = MOST_KEYS if most is None else most
        self.room = WAITING if waiting is None else waiting
        self.exact = True
        self._keys, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._waiting: list[np.ndarray] = []

    def add(self, keys: np.ndarray) -> None:
        """Count each of ``keys``, int64 [k]."""
        self._waiting.append(keys)
        if sum(map(len, self._waiting)) > self.room:
            self._merge()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers, sorted, and how often each came, both int64."""
        self._merge()
        return self._keys, self._counts

    def _merge(self) -> None:
        new, times = np.unique(np.concatenate([np.zeros(0, np.int64), *self._waiting]), return_counts=True)
        self._waiting = []
        keys, place = np.unique(np.concatenate([self._keys, new]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([self._counts, times]), len(keys)).astype(np.int64)
        if len(keys) > self.most:
            kept, self.exact = counts > _least(counts, self.most), False
            keys, counts = keys[kept], counts[kept]
        self._keys, self._counts = keys, counts


def _least(counts: np.ndarray, most: int) -> int:
    """What must be exceeded so that at most half of ``most`` are left."""
    return int(np.sort(counts)[-(most // 2) - 1])
