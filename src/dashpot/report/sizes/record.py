"""The record of scores against sizes: ``sizes.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dashpot.core.language import mark
from dashpot.core.records import Record

Values = list[float | None]
MEASURES = {
    "parameters": mark("parameters"),
    "macs": mark("multiply-adds of a row"),
    "ms_1": mark("milliseconds at batch 1"),
    "ms_64": mark("milliseconds at batch 64"),
}
"""What a network costs, by field."""


@dataclass(frozen=True)
class SizesRecord(Record):
    """Networks from small to large; values are None where they were not finite.

    Attributes:
        technique: that makes them small, as text.
        metric: of ``score``.
        rows, features, folds: the data.
        seconds: what it took.
        best, one_se: the points of the lowest loss and of the one-standard-error choice.
        sizes: that were asked for.
        fold_scores, fold_losses: [folds][points].
        score, score_se, loss, loss_se: means and standard errors over the folds.
        parameters, macs, bytes: of the network of all rows; multiply-adds are of one row.
        ms_1, ms_64: milliseconds of a call with 1 and 64 rows, medians on one thread.
        dataset, network, task, seed: of a run of the command line.
        weights: what the weights of rows are called, ``"sample_weight"`` or a column; None where each row counted once.
        data: where the data were (``source``), the ``target`` and the ``options`` of their reading, of a run of the
            command line; empty in records of before.
    """

    FILE: ClassVar[str] = "sizes.json"
    COMMAND: ClassVar[str] = "dashpot path"
    PAGE: ClassVar[str] = "dashpot.report.page.sizes:sizes_page"

    technique: str
    metric: str
    rows: int
    features: int
    folds: int
    seconds: float
    best: int
    one_se: int
    sizes: list[str]
    fold_scores: list[Values]
    fold_losses: list[Values]
    score: Values
    score_se: Values
    loss: Values
    loss_se: Values
    parameters: list[int]
    macs: list[int]
    bytes: list[int]
    ms_1: list[float]
    ms_64: list[float]
    dataset: str | None = None
    network: str | None = None
    task: str | None = None
    seed: int | None = None
    weights: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def cost(self, field: str) -> list[float]:
        """One of :data:`MEASURES` for each point."""
        return [float(value) for value in getattr(self, field)]
