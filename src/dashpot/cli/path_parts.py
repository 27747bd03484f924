"""What a path is made with: networks, rows prepared for each fold, and names of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor, nn

    from dashpot.data import Prepared, Problem


def network_maker(problem: Problem, every: Prepared, kind: str) -> Callable[[int], nn.Module]:
    """From the number of columns to a network of a kind, ``linear`` or ``mlp``."""
    from torch import nn

    from dashpot import nets

    outputs = max(len(problem.classes), 1)

    def make(columns: int) -> nn.Module:
        if kind == "linear":
            return nn.Linear(columns, outputs)
        shape = (columns,) if every.x.ndim == 2 else every.x.shape[1:]
        return nets.build(problem.kind, shape, outputs)

    return make


def preparer(problem: Problem, flat: bool, rows: np.ndarray) -> Callable[[np.ndarray], tuple[Tensor, Tensor]]:
    """Statistics of each fold come from its training rows. Warnings about columns were given once, for all rows."""
    import warnings

    def prepare(train: np.ndarray) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepared = problem.prepare(rows[train])
        x = prepared.standardized()[rows]
        return x.flatten(1) if flat else x, prepared.y[rows]

    return prepare


def column_names(every: Prepared, flat: bool) -> list[str]:
    """What columns are called."""
    if every.feature_names:
        return list(every.feature_names)
    x = every.x.flatten(1) if flat else every.x
    return [f"{'pixel' if flat else 'channel'} {i}" for i in range(x.shape[1])]
