"""Pairs and triples of words as whole numbers: no two share one, and their words can be read from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

BITS = 20
"""Of each entry in a gram: three fit into 64 bits, and a million words are more than a lexicon has."""
TRIPLE = 1 << (2 * BITS)
"""The smallest triple: pairs are below."""
SKIP = 1 << (3 * BITS)
"""Marks a pair, above all triples, that has other words between its two."""
GAPS = (2, 3, 4)
"""From the first word of such a pair to its second."""
_CHUNK = 1 << 22  # numbers of rows at once: some hundreds of megabytes of keys


def entries_of(key: int) -> tuple[int, ...]:
    """The entries of a gram. An entry of a gram is never 0, so that pairs and triples are told apart.

    >>> entries_of(5 << BITS | 7), entries_of(SKIP | 5 << BITS | 7)
    ((5, 7), (5, 7))
    """
    found = [(key >> (BITS * i)) & ((1 << BITS) - 1) for i in (2, 1, 0)]
    return tuple(entry for entry in found if entry)


def words_only(entries: np.ndarray, first_piece: int) -> np.ndarray:
    """Rows [texts, length] without pieces and gaps, the words moved together; zeros behind them."""
    kept = (entries > 0) & (entries < first_piece)
    out = np.zeros_like(entries)
    place = np.cumsum(kept, axis=1) - 1
    row = np.broadcast_to(np.arange(len(entries))[:, None], entries.shape)
    out[row[kept], place[kept]] = entries[kept]
    return out


def keys_of(words: Any, skips: bool) -> Iterator[Any]:
    """The numbers of all grams of rows of words, kind by kind: of pairs, of triples, and of pairs with one to three
    words between (one number for all three gaps). Each [texts, places], 0 where the text has ended; place ``p`` of a
    kind with ``k`` columns less than ``words`` is that of a gram whose last word is at ``p + k``.

    Args:
        words: int64 [texts, words] by NumPy or torch, zeros behind the last word.
        skips: whether pairs with words between are wanted.

    >>> [keys.tolist() for keys in keys_of(np.array([[1, 2, 0]]), skips=True)] == [[[(1 << 20) + 2, 0]], [[0]], [[0]]]
    True
    """
    length = words.shape[1]
    key = words
    for back in (1, 2):
        if length > back:
            key = (key[:, :-1] << BITS) | words[:, back:]
            yield key * (words[:, back:] > 0)
    for gap in GAPS if skips else ():
        if length > gap:
            yield (SKIP | (words[:, :-gap] << BITS) | words[:, gap:]) * (words[:, gap:] > 0)


def grams_of(entries: np.ndarray, first_piece: int, *, skips: bool) -> Iterator[np.ndarray]:
    """The numbers of the grams that each text holds, once for each text that holds them, some texts at a time.

    Args:
        entries: rows [texts, length].
        first_piece: entries from here on are pieces.
        skips: whether pairs with words between are wanted.
    """
    step = max(1, _CHUNK // max(1, 2 * entries.shape[1]))
    for start in range(0, len(entries), step):
        words = words_only(entries[start : start + step], first_piece).astype(np.int64)
        every = [*keys_of(words, skips)]
        if every:
            keys = np.concatenate(every, axis=1)
            keys.sort(axis=1)
            new = keys > 0
            new[:, 1:] &= keys[:, 1:] != keys[:, :-1]
            yield keys[new]


def texts_with(entries: np.ndarray, links: np.ndarray, starts: np.ndarray, count: int) -> np.ndarray:
    """How many texts hold each entry, a piece also where it is part of a known word; int64 [count].

    Args:
        entries: rows [texts, length].
        links, starts: the pieces of each word, as :attr:`dashpot.texts.lexicon.Lexicon.table` gives them.
    """
    found = np.zeros(count, dtype=np.int64)
    first_piece = len(starts) - 1
    step = max(1, _CHUNK // (8 * max(1, entries.shape[1])))
    for at in range(0, len(entries), step):
        part = entries[at : at + step]
        text = np.broadcast_to(np.arange(len(part))[:, None] * count, part.shape)
        keys = _distinct((text + part)[part > 0])  # a text counts once
        entry = keys % count
        words = keys[entry < first_piece]
        entry = words % count
        sizes = starts[entry + 1] - starts[entry]
        ends = np.cumsum(sizes)
        place = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[entry] - (ends - sizes), sizes)
        keys = _distinct(np.concatenate([keys, np.repeat(words - entry, sizes) + links[place]]))
        found += np.bincount(keys % count, minlength=count)
    return found


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Sorted, each once: by sorting, which is ten times as fast as NumPy's table of hashes."""
    keys.sort()
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    return keys[new]
