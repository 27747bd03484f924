"""The page of a smaller network: its numbers are the record's, and whatever was not measured is not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dashpot.core.errors import DataError
from dashpot.report.page.shrink import shrink_page
from dashpot.report.page.source import Source
from dashpot.report.page.write import render
from dashpot.report.shrink.record import ShrinkRecord
from tests.report.page.reading import Seen, read

LAYER: dict[str, Any] = {"kind": "Linear", "bytes": [400, 100], "ms_1": [0.2, 0.1]}
RECORD = ShrinkRecord(
    run="runs/fit-1",
    before={"parameters": 12_000, "macs": 11_000, "bytes": 48_000},
    after={"parameters": 3_000, "macs": 2_500, "bytes": 12_000},
    asked="3k parameters",
    how="trained",
    epochs=7,
    difference=2e-7,
    latency={"1": [0.4, 0.2], "64": [3.0, 1.0]},
    by_layer=[
        {**LAYER, "name": "hidden", "parameters": [11_000, 2_500], "macs": [10_000, 2_000], "ms_64": [2.5, 0.75]},
        {**LAYER, "name": "<b>head</b>", "parameters": [1_000, 500], "macs": [1_000, 500], "ms_64": [0.5, 0.25]},
    ],
    scores={"test": {"loss": [0.30, 0.32], "accuracy": [0.91, 0.905]}},
    stayed={"the output layer is never cut": 2},
    left_out=["group-lasso"],
    data={"name": "digits", "rows": 1797},
    machine={"processor": "some", "cores": 2},
)


def shown(record: ShrinkRecord | dict[str, Any]) -> Seen:
    return read(render(shrink_page(record, Source(run="runs/shrink-1", data="a b.csv"))))


def test_the_numbers_are_the_records() -> None:
    seen = shown(RECORD)
    assert seen.table("", "before", "after", "ratio")[:3] == [
        ["parameters", "12,000", "3,000", "4x"],
        ["multiply-adds", "11,000", "2,500", "4.4x"],
        ["bytes", "48,000", "12,000", "4x"],
    ]
    assert seen.table("", "before", "after", "ratio")[3:] == [
        ["milliseconds at batch 1", "0.4", "0.2", "2x"],
        ["milliseconds at batch 64", "3", "1", "3x"],
    ]
    assert seen.table("rows", "score", "before")[1] == ["test", "accuracy", "0.9100", "0.9050", "-0.0050"]
    assert seen.table("layer", "kind")[0] == [
        "hidden", "Linear", "11,000", "2,500", "10,000", "2,000", "2.5", "0.75"
    ]  # fmt: skip
    assert ["the output layer is never cut", "2"] in seen.table("empty units that stayed, because", "units")
    said = " ".join(text for _, text in seen.words)
    assert "12,000 parameters became 3,000, 2x as fast at batch 1, 3x as fast at batch 64" in said
    assert "accuracy 0.9100 before, 0.9050 after" in said
    assert "(7 epochs)" in said
    assert "Without group-lasso" in said
    assert "dashpot predict runs/shrink-1 'a b.csv' --out predictions.csv" in said


def test_names_are_hostile_input() -> None:
    assert not any(tag == "b" for tag, _ in shown(RECORD).starts)


@pytest.mark.parametrize("how", ["exact", "cut"])
def test_of_what_was_not_measured_nothing_is_shown(how: str) -> None:
    bare = replace(
        RECORD, how=how, asked="", latency={}, by_layer=(), scores={}, stayed={}, left_out=(), epochs=None, changed=0.25
    )
    seen = shown(bare)
    said = " ".join(text for _, text in seen.words)
    assert ("accuracy was not measured" in said) is (how == "cut")
    assert ("moved by 25%" in said) is (how == "cut")
    assert "Layers" not in [text for tag, text in seen.words if tag == "h2"]
    assert len(seen.table("", "before", "after", "ratio")) == 3


def test_a_record_of_something_else_is_refused() -> None:
    with pytest.raises(DataError, match=r"shrunk\.json|record|missing"):
        shown({"a": 1})
