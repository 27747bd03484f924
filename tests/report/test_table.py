"""The table at several widths, and as plain text."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from dashpot.evaluation.statistics import Interval
from dashpot.report.compare.stats import summarize
from dashpot.report.compare.table import cells, compare_table, compare_text, difference_text, notes
from tests.report.records import arm, drawn, fail, record


def shown(data: dict[str, Any], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(compare_table(data))
    return console.export_text()


def test_every_number_stands_in_a_hundred_columns_on_one_line_each() -> None:
    data = drawn()
    text = shown(data, 100)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 100
    for row in summarize(data):
        line = next(line for line in lines if line.startswith(row.name))
        for cell in cells(row):
            assert cell in line
    for head in (
        "test accuracy",
        "minus baseline, 95 % interval",
        "gap",
        "zeros",
        "sec",
        "demo: 1,000 rows, 20 features, 3 splits",
    ):
        assert head in text


@pytest.mark.parametrize("width", [80, 90])
def test_in_a_narrow_terminal_no_number_is_cut_or_broken(width: int) -> None:
    data = drawn()
    text = shown(data, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    for row in summarize(data):
        _, score, difference, gap, zeros, seconds = cells(row)
        for piece in (score, *difference.split(" ", 1), gap, zeros, seconds):
            assert piece in text, (row.name, piece)


def test_narrower_still_a_cut_number_looks_cut() -> None:
    assert "…" in shown(drawn(), 60)


def test_references_stand_apart() -> None:
    lines = shown(drawn(), 100).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("logistic"))
    assert not lines[first - 1].strip()


def test_plain_text_has_no_escapes_and_no_trailing_blanks() -> None:
    text = compare_text(fail(drawn(), "l1", [0]))
    assert "\x1b" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert text.endswith("l1: 1 of 3 failed: loss must stay finite, got nan in epoch 3\n")
    assert "l1 (2 of 3 splits)" in text
    assert max(map(len, text.splitlines())) <= 100


def test_one_split_says_that_it_has_no_intervals() -> None:
    text = compare_text(drawn(repeats=1))
    assert "1 split, so no intervals" in text
    assert "±" not in text
    assert "95 %" not in text


def test_a_failed_arm_is_there_and_says_so() -> None:
    data = fail(drawn(), "mixup", [0, 1, 2])
    line = next(line for line in compare_text(data).splitlines() if line.startswith("mixup"))
    assert line.split() == ["mixup", "failed"]
    assert notes(data) == ["mixup: 3 of 3 failed: loss must stay finite, got nan in epoch 3"]


def test_what_a_solver_said_is_told_once() -> None:
    data = drawn()
    for run in data["arms"][-2]["runs"]:
        run["note"] = "the solver stopped short"
    assert notes(data) == ["logistic regression, L1: the solver stopped short"]


def test_names_are_text_and_not_markup() -> None:
    assert "x[/b] [red]y" in compare_text(record(arm("baseline", [0.1, 0.2]), arm("x[/b] [red]y", [0.1, 0.3])))


def test_the_best_is_bold_and_references_are_dim() -> None:
    console = Console(width=100, file=io.StringIO(), record=True, force_terminal=True, color_system="standard")
    arms = arm("baseline", [0.1]), arm("l1", [0.3]), arm("trees", [0.2], kind="reference")
    console.print(compare_table(record(*arms)))
    text = console.export_text(styles=True)
    assert re.search(r"\x1b\[1ml1", text)
    assert re.search(r"\x1b\[2mtrees", text)
    assert not re.search(r"\x1b\[1mbaseline", text)


def test_the_text_of_a_difference() -> None:
    assert difference_text(None) == ""
    assert difference_text(Interval(-0.5, None, None)) == "-0.5000"
    assert difference_text(Interval(0.1, -0.25, 0.45)) == "+0.1000 [-0.2500, +0.4500]"
