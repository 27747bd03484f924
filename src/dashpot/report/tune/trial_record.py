"""The record of a trial, typed and versioned, in the study, the checkpoints and ``report.json``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dashpot.core.errors import StorageError

VERSION = 2
"""The version of these records; version 1 wrote no number."""


def demand_version(what: str, found: Any, known: int, remedy: str) -> None:
    """Refuse what another version has written, in one sentence.

    Args:
        found: the version that it names, or None where it names none.

    Raises:
        StorageError: it is older than ``known``, newer, or no number.

    >>> demand_version("report.json", 3, 2, "Update dashpot.")
    Traceback (most recent call last):
    dashpot.core.errors.StorageError: report.json must be of version 2, got 3, of a newer Dashpot. Update dashpot.
    """
    if found == known and not isinstance(found, bool):
        return
    newer = isinstance(found, int) and not isinstance(found, bool) and found > known
    got = "none" if found is None else repr(found)
    raise StorageError(
        f"{what} must be of version {known}, got {got}, of {'a newer' if newer else 'an earlier'} Dashpot. {remedy}"
    )


def finite(value: Any) -> float | None:
    """A number, or None for what is missing, no number, infinite or NaN.

    >>> finite(2), finite(None), finite(float("nan"))
    (2.0, None, None)
    """
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


@dataclass(frozen=True)
class StageRecord:
    """What a network was trained as, from an epoch on."""

    epoch: int
    params: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"epoch": self.epoch, "params": dict(self.params)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(whole(data.get("epoch")), dict(data.get("params") or {}))


@dataclass(frozen=True)
class TrialRecord:
    """A candidate with its results; None for every number that is missing or not finite.

    Attributes:
        number: in the study.
        params: the point of the space: switches, fields, ``lr``, ``batch_size`` and ``net.*``.
        recipe: in words.
        state: ``complete``, ``pruned`` or ``failed``.
        name: ``"baseline"``, ``"default"`` or nothing.
        reason: why it failed.
        stages: where its strengths changed while it trained, all that it was trained as, from epoch 0 on.
        epochs, planned: trained, and over which the learning rate was to fall.
        best_epoch: whose networks were kept; 0 where that is not known.
        ended: before all its epochs, since its score had only become worse.
        folds, score, se: how many folds it has scores of, their mean and its standard error; lower is better.
        fold_scores: the proper score of each fold.
        metric_score, train_score: the user's metric on held-out rows; the proper score on training rows.
        history: (epoch, score), in the order of the epochs.
        seconds: of training.
        seeds: how many seeds its scores are means of.
        repeat: which further seed it was trained with; 0 is the race's.

    Example:
        >>> trial = TrialRecord(number=3, params={"lr": 0.001}, fold_scores=(0.5, None), state="failed")
        >>> TrialRecord.from_dict(trial.to_dict()) == trial, trial.to_dict()["version"]
        (True, 2)
    """

    number: int
    params: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = ""
    state: str = ""
    name: str = ""
    reason: str = ""
    stages: tuple[StageRecord, ...] = ()
    epochs: int = 0
    planned: int = 0
    best_epoch: int = 0
    ended: bool = False
    folds: int = 0
    score: float | None = None
    se: float | None = None
    fold_scores: tuple[float | None, ...] = ()
    metric_score: float | None = None
    train_score: float | None = None
    history: tuple[tuple[int, float], ...] = ()
    seconds: float | None = None
    seeds: int = 1
    repeat: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, with the version."""
        return {
            "version": VERSION,
            **{spec.name: getattr(self, spec.name) for spec in dataclasses.fields(TrialRecord)},
            "params": dict(self.params),
            "stages": [stage.to_dict() for stage in self.stages],
            "fold_scores": list(self.fold_scores),
            "history": [list(point) for point in self.history],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; what is missing takes its default.

        Raises:
            StorageError: it is of another version.
        """
        demand_version(
            f"the record of trial {data.get('number')}", data.get("version", VERSION), VERSION, "Search again."
        )
        points = [(finite(epoch), finite(score)) for epoch, score in data.get("history") or ()]
        values: dict[str, Any] = {
            "number": whole(data.get("number")),
            "params": dict(data.get("params") or {}),
            "stages": tuple(StageRecord.from_dict(stage) for stage in data.get("stages") or ()),
            "ended": bool(data.get("ended", False)),
            "fold_scores": tuple(finite(value) for value in data.get("fold_scores") or ()),
            "history": tuple(sorted((int(e), score) for e, score in points if e is not None and score is not None)),
            "seeds": whole(data.get("seeds")) or 1,
        }
        values |= {name: str(data.get(name) or "") for name in ("recipe", "state", "name", "reason")}
        values |= {name: whole(data.get(name)) for name in ("epochs", "planned", "best_epoch", "folds", "repeat")}
        values |= {name: finite(data.get(name)) for name in ("score", "se", "metric_score", "train_score", "seconds")}
        return cls(**values)


def whole(value: Any) -> int:
    """A whole number; 0 for what is none."""
    return int(finite(value) or 0)
