"""The record of one training: ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dashpot.core.records import Record

Scores = Mapping[str, float]


@dataclass(frozen=True)
class FitRecord(Record):
    """The result of a training.

    Attributes:
        train, valid, test: scores by name, in the target's own units.
        gaps: the score on training rows minus that on others.
        exact_zeros: shares of weights that are exactly 0, in all (``"all"``) and per layer.
        epochs, best_epoch: trained, and whose weights were kept, if one was chosen.
        stopped: why it ended.
        diverged: where the loss became NaN or infinite, or None.
        seconds, seed: of the training.
        training: learning rates and options of the network that were asked for.
        data: name, rows and fingerprint.
        versions, machine: where it was made.
        answers: on the test rows: confusions and calibration, or pairs of truth and prediction, and the most confident
            mistakes; empty where it diverged.
        robustness: how the score falls as inputs of some test rows get worse, the content of a robustness.json; empty
            where it was not measured.
    """

    FILE: ClassVar[str] = "metrics.json"
    COMMAND: ClassVar[str] = "dashpot fit"
    PAGE: ClassVar[str] = "dashpot.report.page.fit:fit_page"

    train: Scores
    valid: Scores
    test: Scores
    gaps: Scores
    exact_zeros: Scores
    epochs: int
    stopped: str
    seconds: float
    seed: int
    best_epoch: int | None = None
    diverged: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    robustness: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fields_of(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same; of an older file, where only images had answers, these."""
        return super().fields_of({**data, "answers": data.get("answers", data.get("images", {}))})
