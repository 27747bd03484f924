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


def cells_of(page: str) -> dict[str, list[str]]:
    """The cells of a page's tables by the first of each row."""
    rows = [line.strip("| ").split(" | ") for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    return {row[0].strip().lower(): [cell.strip() for cell in row[1:]] for row in rows[1:]}


def test_the_table_of_ranks_is_what_their_tests_measure() -> None:
    """They train each recipe, and resume one."""
    cells = cells_of("distributed.md")
    for driver in DRIVERS:
        told = ["refused" if (driver, recipe) in REFUSED else "equal" for recipe in RECIPES]
        assert cells[driver] == [*told, "equal"], driver


def test_the_table_is_what_is_measured() -> None:
    cells = cells_of("loops.md")
    assert cells.keys() == {*DRIVERS, "lightning, accumulated"}
    for driver, found in cells.items():
        name = driver.split(",")[0]
        refused = {(name, "sam")} if "," in driver else REFUSED.keys()
        told = ["refused" if (name, recipe) in refused else "equal" for recipe in RECIPES]
        assert found == [*told, "equal"], driver
