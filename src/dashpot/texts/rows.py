"""The random numbers of texts: hashes of a key of each text and a position, whatever texts stand beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dashpot.core.draws import uniform_by

_CELLS = 1 << 20  # numbers drawn at once: 4 MiB


def uniform_rows(keys: np.ndarray, lengths: Sequence[int]) -> Iterator[list[float]]:
    """For each text as many numbers in [0, 1) as it needs.

    Args:
        keys: of the texts, uint64 [n].
        lengths: how many numbers each needs.

    Example:
        >>> alone = next(uniform_rows(np.array([7], dtype=np.uint64), [2]))
        >>> alone == list(uniform_rows(np.array([3, 7], dtype=np.uint64), [5, 2]))[1]
        True
    """
    start, n = 0, len(lengths)
    while start < n:
        widest = lengths[start]
        stop = start + 1
        # One long text among short ones must not make all rows long.
        while stop < n and max(widest, lengths[stop]) * (stop + 1 - start) <= _CELLS:
            widest = max(widest, lengths[stop])
            stop += 1
        table = uniform_by(keys[start:stop], widest).numpy() if widest else np.zeros((stop - start, 0), np.float32)
        for row, length in zip(table, lengths[start:stop], strict=True):
            yield row[:length].tolist()
        start = stop
