"""From the runs of a comparison to means, differences and intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import UnknownNameError
from dashpot.evaluation.metrics import bounds_of
from dashpot.evaluation.statistics import Interval, corrected_interval
from dashpot.report.compare.record import BASELINE, Arm, ArmRun, CompareRecord


@dataclass(frozen=True)
class Row:
    """One arm of a comparison, over its repeats.

    Attributes:
        name, kind: of the arm; kind is ``"network"`` or ``"reference"``.
        score, error: mean and standard error of the test score; None where no run, or only one, succeeded.
        difference: from the baseline on the same splits; None for the baseline itself, and where the two have no split
            in common.
        gap: mean of train minus test score.
        zeros: mean share of exact zeros in the weights, or None.
        seconds: mean.
        failed: why runs are missing, or "".
        runs, planned: runs that succeeded, and all.
        baseline: whether differences are taken from this arm.
    """

    name: str
    kind: str
    score: float | None
    error: float | None
    difference: Interval | None
    gap: float | None
    zeros: float | None
    seconds: float | None
    failed: str = ""
    runs: int = 0
    planned: int = 0
    baseline: bool = False

    @property
    def label(self) -> str:
        """The name, and how many splits it stands on where some failed."""
        return f"{self.name} ({self.runs} of {self.planned} splits)" if 0 < self.runs < self.planned else self.name


Given = CompareRecord | Mapping[str, Any]
"""A record, or the content of its file."""


def summarize(record: Given, metric: str | None = None, baseline: str = BASELINE) -> list[Row]:
    """A row for each arm of a comparison: the networks in their order, then the reference models in theirs.

    A run with an error, or with a score that is not finite, counts as failed and enters no number.

    Args:
        record: of a comparison, or the content of its compare.json.
        metric: a score in which more is better; the record's own by default.
        baseline: the arm that differences are taken from, run by run.

    Raises:
        DataError: no such record.
        UnknownNameError: no arm is called ``baseline``, or no run has the metric.
    """
    record = CompareRecord.of(record)
    metric = metric or record.metric
    names = [arm.name for arm in record.arms]
    if baseline not in names:
        raise UnknownNameError("baseline", baseline, names)
    known = {key for arm in record.arms for run in arm.runs for key in run.test}
    if known and metric not in known:
        raise UnknownNameError("metric", metric, sorted(known))
    scores = {
        run.repeat: run.test[metric]
        for arm in record.arms
        if arm.name == baseline
        for run in arm.runs
        if not _problem(run, metric)
    }
    test_share = record.test_rows / record.train_rows
    rows = [_row(arm, metric, scores, test_share, arm.name == baseline) for arm in record.arms]
    return sorted(rows, key=lambda row: row.kind == "reference")


def _row(arm: Arm, metric: str, reference: Mapping[int, float], test_share: float, baseline: bool) -> Row:
    runs = [run for run in arm.runs if not _problem(run, metric)]
    problems = [problem for run in arm.runs if (problem := _problem(run, metric))]
    failed = f"{len(problems)} of {len(arm.runs)} failed: {problems[0]}" if problems else ""
    if not runs:
        return Row(arm.name, arm.kind, None, None, None, None, None, None, failed, 0, len(arm.runs), baseline)
    scores = [run.test[metric] for run in runs]
    paired = [run.test[metric] - reference[run.repeat] for run in runs if run.repeat in reference]
    within = bounds_of(metric, difference=True)
    zeros = [run.zeros for run in runs if run.zeros is not None]
    return Row(
        name=arm.name,
        kind=arm.kind,
        score=statistics.fmean(scores),
        error=statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        difference=None if baseline or not paired else corrected_interval(paired, test_share, bounds=within),
        gap=statistics.fmean(run.train[metric] - run.test[metric] for run in runs),
        zeros=statistics.fmean(zeros) if zeros else None,
        seconds=statistics.fmean(run.seconds for run in runs),
        failed=failed,
        runs=len(runs),
        planned=len(arm.runs),
        baseline=baseline,
    )


def _problem(run: ArmRun, metric: str) -> str:
    """Why a run cannot be counted, or ""."""
    if run.error:
        return run.error
    measured = {"train": run.train, "test": run.test}
    bad = [part for part, scores in measured.items() if not math.isfinite(scores[metric])]
    named = " and ".join(f"{part} {metric}" for part in bad)
    return f"{named} must be finite, got {measured[bad[0]][metric]}" if bad else ""
