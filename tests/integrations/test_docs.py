"""docs/loops.md and docs/fine-tuning.md: their examples run, and the table says what the tests of drivers measure."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tests.integrations.loops import DRIVERS, RECIPES, REFUSED

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.filterwarnings("ignore")  # of the frameworks, about themselves
@pytest.mark.parametrize("page", ["loops", pytest.param("fine-tuning", marks=pytest.mark.slow)])
def test_the_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(DOCS / f"{page}.md"), module_relative=False)
    assert result.failed == 0
    assert result.attempted >= 25


def test_the_table_is_what_is_measured() -> None:
    rows = [
        line.strip("| ").split(" | ") for line in (DOCS / "loops.md").read_text().splitlines() if line.startswith("| ")
    ]
    cells = {row[0].strip().lower(): [cell.strip() for cell in row[1:]] for row in rows[1:]}
    assert cells.keys() == {*DRIVERS, "lightning, accumulated"}
    for driver, found in cells.items():
        name = driver.split(",")[0]
        refused = {(name, "sam")} if "," in driver else REFUSED.keys()
        told = ["refused" if (name, recipe) in refused else "equal" for recipe in RECIPES]
        assert found == [*told, "equal"], driver
