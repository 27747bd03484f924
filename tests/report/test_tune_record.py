"""Records of searches: what is written reads as the same, and what another version wrote is refused by name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from dashpot.core.errors import DataError, StorageError
from dashpot.report.tune.record import TuneRecord
from dashpot.report.tune.trial_record import VERSION, StageRecord, TrialRecord
from tests.report.tune_record import bare, candidate, searched

WHOLE = TrialRecord(
    number=7,
    params={"lr": 1e-3, "l1": True, "l1.strength": 1e-4, "net.embedding": "none", "batch_size": None},
    recipe="L1(strength=0.0001)",
    state="failed",
    name="default",
    reason="RuntimeError: no",
    stages=(StageRecord(0, {"lr": 1e-2}), StageRecord(3, {"lr": 1e-3})),
    epochs=5,
    planned=9,
    best_epoch=4,
    ended=True,
    folds=2,
    score=0.5,
    se=0.1,
    fold_scores=(0.4, None),
    metric_score=0.9,
    train_score=0.2,
    history=((1, 0.7), (5, 0.5)),
    seconds=1.5,
    seeds=2,
    repeat=1,
)


def through_json(data: dict[str, Any]) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


def test_a_trial_reads_as_it_was_written() -> None:
    """Every field, with a value other than its default."""
    default = TrialRecord(0)
    assert all(getattr(WHOLE, name) != getattr(default, name) for name in vars(default))
    assert TrialRecord.from_dict(through_json(WHOLE.to_dict())) == WHOLE


def test_a_search_reads_as_it_was_written() -> None:
    record = TuneRecord.from_dict(through_json(searched(12)))
    assert len(record.candidates) == 12
    assert {effect.kind for effect in (*record.contributions, *record.interactions)} == {"left out", "alone", "pair"}
    again = TuneRecord.from_dict(through_json(record.to_dict()))
    assert again == record
    assert again.to_dict()["version"] == VERSION


def test_what_is_no_number_is_none() -> None:
    read = TrialRecord.from_dict({"number": 1, "score": math.inf, "se": "x", "history": [[1, math.nan], [2, 0.5]]})
    assert (read.score, read.se, read.history) == (None, None, ((2, 0.5),))


@pytest.mark.parametrize(
    ("version", "words"),
    [(VERSION + 1, "a newer Dashpot"), (1, "an earlier Dashpot"), (None, "got none.*earlier"), ("2", "earlier")],
)
def test_another_version_is_refused(version: Any, words: str) -> None:
    data = bare(candidate(0), version=version)
    with pytest.raises(StorageError, match=words) as caught:
        TuneRecord.from_dict(data)
    assert "the report of a search must be of version 2" in str(caught.value)


def test_a_report_of_before_names_its_version() -> None:
    data = bare(candidate(0))
    del data["version"]
    with pytest.raises(StorageError, match="must be of version 2, got none, of an earlier Dashpot. Search again"):
        TuneRecord.from_dict(data)


def test_a_trial_of_a_newer_version_is_refused() -> None:
    with pytest.raises(StorageError, match="trial 7 must be of version 2, got 3, of a newer Dashpot"):
        TrialRecord.from_dict({**WHOLE.to_dict(), "version": 3})


def test_what_no_report_can_do_without_is_named() -> None:
    with pytest.raises(DataError, match="must have 'metric', 'candidates'"):
        TuneRecord.from_dict({"version": 2, "dataset": "d", "task": "regression", "proper": "rmse"})
