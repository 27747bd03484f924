"""Rows of a comparison against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from dashpot.core.errors import DataError, UnknownNameError
from dashpot.report.compare.stats import summarize
from tests.report.records import arm, drawn, fail, record


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
