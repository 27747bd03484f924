"""The contact sheet of a recipe, in the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.cli import sheets
from dashpot.data import Problem
from dashpot.report.images import sheet


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of each sheet."""
    found: list[Any] = []
    draw = sheet.draw_sheet

    def kept(*args: Any, **more: Any) -> Any:
        found.append((*args, more))
        return draw(*args, **more)

    monkeypatch.setattr(sheet, "draw_sheet", kept)
    return found


def photos(target: np.ndarray, task: str) -> tuple[np.ndarray, Any]:
    x = np.random.default_rng(0).integers(0, 256, (len(target), 3, 12, 10), dtype=np.uint8)
    return x, Problem("data", x, target, task).prepare(np.arange(len(target)))


def test_some_of_each_class_beside_what_the_techniques_on_inputs_make_of_them(tmp_path: Path, drawn: list[Any]) -> None:
    y = np.array([0] * 30 + [1] * 6 + [2] * 4)
    x, prepared = photos(y, "classification")
    recipe = (
        dashpot.augment.HorizontalFlip() | dashpot.Dropout(0.2) | dashpot.Recipe.coerce("brightness:strength=0to0.5")
    )
    found = sheets.recipe_figure(recipe, prepared, np.arange(2, 40), tmp_path, "birds")
    assert [path.name for path in found["augment"]] == ["augment.png", "augment.svg"]
    assert all(path.stat().st_size > 1000 for path in found["augment"])
    lines, title, note, _ = drawn[0]
    names = [name for name, _ in lines]
    assert len(lines) == 8
    assert sorted(names.count(name) for name in "012") == [2, 3, 3]
    assert title == "birds: what the training sees with HorizontalFlip(p=0.5) | Brightness(strength=0.25)"
    assert "middle of the training" in note
    rows = [int(row) - 1 for row in note.removeprefix("Training images ").split(" of ")[0].split(", ")]
    assert rows == sorted(rows)  # here classes follow each other, so by class and by row are the same
    assert rows[0] >= 2
    for row, (name, (original, *draws)) in zip(rows, lines, strict=True):
        assert name == str(y[row])
        assert (original == x[row]).all()
        assert len(draws) == 7
        assert len({draw.tobytes() for draw in draws}) > 1


def test_values_are_in_their_own_units(tmp_path: Path, drawn: list[Any]) -> None:
    y = np.linspace(100, 200, 9)
    _, prepared = photos(y, "regression")
    assert sheets.recipe_figure(
        dashpot.Recipe((dashpot.augment.Rotation(10),)), prepared, np.arange(8), tmp_path, "heights"
    )
    lines, _, note, _ = drawn[0]
    assert [float(name) for name, _ in lines] == pytest.approx(y[:8], rel=0.01)
    assert "middle" not in note


def test_nothing_is_drawn_where_nothing_changes_images(tmp_path: Path) -> None:
    _, prepared = photos(np.arange(12) % 2, "classification")
    assert not sheets.recipe_figure(dashpot.Recipe((dashpot.Dropout(0.2),)), prepared, np.arange(9), tmp_path, "data")
    table = dashpot.data.Problem("data", np.zeros((9, 1, 40)), np.arange(9) % 3, "classification")
    recipe = dashpot.Recipe((dashpot.Mixup(0.2),))
    assert not sheets.recipe_figure(recipe, table.prepare(np.arange(9)), np.arange(9), tmp_path, "data")
    assert not list(tmp_path.iterdir())


NAMES = (
    *("adversarial-examples", "input-noise", "manifold-mixup", "mixup", "random-mix", "rand-augment"),
    "horizontal-flip:alternate=true",
)


@pytest.mark.parametrize("name", NAMES)
def test_no_technique_fails_at_the_sheet_of_bytes(tmp_path: Path, name: str) -> None:
    """The sheet is drawn after the training: what fails there loses a trained run."""
    _, prepared = photos(np.arange(12) % 3, "classification")
    assert prepared.x.dtype == torch.uint8
    found = sheets.recipe_figure(dashpot.Recipe.coerce(name), prepared, np.arange(12), tmp_path, "birds")
    # What needs the network has no picture without it.
    assert ("augment" in found) == (name not in ("adversarial-examples", "manifold-mixup"))
