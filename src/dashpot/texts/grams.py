"""Pairs and triples of neighbouring words as whole numbers: no two share one, and their words can be read from them."""

from __future__ import annotations

import numpy as np

BITS = 20
"""Of each entry in a gram: three fit into 64 bits, and a million words are more than a lexicon has."""
_CHUNK = 1 << 22  # numbers of rows at once: some hundreds of megabytes of keys


def gram_keys(entries: np.ndarray, n: int) -> np.ndarray:
    """The numbers of all runs of ``n`` neighbours (2 or 3), int64 [..., length - n + 1].

    >>> keys = gram_keys(np.array([2, 5, 7]), 2)
    >>> [entries_of(int(key)) for key in keys]
    [(2, 5), (5, 7)]
    """
    wide = entries.astype(np.int64)
    keys = wide[..., : wide.shape[-1] - n + 1].copy()
    for i in range(1, n):
        keys = (keys << BITS) | wide[..., i : wide.shape[-1] - n + 1 + i]
    return keys


def entries_of(key: int) -> tuple[int, ...]:
    """The entries of a gram. An entry of a gram is never 0, so that pairs and triples are told apart."""
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


def frequent_grams(entries: np.ndarray, first_piece: int, most: int, least: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``most`` pairs and triples that most texts hold, at least ``least``: sorted int64, and how many hold each.

    Args:
        entries: rows [texts, length].
        first_piece: entries from here on are pieces.
    """
    found: list[np.ndarray] = []
    step = max(1, _CHUNK // max(1, entries.shape[1]))
    for start in range(0, len(entries), step):
        words = words_only(entries[start : start + step], first_piece)
        for n in (2, 3):
            if words.shape[1] < n:
                continue
            keys = gram_keys(words, n)
            keys[words[:, n - 1 :] == 0] = 0
            keys.sort(axis=1)
            new = keys > 0
            new[:, 1:] &= keys[:, 1:] != keys[:, :-1]  # a text counts once
            found.append(keys[new])
    keys, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *found]), return_counts=True)
    kept = np.flatnonzero(counts >= least)
    # Ties fall by number, which is by the words' frequency.
    first = kept[np.argsort(-counts[kept], kind="stable")[:most]]
    first.sort()
    return keys[first], counts[first]


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
        keys = np.unique((text + part)[part > 0])  # a text counts once
        entry = keys % count
        words = keys[entry < first_piece]
        entry = words % count
        sizes = starts[entry + 1] - starts[entry]
        ends = np.cumsum(sizes)
        place = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[entry] - (ends - sizes), sizes)
        keys = np.unique(np.concatenate([keys, np.repeat(words - entry, sizes) + links[place]]))
        found += np.bincount(keys % count, minlength=count)
    return found
