"""The record of a search, typed and versioned: the content of ``report.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from dashpot.core.errors import DataError
from dashpot.report.tune.trial_record import VERSION, StageRecord, TrialRecord, demand_version, finite, whole

NEEDED = ("dataset", "task", "metric", "proper", "candidates")


@dataclass(frozen=True)
class EffectRecord:
    """A gain in the proper score, with its 95 % interval, and by fold.

    Attributes:
        techniques: one, or a pair.
        kind: ``"left out"`` of the chosen recipe or ``"alone"``, for one technique; ``"pair"``.
        difference, low, high: the mean gain and its interval.
        folds: the gain of each fold.
    """

    techniques: tuple[str, ...]
    kind: str
    difference: float | None
    low: float | None = None
    high: float | None = None
    folds: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: ``technique`` and ``kind``, or ``pair``."""
        who: dict[str, Any] = (
            {"pair": list(self.techniques)}
            if self.kind == "pair"
            else {"technique": self.techniques[0], "kind": self.kind}
        )
        numbers = {"difference": self.difference, "low": self.low, "high": self.high}
        return {**who, **numbers, "folds": list(self.folds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        pair = data.get("pair")
        names = tuple(map(str, pair)) if pair is not None else (str(data.get("technique") or ""),)
        kind = "pair" if pair is not None else "alone" if data.get("kind") == "alone" else "left out"
        mean, low, high = (finite(data.get(name)) for name in ("difference", "low", "high"))
        folds = tuple(value for value in map(finite, data.get("folds") or ()) if value is not None)
        return cls(names, kind, mean, low, high, folds)


@dataclass(frozen=True)
class TestScores:
    """Scores on the test rows, by metric: of the final model, the baseline, and models of other kinds by name."""

    chosen: Mapping[str, Any] = field(default_factory=dict)
    baseline: Mapping[str, Any] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        references = {name: dict(scores) for name, scores in self.references.items()}
        return {"chosen": dict(self.chosen), "baseline": dict(self.baseline), "references": references}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(*(dict(data.get(name) or {}) for name in ("chosen", "baseline", "references")))


@dataclass(frozen=True)
class TuneRecord:
    """Everything that a search measured: the content of ``report.json``.

    Attributes:
        dataset, task, metric, better, proper: of what, for what; ``proper`` is the score that candidates are ranked by.
        positive: the class that F1 is of, where that is the metric.
        rows, train_rows, test_rows, features, classes, folds: sizes.
        epochs, batch_size, race: how candidates were trained.
        candidates: all of them.
        baseline, best, chosen: their numbers.
        why, final, final_members: the choice, and the model that predicts.
        strengths: the stages of the chosen candidate, where its strengths changed while it trained.
        test: scores on rows that nothing was learned from.
        contributions, interactions, importance: of techniques, pairs and settings.
        decision: temperature and rule, for classes.
        answers: on the test rows: confusions and calibration, or pairs of truth and prediction, and the most confident
            mistakes; empty without test rows.
        robustness: how the score falls as inputs of some test rows get worse, the content of a robustness.json; empty
            where it was not measured.
        space: in words, by distribution.
        budget_s, seconds, members_trained, member_steps, seed: what it took.
        versions, machine, peak_memory_mb: where it ran.
    """

    dataset: str
    task: str
    metric: str
    proper: str
    candidates: tuple[TrialRecord, ...] = field(repr=False)
    better: str = "higher"
    positive: str | None = None
    rows: int | None = None
    train_rows: int | None = None
    test_rows: int | None = None
    features: int | None = None
    classes: int | None = None
    folds: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    race: Mapping[str, Any] = field(default_factory=dict)
    strengths: tuple[StageRecord, ...] = ()
    budget_s: float | None = None
    seconds: float | None = None
    seed: int | None = None
    members_trained: int | None = None
    member_steps: int | None = None
    versions: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    peak_memory_mb: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, str] = field(default_factory=dict)
    baseline: int | None = None
    best: int | None = None
    chosen: int | None = None
    why: str = ""
    final: str = ""
    final_members: tuple[tuple[int, float], ...] = ()
    test: TestScores = field(default_factory=TestScores)
    contributions: tuple[EffectRecord, ...] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    interactions: tuple[EffectRecord, ...] = ()
    decision: Mapping[str, Any] | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    robustness: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, with the version."""
        found: dict[str, Any] = {"version": VERSION}
        for spec in dataclasses.fields(self):
            found[spec.name] = _json(getattr(self, spec.name))
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            StorageError: it is of another version.
            DataError: it lacks a key that no report can do without.
        """
        missing, version = [key for key in NEEDED if data.get(key) is None], data.get("version")
        newer = isinstance(version, int) and version > VERSION  # which may well do without them
        if missing and not newer:
            raise DataError(
                f"a tune record must have {', '.join(map(repr, missing))}, which this one lacks. Give the content of a"
                " report.json of `dashpot tune`."
            )
        remedy = "Search again, or read it with the Dashpot that wrote it."
        demand_version("the report of a search", version, VERSION, remedy)
        whole_numbers = (
            *("rows", "train_rows", "test_rows", "features", "classes", "folds", "epochs", "batch_size", "seed"),
            *("members_trained", "member_steps", "baseline", "best", "chosen"),
        )
        texts = ("dataset", "task", "metric", "proper", "why", "final")
        tables = ("race", "versions", "machine", "peak_memory_mb", "space", "importance", "answers", "robustness")
        values: dict[str, Any] = {
            "candidates": tuple(TrialRecord.from_dict(row) for row in data["candidates"]),
            "better": str(data.get("better") or "higher"),
            "strengths": tuple(StageRecord.from_dict(stage) for stage in data.get("strengths") or ()),
            "final_members": tuple((whole(n), float(w)) for n, w in data.get("final_members") or ()),
            "test": TestScores.from_dict(data.get("test") or {}),
            "contributions": tuple(EffectRecord.from_dict(row) for row in data.get("contributions") or ()),
            "interactions": tuple(EffectRecord.from_dict(row) for row in data.get("interactions") or ()),
            "decision": None if data.get("decision") is None else dict(data["decision"]),
        }
        values |= {name: str(data.get(name) or "") for name in texts}
        values |= {name: dict(data.get(name) or {}) for name in tables}
        values["answers"] = values["answers"] or dict(data.get("images") or {})  # of an older file
        values |= {name: finite(data.get(name)) for name in ("budget_s", "seconds")}
        values |= {name: None if finite(data.get(name)) is None else whole(data[name]) for name in whole_numbers}
        return cls(**values)


Report = TuneRecord | Mapping[str, Any]
"""A record, or its plain JSON."""


def as_record(report: Report) -> TuneRecord:
    """A record from itself or its plain JSON.

    Raises:
        StorageError, DataError: as :meth:`TuneRecord.from_dict`.
    """
    return report if isinstance(report, TuneRecord) else TuneRecord.from_dict(report)


def _json(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _json(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_json(part) for part in value]
    return value
