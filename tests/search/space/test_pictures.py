"""What the default space does to which pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dashpot
from dashpot.data.problem import Problem
from dashpot.search.config import SearchConfig
from dashpot.search.run import Search
from dashpot.search.space.defaults import default_techniques


def bars(light: bool = False) -> Problem:
    """One line on an even ground: a glyph."""
    y = np.arange(40) % 2
    x = np.zeros((40, 1, 12, 12), dtype=np.uint8)
    for i in range(40):
        x[i, 0, 3:9, 3 + 5 * y[i] + i % 2] = 200 + i
    return Problem("bars", 255 - x if light else x, y)


def noise() -> Problem:
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 12, 12), dtype=np.uint8)
    return Problem("noise", x, np.arange(40) % 2)


def names(search: Search) -> set[str]:
    return {part.name for part in search.space.techniques}


def search(problem: Problem, folder: Path, **options: object) -> tuple[Search, list[str]]:
    notes: list[str] = []
    config = SearchConfig(trials=2, device="cpu", **options)  # type: ignore[arg-type]  # options of any field
    return Search(problem, config, folder, note=notes.append), [n for n in notes if "the images are" in n]


def test_photographs_may_be_flipped_and_glyphs_not(tmp_path: Path) -> None:
    photo, said = search(noise(), tmp_path)
    assert "horizontal-flip" in names(photo)
    assert len(said) == 1
    assert "by their pixels, photographs" in said[0]
    glyph, said = search(bars(), tmp_path)
    assert "horizontal-flip" not in names(glyph)
    assert len(said) == 1
    assert "do not flip them; --pictures photo" in said[0]


def test_what_the_user_says_counts(tmp_path: Path) -> None:
    found, said = search(bars(), tmp_path, pictures="photo")
    assert "horizontal-flip" in names(found)
    assert said == [
        "the images are, as you said, photographs: the default techniques may flip them and change their colours"
    ]
    assert found.prepared.preprocessing.to_dict()["pictures"] == "photo"


def test_nothing_is_said_where_the_user_names_the_techniques(tmp_path: Path) -> None:
    found, said = search(bars(), tmp_path, recipe=["horizontal-flip"])
    assert names(found) == {"horizontal-flip"}
    assert not said


@pytest.mark.parametrize(("light", "border"), [(False, "zero"), (True, "replicate")])
def test_the_ground_about_glyphs_is_what_moves_in(tmp_path: Path, light: bool, border: str) -> None:
    moved = [part.base for part in search(bars(light), tmp_path)[0].space.techniques if hasattr(part.base, "border")]
    assert moved
    assert {technique.border for technique in moved} == {border}


def test_other_kinds_and_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(dashpot.ConfigError, match="pictures must be one of photo, glyph or None, got 'drawing'"):
        search(bars(), tmp_path, pictures="drawing")
    table = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    config = SearchConfig(trials=2, pictures="glyph")
    with pytest.raises(dashpot.ConfigError, match="pictures must be None for other data than images"):
        dashpot.tune(table, config=config, progress=False)


def test_a_preset_of_photographs_is_in_no_other_space() -> None:
    assert any(str(t).startswith("horizontal-flip") for t in default_techniques("image", "classification", "photo"))
    for kind in (("image", "classification", "glyph"), ("table", "classification"), ("tensor", "classification")):
        assert not any(str(t).startswith("horizontal-flip") for t in default_techniques(*kind))


def test_the_command_takes_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashpot", "tune", "--trials", "2", "--pictures", "drawing", "--out"]
    done = subprocess.run([*command, str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pictures must be one of photo, glyph" in done.stderr
