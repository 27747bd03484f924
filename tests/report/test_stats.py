"""Statistics against numbers worked out by hand and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dashpot.core.errors import DataError, UnknownNameError
from dashpot.evaluation.statistics import corrected_interval
from dashpot.report.compare.stats import summarize
from tests.report.records import arm, drawn, fail, record


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


def test_one_run_has_no_interval_and_none_is_refused() -> None:
    got = corrected_interval([0.5], 0.3)
    assert (got.mean, got.low, got.high) == (0.5, None, None)
    with pytest.raises(DataError, match="at least one"):
        corrected_interval([], 0.3)


def test_a_row_worked_out_by_hand() -> None:
    plain, l1 = summarize(
        record(arm("baseline", [0.70, 0.80]), arm("l1", [0.75, 0.81], train=0.9, zeros=0.25, seconds=2.0))
    )
    assert (plain.score, plain.error, plain.gap) == pytest.approx((0.75, 0.05, 0.20))
    assert plain.difference is None
    assert plain.baseline
    assert (l1.score, l1.error, l1.gap, l1.zeros, l1.seconds) == pytest.approx((0.78, 0.03, 0.12, 0.25, 2.0))
    assert l1.difference is not None
    # Paired: 0.05 and 0.01, s = 0.04 / sqrt(2), half = 12.706205 * s * sqrt(1/2 + 1/3) = 0.328073.
    assert (l1.difference.mean, l1.difference.low, l1.difference.high) == pytest.approx(
        (0.03, 0.03 - 0.328073, 0.03 + 0.328073), abs=1e-5
    )


def test_differences_are_paired_by_repeat_and_only_where_both_succeeded() -> None:
    data = fail(
        fail(record(arm("baseline", [0.1, 0.2, 0.3, 0.4]), arm("l1", [0.2, 0.4, 0.6, 0.8])), "baseline", [0]), "l1", [3]
    )
    row = summarize(data)[1]
    assert row.difference is not None
    assert row.difference.mean == pytest.approx((0.2 + 0.3) / 2)
    assert row.score == pytest.approx(0.4)
    assert row.label == "l1 (3 of 4 splits)"
    assert row.failed.startswith("1 of 4 failed: loss must stay finite")


def test_without_a_split_in_common_there_is_a_score_but_no_difference() -> None:
    data = record(arm("baseline", [0.1, 0.2]), arm("l1", [0.2, 0.4]))
    row = summarize(fail(fail(data, "baseline", [0]), "l1", [1]))[1]
    assert row.score == pytest.approx(0.2)
    assert row.difference is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_counts_as_failed(value: float) -> None:
    row = summarize(record(arm("baseline", [0.1, 0.2]), arm("l1", [value, 0.4])))[1]
    assert row.score == pytest.approx(0.4)
    assert f"test accuracy must be finite, got {value}" in row.failed
    lost = summarize(record(arm("baseline", [0.1]), arm("l1", [value])))[1]
    assert (lost.score, lost.runs, lost.planned) == (None, 0, 1)


def test_a_failed_run_need_not_have_scores() -> None:
    data = fail(record(arm("baseline", [0.1, 0.2]), arm("l1", [0.2, 0.4])), "l1", [0, 1])
    for run in data["arms"][1]["runs"]:
        del run["train"], run["test"]
    assert summarize(data)[1].score is None


def test_references_come_after_the_networks() -> None:
    data = record(
        arm("trees", [0.5], kind="reference"),
        arm("baseline", [0.4]),
        arm("ridge", [0.3], kind="reference"),
        arm("l1", [0.2]),
    )
    assert [row.name for row in summarize(data)] == ["baseline", "l1", "trees", "ridge"]


def test_other_metrics_and_baselines_and_their_errors() -> None:
    data = drawn()
    assert summarize(data, baseline="l1")[0].difference is not None
    assert sum(row.difference is None for row in summarize(data, baseline="l1")) == 1
    with pytest.raises(
        UnknownNameError, match="metric must be one of accuracy, got 'acuracy'. Did you mean 'accuracy'"
    ):
        summarize(data, "acuracy")
    with pytest.raises(UnknownNameError, match="baseline must be one of .*got 'basline'. Did you mean 'baseline'"):
        summarize(data, baseline="basline")
    with pytest.raises(DataError, match="'arms'"):
        summarize({key: value for key, value in data.items() if key != "arms"})
