"""The corrected interval against numbers worked out by hand, SciPy, and how often it covers the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dashpot.core.errors import DataError
from dashpot.evaluation.metrics import bounds_of
from dashpot.evaluation.statistics import corrected_interval


def test_an_interval_worked_out_by_hand() -> None:
    # d = 1, 2, 3: mean 2, s = 1. Two to one training to test rows: sqrt(1/3 + 1/2) = 0.912871. t(0.975; 2) = 4.302653
    # from a printed table.
    got = corrected_interval([1.0, 2.0, 3.0], 0.5)
    assert (got.mean, got.low, got.high) == pytest.approx((2.0, 2 - 3.927767, 2 + 3.927767), abs=1e-5)
    # Two runs: t(0.975; 1) = 12.706205, s = 0.1 / sqrt(2), sqrt(1/2 + 1/3) = 0.912871.
    got = corrected_interval([0.0, 0.1], 1 / 3)
    assert (got.low, got.high) == pytest.approx((0.05 - 0.820182, 0.05 + 0.820182), abs=1e-5)


@pytest.mark.parametrize("repeats", [2, 3, 10])
@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_the_interval_is_scipys_t_interval_with_the_corrected_variance(repeats: int, share: float) -> None:
    d = np.random.default_rng(repeats).normal(size=repeats)
    got = corrected_interval(list(d), share)
    expected = stats.t.interval(0.95, repeats - 1, loc=d.mean(), scale=math.sqrt((1 / repeats + share) * d.var(ddof=1)))
    assert (got.low, got.high) == pytest.approx(expected)
    if share == 0:
        assert (got.low, got.high) == pytest.approx(stats.ttest_1samp(d, 0.0).confidence_interval(0.95))


def test_it_covers_what_it_says_where_splits_overlap() -> None:
    # Differences of repeated random splits are correlated by about n_test / (n_test + n_train); the plain t interval is
    # far too short for that.
    rng, share, repeats, rounds = np.random.default_rng(0), 1 / 3, 5, 3000
    correlation = share / (1 + share)
    d = math.sqrt(correlation) * rng.normal(size=(rounds, 1)) + math.sqrt(1 - correlation) * rng.normal(
        size=(rounds, repeats)
    )
    intervals = [corrected_interval(list(row), share) for row in d]
    covered = np.mean([i.low <= 0 <= i.high for i in intervals if i.low is not None and i.high is not None])
    naive = stats.t.interval(0.95, repeats - 1, loc=d.mean(axis=1), scale=stats.sem(d, axis=1))
    assert 0.94 < covered < 0.96
    assert np.mean((naive[0] <= 0) & (naive[1] >= 0)) < 0.85


def test_an_interval_ends_at_the_bounds_of_what_is_averaged() -> None:
    wide = corrected_interval([0.8, 0.9, 1.0], 0.0)
    assert wide.high is not None
    assert wide.high > 1
    got = corrected_interval([0.8, 0.9, 1.0], 0.0, bounds=bounds_of("accuracy"))
    assert (got.mean, got.low, got.high) == (wide.mean, wide.low, 1.0)
    assert corrected_interval([0.8, 0.9, 1.0], 0.0, bounds=bounds_of("rmse")) == wide
    got = corrected_interval([-1.0, 0.5], 0.5, bounds=bounds_of("accuracy", difference=True))
    assert (got.low, got.high) == (-1.0, 1.0)


def test_one_run_has_no_interval_and_none_is_refused() -> None:
    got = corrected_interval([0.5], 0.3)
    assert (got.mean, got.low, got.high) == (0.5, None, None)
    with pytest.raises(DataError, match="at least one"):
        corrected_interval([], 0.3)
