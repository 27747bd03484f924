"""Batch sizes: those asked for, and the default ones of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import check_whole
from dashpot.search.space.distributions import Categorical
from dashpot.search.space.space import Space
from dashpot.training.defaults import batch_size_for

LARGEST, QUARTER = 512, 4
"""Of the usual choices, which are at most a quarter of the rows."""
NAME = "batch_size"


def sizes_of(asked: Any) -> int | tuple[int, ...] | None:
    """One batch size or several, from a number, numbers, or text such as ``"64"`` or ``"32,64,128"``.

    Raises:
        ConfigError: anything but whole numbers > 0.

    >>> sizes_of("64"), sizes_of([32, 64]), sizes_of("32, 64,32"), sizes_of(None)
    (64, (32, 64), (32, 64), None)
    """
    if asked is None:
        return None
    if isinstance(asked, str):
        parts: list[Any] = [int(part) if part.strip().isdecimal() else part.strip() for part in asked.split(",")]
    else:
        parts = list(asked) if isinstance(asked, Iterable) else [asked]
    if not parts:
        raise ConfigError(NAME, "a whole number >= 1, or several", asked)
    sizes = tuple(dict.fromkeys(check_whole(NAME, part) for part in parts))
    return sizes if len(sizes) > 1 else sizes[0]


def usual_sizes(rows: int, once: int | None = None) -> Categorical | None:
    """Once and twice the batch size for so many rows, or ``once`` where a kind of data has its own; None where twice
    would be too large.

    Half of it, too, would take half as long again, and at equal time was worse on small tables.

    >>> [str(usual_sizes(rows)) for rows in (100, 1000, 100_000)]
    ['None', '32 | 64', '256 | 512']
    """
    once = once or batch_size_for(rows)
    return Categorical((once, 2 * once)) if 2 * once <= min(LARGEST, rows // QUARTER) else None


def with_batches(
    space: Space, asked: int | Sequence[int] | None, rows: int, *, usual: bool, once: int | None = None
) -> Space:
    """The space with the batch sizes that are asked for, if they are several.

    Args:
        asked: one, which is no distribution of a space; several; or None.
        rows: the training rows of a fold.
        usual: where nothing is asked for, and the space has none of its own, take the usual ones.
        once: the smaller of these; None: by the rows.

    Raises:
        ConfigError: both the space and the user have batch sizes, or one is larger than ``rows``.
    """
    sizes = sizes_of(asked)
    if sizes is not None and space.batch_size is not None:
        raise ConfigError(
            NAME,
            "given without a space that has batch sizes",
            str(asked),
            f"The space searches {space.batch_size}: leave out one of the two.",
        )
    if isinstance(sizes, tuple):
        near = min(sizes, key=lambda size: abs(math.log(size / batch_size_for(rows))))
        space = space.with_batches(Categorical(sizes), near)
    elif sizes is None and space.batch_size is None and usual and (found := usual_sizes(rows, once)) is not None:
        space = space.with_batches(found, once or batch_size_for(rows))
    own = space.batch_size
    values = own.values if isinstance(own, Categorical) else (own.high,) if own is not None else (sizes,)
    most = max((value for value in values if value is not None), default=None)
    if most is not None and most > rows:
        raise ConfigError(
            NAME, f"at most {rows}, the training rows of a fold", int(most), "Take smaller batches, or more rows."
        )
    return space


def default_batch_size(space: Space, asked: int | Sequence[int] | None, rows: int) -> int:
    """Rows per step of candidates that do not say their own, and by which epochs are planned."""
    if space.batch_default is not None:
        return space.batch_default
    sizes = sizes_of(asked)
    return sizes if isinstance(sizes, int) else batch_size_for(rows)
