"""The record of a look at robustness: ``robustness.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dashpot.core.errors import DataError
from dashpot.core.records import Record
from dashpot.evaluation.metrics import bounds_of
from dashpot.evaluation.statistics import Interval, corrected_interval


@dataclass(frozen=True)
class Cell:
    """One model under one corruption in one strength.

    Attributes:
        model, corruption: names.
        strength: from 1 to 5.
        amount: what that is, in the corruption's unit.
        mean: of the score over the draws.
        low, high: of its 95 % interval over the draws; None where nothing is drawn, or once only.
        scores: of the draws.
    """

    model: str
    corruption: str
    strength: int
    amount: float
    mean: float
    low: float | None
    high: float | None
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class RobustnessRecord(Record):
    """Scores of models as inputs get worse.

    Attributes:
        dataset, kind, task, rows: the data.
        metric: the score.
        clean: of each model on the inputs as they are, by its name.
        units: of each corruption what its amounts are.
        cells: model by model, corruption by corruption, from little to much.
        draws: of each strength, where something is drawn.
        seed: of the draws.
        left_out: corruptions for which there was no time.
        versions, machine: where it was made.
    """

    FILE: ClassVar[str] = "robustness.json"
    COMMAND: ClassVar[str] = "dashpot robustness"
    PAGE: ClassVar[str] = "dashpot.report.page.robust:robustness_page"

    dataset: str
    kind: str
    task: str
    rows: int
    metric: str
    clean: Mapping[str, float]
    units: Mapping[str, str]
    cells: tuple[Cell, ...]
    draws: int = 1
    seed: int = 0
    left_out: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: dict[str, Any]) -> dict[str, Any]:
        try:
            cells = tuple(Cell(**{**cell, "scores": tuple(cell.get("scores", ()))}) for cell in fields["cells"])
        except (TypeError, AttributeError) as error:
            raise DataError(f"{cls.FILE} must hold cells of scores, got one that does not fit: {error}.") from None
        return {**fields, "cells": cells, "left_out": tuple(fields.get("left_out", ()))}

    def curve(self, model: str, corruption: str) -> list[Cell]:
        """From the weakest strength to the strongest."""
        return [cell for cell in self.cells if cell.model == model and cell.corruption == corruption]

    def kept(self, model: str, corruption: str) -> float:
        """The mean score over the strengths."""
        found = self.curve(model, corruption)
        return sum(cell.mean for cell in found) / len(found)

    def kept_interval(self, model: str, corruption: str) -> Interval:
        """The same with its 95 % interval over the draws; without one where nothing is drawn, or once only."""
        found = self.curve(model, corruption)
        draws = list(zip(*(cell.scores for cell in found), strict=True)) if found else []
        if len(draws) < 2:
            return Interval(self.kept(model, corruption), None, None)
        means = [sum(scores) / len(scores) for scores in draws]
        return corrected_interval(means, test_share=0.0, bounds=bounds_of(self.metric))
