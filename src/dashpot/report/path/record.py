"""The record of a regularization path: ``path.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dashpot.core.records import Record

Values = list[float | None]


@dataclass(frozen=True)
class PathRecord(Record):
    """A path, from strong to weak; values are None where they were not finite.

    Attributes:
        technique: the penalty, as text.
        metric: of ``score``.
        rows, features, folds: the data.
        order: in which the strengths were gone through.
        seconds: what it took.
        best, one_se: the points of the lowest loss and of the one-standard-error choice.
        strengths: one for each point.
        fold_scores, fold_losses: [folds][points].
        score, score_se, loss, loss_se: means and standard errors over the folds.
        zeros: shares of exact zeros among the penalized weights.
        selected: input columns with any weight that is not zero.
        converged: whether each point is exact, or stayed finite.
        feature_names: of the input columns.
        coefficients: for one linear layer, for each point the columns that are not zero with their values per output.
        dataset, network, task, seed: of a run of the command line.
        stability: how often a column is chosen from halves of the rows, where that was asked for.
        weights: what the weights of rows are called, ``"sample_weight"`` or a column; None where each row counted once.
        classes: names of the outputs, of a run of the command line; None of values, and in records of before.
        data: where the data were (``source``), the ``target`` and the ``options`` of their reading, of a run of the
            command line; empty in records of before.
    """

    FILE: ClassVar[str] = "path.json"
    COMMAND: ClassVar[str] = "dashpot path"
    PAGE: ClassVar[str] = "dashpot.report.page.path:path_page"

    technique: str
    metric: str
    rows: int
    features: int
    folds: int
    order: str
    seconds: float
    best: int
    one_se: int
    strengths: list[float]
    fold_scores: list[Values]
    fold_losses: list[Values]
    score: Values
    score_se: Values
    loss: Values
    loss_se: Values
    zeros: list[float]
    selected: list[int]
    converged: list[bool]
    feature_names: list[str]
    coefficients: list[Mapping[str, Any]] | None = None
    dataset: str | None = None
    network: str | None = None
    task: str | None = None
    seed: int | None = None
    stability: Mapping[str, float] | None = None
    weights: str | None = None
    classes: list[str] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
