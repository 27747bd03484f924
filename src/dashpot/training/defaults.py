"""Default epochs and batch sizes: one rule for each, with its reason."""

from __future__ import annotations

FRACTION = 50
"""A batch is about a fiftieth of the rows, so that an epoch is about fifty steps, whatever the table's size."""
SMALLEST, LARGEST = 32, 512
"""Rows of a batch: fewer make gradients noisy and steps slow per row, more are no faster on the networks here."""
LARGEST_IN_STACK = 256
"""Rows of a batch in a search, where many networks share a cache and their activations must fit into it."""
SMALLEST_FIXED_EPOCHS = 16
"""Rows of a batch in estimators, whose epochs do not grow where rows are few, so that small batches make the steps."""
STEPS = 3000
"""Optimizer steps of a table's network: scores of tables of 300 to 50,000 rows rise no more after so many."""
FEWEST_EPOCHS, MOST_EPOCHS = 10, 100
"""Epochs of a single network, whatever its steps: each row is seen several times, and few rows are not overfitted."""
FINE_TUNED = 3
"""Epochs at least of an encoder that is trained further; Devlin et al. (2019) took 2 to 4."""
MOST_EPOCHS_IN_SEARCH = 120
"""Epochs of a search; regularized candidates gain from a little longer."""


def batch_size_for(rows: int, *, smallest: int = SMALLEST, largest: int = LARGEST_IN_STACK) -> int:
    """About a fiftieth of the rows, as a power of two between ``smallest`` and ``largest``.

    >>> [batch_size_for(rows) for rows in (100, 5000, 100_000)]
    [32, 128, 256]
    """
    return min(largest, max(smallest, 1 << (rows // FRACTION).bit_length()))


def epochs_for(rows: int, batch_size: int, *, steps: int = STEPS, most: int = MOST_EPOCHS_IN_SEARCH) -> int:
    """About so many steps, in 10 to ``most`` epochs.

    >>> [epochs_for(rows, batch_size_for(rows)) for rows in (100, 2000, 100_000)]
    [120, 96, 10]
    """
    return min(most, max(FEWEST_EPOCHS, round(steps * batch_size / rows)))
