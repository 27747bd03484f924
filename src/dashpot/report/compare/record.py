"""The record of a comparison: ``compare.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dashpot.core.errors import DataError
from dashpot.core.language import mark
from dashpot.core.records import Record

BASELINE, ALL = mark("baseline"), mark("all of them")
"""The arm without techniques, and the one with all."""
Scores = Mapping[str, float]


@dataclass(frozen=True)
class ArmRun:
    """One arm on one split.

    Attributes:
        repeat, seed: of the split.
        seconds: what it took.
        train, valid, test: scores by name; empty where it failed before it could be scored.
        error: why it does not count, or None.
        zeros: the share of weights that are exactly 0, or None.
        epochs: trained; 0 for reference models.
        note: what a solver had to say.
    """

    repeat: int
    seed: int
    seconds: float
    train: Scores = field(default_factory=dict)
    valid: Scores = field(default_factory=dict)
    test: Scores = field(default_factory=dict)
    error: str | None = None
    zeros: float | None = None
    epochs: int = 0
    note: str = ""


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Attributes:
        name: for tables and figures.
        kind: ``"network"``, or ``"reference"`` for a model of scikit-learn.
        recipe: of a network.
        runs: one for each split.
    """

    name: str
    kind: str
    recipe: str | None = None
    runs: tuple[ArmRun, ...] = ()


@dataclass(frozen=True)
class CompareRecord(Record):
    """A comparison of techniques on the same splits.

    Attributes:
        dataset, task, rows, features: the data.
        metric: what is compared; more is better.
        repeats: splits that every arm has seen.
        train_rows, test_rows: of a split.
        arms: the baseline first.
        seed: of the first split.
        epochs, batch_size: of the networks.
        monotone: what the networks are certified for, in words; empty where nothing.
        versions, machine: where it was made.
        recipes: of each network, as the option ``--with`` takes it; empty in records of before.
        data: where the data were (``source``), the ``target`` and the ``options`` of their reading, of a run of the
            command line; empty in records of before.
    """

    FILE: ClassVar[str] = "compare.json"
    COMMAND: ClassVar[str] = "dashpot compare"
    PAGE: ClassVar[str] = "dashpot.report.page.compare:compare_page"

    dataset: str
    metric: str
    repeats: int
    train_rows: int
    test_rows: int
    arms: tuple[Arm, ...]
    task: str = ""
    seed: int = 0
    rows: int | None = None
    features: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    monotone: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def _read(cls, fields: dict[str, Any]) -> dict[str, Any]:
        try:
            arms = tuple(Arm(**{**arm, "runs": tuple(ArmRun(**run) for run in arm["runs"])}) for arm in fields["arms"])
        except (TypeError, KeyError) as error:
            raise DataError(f"{cls.FILE} must hold arms with runs, got one that does not fit: {error}.") from None
        return {**fields, "arms": arms}
