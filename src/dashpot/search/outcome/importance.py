"""Hyper-parameter importance: the share of the scores' variance that each distribution explains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np

from dashpot.search.racing.trial import Trial
from dashpot.search.space.distributions import Categorical
from dashpot.search.space.space import Space

FEWEST = 12
"""Below, any number would be noise."""
REPEATS = 10


def importance(trials: Sequence[Trial], space: Space) -> dict[str, float]:
    """Shares of the variance of the scores, by permuting each distribution in a forest fitted to the search.

    They sum to what the forest explains of candidates that it has not seen (out of its bags): of noise that is nothing.
    Candidates that were pruned count with the score they had then. A distribution of a technique that is off stands at
    its middle.

    Returns:
        The most important first; nothing where fewer than 12 candidates have a score, or nothing is explained.
    """
    scored = [r for r in trials if math.isfinite(r.score)]
    if len(scored) < FEWEST:
        return {}
    from sklearn.ensemble import RandomForestRegressor

    names = list(space.distributions())
    table = np.array([[_value(r, name, space) for name in names] for r in scored])
    # Differences among the worst candidates are large and do not matter.
    y = np.array([r.score for r in scored])
    y = np.minimum(y, np.quantile(y, 0.9))
    if np.ptp(y) == 0:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forest = RandomForestRegressor(100, min_samples_leaf=2, oob_score=True, random_state=0).fit(table, y)
    explained = float(forest.oob_score_)
    if not explained > 0:
        return {}
    rng = np.random.default_rng(0)
    varying = [i for i in range(len(names)) if np.ptp(table[:, i]) > 0]
    moved = np.repeat(table[None], len(varying) * REPEATS, axis=0)
    for k, i in enumerate(np.repeat(varying, REPEATS)):
        moved[k, :, i] = rng.permutation(table[:, i])
    # One call for all: a forest answers many rows as fast as few.
    answers = forest.predict(np.concatenate([table, moved.reshape(-1, len(names))])).reshape(-1, len(table))
    errors = np.square(answers - y).mean(axis=1)
    rises = (errors[1:] - errors[0]).reshape(len(varying), REPEATS).mean(axis=1)
    raw = {names[i]: max(float(rise), 0.0) for i, rise in zip(varying, rises, strict=True)}
    total = sum(raw.values())
    if total <= 0:
        return {}
    return {name: explained * value / total for name, value in sorted(raw.items(), key=lambda pair: -pair[1])}


def _value(trial: Trial, name: str, space: Space) -> float:
    distribution = space.distributions()[name]
    value = trial.candidate.params.get(name)
    if isinstance(distribution, Categorical):
        return float(distribution.values.index(value)) if value in distribution.values else -1.0
    if value is None:
        return (
            math.log((distribution.low * distribution.high) ** 0.5)
            if distribution.log
            else (distribution.low + distribution.high) / 2
        )
    return math.log(value) if distribution.log else float(value)
