"""Records: written and read again as they were, and refused with one sentence where they cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

import dashpot
from dashpot.core.records import Record
from dashpot.report.compare.record import CompareRecord
from dashpot.report.compare.stats import summarize
from dashpot.report.fit.record import FitRecord
from dashpot.report.path.figure import path_figure
from dashpot.report.path.record import PathRecord
from tests.report.typed import COMPARED, FITTED, walked

RECORDS = {"compare": COMPARED, "fit": FITTED, "path": walked()}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    text = json.dumps(record.to_dict(), allow_nan=False)
    assert next(iter(json.loads(text))) == "version"
    assert type(record).from_dict(json.loads(text)) == record


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"must be of version 1, got 2\. It is from a newer Dashpot: install that\.$"),
        ({"version": "one"}, r"must be of version 1, got 'one'\. Run `dashpot \w+` again\.$"),
        ({"version": None}, r"from before records had versions, or is no such record\. Run `dashpot \w+` again\.$"),
    ],
)
def test_other_versions_are_refused_in_one_sentence(record: Record, change: dict[str, Any], message: str) -> None:
    with pytest.raises(dashpot.DataError, match=record.FILE + ".*" + message):
        type(record).from_dict(record.to_dict() | change)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_without_its_fields_and_what_is_none_are_refused(record: Record) -> None:
    with pytest.raises(dashpot.DataError, match="which this one lacks"):
        type(record).from_dict({"version": 1})
    with pytest.raises(dashpot.DataError, match="must hold a JSON object, got list"):
        type(record).from_dict([])


def test_a_field_that_is_not_known_is_no_fault_and_a_wrong_arm_is() -> None:
    assert FitRecord.from_dict(FITTED.to_dict() | {"later": 1}) == FITTED
    with pytest.raises(dashpot.DataError, match="arms with runs, got one that does not fit: 'runs'"):
        CompareRecord.from_dict(COMPARED.to_dict() | {"arms": [{"name": "l1"}]})


def test_reports_take_a_record_or_the_content_of_its_file(tmp_path: Any) -> None:
    assert summarize(COMPARED) == summarize(COMPARED.to_dict())
    record = RECORDS["path"]
    assert isinstance(record, PathRecord)
    one, other = path_figure(record, tmp_path / "a"), path_figure(record.to_dict(), tmp_path / "b")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]
