"""docs/loops.md: its examples run word for word, and its table says what the tests of drivers measure."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tests.integrations.loops import DRIVERS, RECIPES, REFUSED

PAGE = Path(__file__).parents[2] / "docs" / "loops.md"


@pytest.mark.filterwarnings("ignore")  # of the frameworks, about themselves
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.failed == 0
    assert result.attempted >= 25


def test_the_table_is_what_is_measured() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = {row[0].strip().lower(): [cell.strip() for cell in row[1:]] for row in rows[1:]}
    assert cells.keys() == {*DRIVERS, "lightning, accumulated"}
    for driver, found in cells.items():
        name = driver.split(",")[0]
        refused = {(name, "sam")} if "," in driver else REFUSED.keys()
        told = ["refused" if (name, recipe) in refused else "equal" for recipe in RECIPES]
        assert found == [*told, "equal"], driver
