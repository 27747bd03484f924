"""Where something is missing, reports say so in words or say nothing: never Python's None."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from dashpot.core.errors import DashpotError
from dashpot.report.compare.table import compare_text
from dashpot.report.tune.table import print_report
from dashpot.report.tune.trial_record import StageRecord
from dashpot.report.tune.words import changes
from tests.report.records import drawn
from tests.report.tune_record import searched


def told(record: Any) -> str:
    file = io.StringIO()
    print_report(record, Console(file=file, width=160, color_system=None))
    return file.getvalue()


def holes(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The record with each of its fields missing, and with each None."""
    kept = [{key: value for key, value in record.items() if key != gone} for gone in record]
    return [*kept, *({**record, gone: None} for gone in record)]


def test_a_strength_that_a_stage_does_not_have_is_none() -> None:
    stages = [
        StageRecord(0, {"l1.strength": 0.1, "ema": True, "clip": None}),
        StageRecord(3, {"ema": False, "clip": 1.0, "dropout.p": 0.25}),
    ]
    (line,) = changes(stages)
    told = ("l1.strength 0.1 → none", "ema on → off", "clip none → 1", "dropout.p none → 0.25")
    for part in (*told, "after epoch 3:"):
        assert part in line
    assert "None" not in line


@pytest.mark.parametrize("part", ["record", "candidate", "test"])
def test_nothing_that_is_missing_in_a_search_is_called_none(part: str) -> None:
    data = searched(3)
    at = {"record": data, "candidate": data["candidates"][0], "test": data["test"]}[part]
    for hole in holes(at):
        first = [hole, *data["candidates"][1:]]
        change = {"record": hole, "candidate": {**data, "candidates": first}, "test": {**data, "test": hole}}[part]
        try:
            text = told(change)
        except DashpotError as error:  # what no report can do without is refused, by name
            text = str(error).partition(", got")[0]
        assert not re.search(r"\bNone\b|\bnan\b", text), text


def test_nothing_that_is_missing_in_a_comparison_is_called_none() -> None:
    data = drawn(repeats=2)
    for hole in holes(data):
        try:
            text = compare_text(hole)
        except DashpotError as error:
            text = str(error).partition(", got")[0]
        assert not re.search(r"\bNone\b|\bnan\b", text), text
