"""The training, validation and test part of a problem, stratified as far as its classes have rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashpot.data.tables.columnar import DataWarning


@dataclass(frozen=True)
class Split:
    """Row indices of the training, validation and test part."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_rows(groups: np.ndarray, fixed_test: np.ndarray | None, seed: int) -> Split:
    """60 / 20 / 20 of each group; where the test part is given, the rest of each group is split 75 / 25.

    A group's first row is for training, its second one for validation and its third one for the test part.
    """
    rng, n = np.random.default_rng([seed, 60_20_20]), len(groups)
    pool = np.arange(n) if fixed_test is None else np.setdiff1d(np.arange(n), fixed_test)
    train, valid, test = [], [], [] if fixed_test is None else [fixed_test]
    for group in np.unique(groups):
        rows = rng.permutation(pool[groups[pool] == group])
        held = max(1, round(0.2 * len(rows))) if fixed_test is None and len(rows) > 2 else 0
        watched = max(1, round((0.2 if fixed_test is None else 0.25) * len(rows))) if len(rows) > 1 else 0
        test.append(rows[:held])
        valid.append(rows[held : held + watched])
        train.append(rows[held + watched :])
    return Split(*(np.sort(np.concatenate(part)) for part in (train, valid, test)))


def warn_of_rare(classes: Sequence[str], codes: np.ndarray, least: int, where: str) -> None:
    """Say which classes have fewer than ``least`` rows, so that scores ``where`` tell little or nothing of them.

    Warns:
        DataWarning: with their names.
    """
    count = np.bincount(codes, minlength=len(classes))
    rare = [f"{name!r} ({rows})" for name, rows in zip(classes, count, strict=True) if 0 < rows < least]
    if rare:
        shown = ", ".join(rare[:8]) + (f" and {len(rare) - 8} more" if len(rare) > 8 else "")
        warnings.warn(
            f"too few rows to be judged in every {where}: class {shown}. They are trained on all the same; merge or"
            " remove them, or collect more rows.",
            DataWarning,
            stacklevel=3,
        )
