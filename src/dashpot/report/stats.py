"""From the runs of a comparison to means, differences and intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; ``low`` and ``high`` are None where one run says nothing about spread."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """One arm of a comparison, over its repeats.

    Attributes:
        name, kind: of the arm; kind is ``"network"`` or ``"reference"``.
        score, error: mean and standard error of the test score.
        difference: from the plain network on the same splits; None for the plain network itself.
        gap: mean of train minus test score.
        zeros: mean share of exact zeros in the weights, or None.
        seconds: mean.
        failed: why runs are missing, or "".
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


def corrected_interval(differences: Sequence[float], test_share: float, level: float = 0.95) -> Interval:
    """The mean of paired differences over repeated random splits, with an interval that allows for overlapping training sets.

    The corrected resampled t test of Nadeau and Bengio (Machine Learning 2003): the variance of the mean is ``(1 / R + n_test / n_train) * s^2``, not ``s^2 / R``, since
    repeats share most of their training rows.

    Args:
        differences: one per repeat.
        test_share: ``n_test / n_train``.
    """
    from scipy.stats import t

    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Interval(mean, None, None)
    spread = statistics.stdev(differences) * math.sqrt(1 / len(differences) + test_share)
    half = float(t.ppf((1 + level) / 2, len(differences) - 1)) * spread
    return Interval(mean, mean - half, mean + half)


def summarize(record: Mapping[str, Any], metric: str | None = None, baseline: str = "plain") -> list[Row]:
    """A row for each arm of a comparison record, in its order.

    Args:
        record: as :func:`dashpot.compare.compare` makes it.
        metric: a score in which more is better; the record's own by default.
        baseline: the arm that differences are taken from, run by run.
    """
    metric = metric or record["metric"]
    reference = {run["repeat"]: run for arm in record["arms"] if arm["name"] == baseline for run in _good(arm)}
    test_share = record["test_rows"] / record["train_rows"]
    rows = []
    for arm in record["arms"]:
        runs = _good(arm)
        errors = [run["error"] for run in arm["runs"] if run["error"]]
        failed = f"{len(errors)} of {len(arm['runs'])} failed: {errors[0]}" if errors else ""
        if not runs:
            rows.append(Row(arm["name"], arm["kind"], None, None, None, None, None, None, failed))
            continue
        scores = [run["test"][metric] for run in runs]
        paired = [run["test"][metric] - reference[run["repeat"]]["test"][metric] for run in runs if run["repeat"] in reference]
        zeros = [run["zeros"] for run in runs if run["zeros"] is not None]
        rows.append(
            Row(
                name=arm["name"],
                kind=arm["kind"],
                score=statistics.fmean(scores),
                error=statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
                difference=corrected_interval(paired, test_share) if paired and arm["name"] != baseline else None,
                gap=statistics.fmean(run["train"][metric] - run["test"][metric] for run in runs),
                zeros=statistics.fmean(zeros) if zeros else None,
                seconds=statistics.fmean(run["seconds"] for run in runs),
                failed=failed,
            )
        )
    return rows


def _good(arm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for run in arm["runs"] if not run["error"]]
