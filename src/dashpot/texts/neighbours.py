"""Vectors of words from the words around them, learned from the training texts alone."""

from __future__ import annotations

import numpy as np

from dashpot.texts.counting import KeyCounts
from dashpot.texts.grams import words_only
from dashpot.texts.lexicon import SPECIAL, Lexicon
from dashpot.texts.vectors import WordVectors

WIDTH = 64
"""Numbers of a vector; a narrower network takes the first ones, which say most."""
WINDOW = 3
"""Words before and behind a word that are its neighbours."""
SMOOTHING = 0.75
"""Exponent of how often a neighbour is there: less than 1 makes rare ones less telling."""
MOST_SLICES = 64
"""Slices that are counted: of a quarter of a million texts where each has 4,096."""
_ROUNDS = 7
_SIDES = 2


class Neighbours:
    r"""How often each word stands before and behind each other one, and what vectors follow.

    With n(w, c) how often c is a neighbour of w, on the one side or on the other, the entries of a matrix are

    .. math:: \max\Big(0, \log \frac{n(w, c) \sum_{c'} n(c')^{0.75}}{n(w)\, n(c)^{0.75}}\Big)

    and the vector of w is its row of :math:`U \sqrt{S}`, of a truncated singular value decomposition. Words that are
    used alike have vectors alike. Memory does not grow with the texts: of more than four million different pairs the
    rarest are forgotten. Of very many slices of texts some are counted, evenly spread.

    Args:
        slices: how often :meth:`add` will be called; 0: not known, and all are counted.

    Example:
        >>> lexicon = Lexicon.fit([[a, "red", b] for a in "xy" for b in "pq"])
        >>> near = Neighbours()
        >>> near.add(lexicon.transform([["x", "red", "p"], ["y", "red", "p"]]) // 8, lexicon.first_piece)
        >>> vectors = near.vectors(lexicon)
        >>> table = dict(zip(vectors.words, vectors.table))
        >>> bool(np.allclose(table["x"], table["y"])), bool(np.allclose(table["x"], table["p"]))
        (True, False)

    Papers: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NeurIPS 2014; Levy, Goldberg
    and Dagan, "Improving Distributional Similarity with Lessons Learned from Word Embeddings", TACL 2015.
    """

    def __init__(self, slices: int = 0) -> None:
        self._counts, self._step, self._seen = KeyCounts(), max(1, -(-slices // MOST_SLICES)), 0

    def add(self, entries: np.ndarray, first_piece: int) -> None:
        """Count the pairs of some texts.

        Args:
            entries: rows of a lexicon without shapes [texts, length].
            first_piece: entries from here on are pieces.
        """
        self._seen += 1
        if (self._seen - 1) % self._step:
            return
        words = words_only(entries, first_piece).astype(np.int64)
        for gap in range(1, min(WINDOW, words.shape[1] - 1) + 1):
            before, behind = words[:, :-gap], words[:, gap:]
            there = behind > 0
            before, behind = before[there], behind[there]
            self._counts.add(before * _SIDES * first_piece + behind)
            self._counts.add((behind * _SIDES + 1) * first_piece + before)

    def vectors(self, lexicon: Lexicon, width: int = WIDTH) -> WordVectors:
        """Of all words of a lexicon; zeros for one that has no neighbours."""
        first = lexicon.first_piece
        keys, counts = self._counts.result()
        table = np.zeros((first, width), dtype=np.float32)
        kept = min(width, first)
        if len(keys):
            table[:, :kept] = _decomposed(keys, counts, first, kept)
        return WordVectors(lexicon.words, table[SPECIAL:], width, learned=True)


def _decomposed(keys: np.ndarray, counts: np.ndarray, first: int, width: int) -> np.ndarray:
    from scipy.sparse import csr_matrix
    from sklearn.utils.extmath import randomized_svd

    row, column = np.divmod(keys, _SIDES * first)
    of_row = np.bincount(row, counts, first)
    of_column = np.bincount(column, counts, _SIDES * first) ** SMOOTHING
    told = np.log(counts * of_column.sum() / (of_row[row] * of_column[column]))
    matrix = csr_matrix((np.maximum(told, 0), (row, column)), shape=(first, _SIDES * first))
    u, s, _ = randomized_svd(matrix, n_components=width, n_iter=_ROUNDS, random_state=0)
    return np.asarray(u * np.sqrt(s))
