"""What the default space does to which pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

import dashpot
from dashpot.data.problem import Problem
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.search.config import SearchConfig
from dashpot.search.run import Search
from dashpot.search.space import images as points
from dashpot.search.space.defaults import default_techniques, first_candidates
from dashpot.search.space.distributions import Categorical, Numeric
from dashpot.search.space.technique import technique_spaces
from dashpot.techniques.augment.picture import PictureTechnique


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


def test_digits_and_letters_begin_with_combinations_of_their_own(tmp_path: Path) -> None:
    glyph, _ = search(bars(), tmp_path)
    assert {name for techniques, _ in points.GLYPHS.values() for name in techniques} <= names(glyph)
    first = first_candidates(glyph.space)
    assert len(first) == len(points.GLYPHS) + 2  # and the baseline, and everything
    assert "Translation(border='zero', fraction=0.08)" in str(first[1].recipe)


def test_candidates_of_photographs_mix_and_colour_in_one_way(tmp_path: Path) -> None:
    photo, _ = search(noise(), tmp_path)
    assert {"mixup", "cut-mix", "rand-augment", "color-jitter"} <= names(photo)
    rng = np.random.default_rng(0)
    trial = optuna.trial.FixedTrial
    for number in range(40):
        on = {part.name: bool(rng.random() < 0.7) for part in photo.space.techniques}
        values = {name: d.low for name, d in photo.space.distributions().items() if isinstance(d, Numeric)}
        values |= {name: d.values[0] for name, d in photo.space.distributions().items() if isinstance(d, Categorical)}
        chosen = photo.space.sample(trial({**values, **on}, number=number)).params
        assert not (chosen["mixup"] and chosen["cut-mix"])
        assert not (chosen["rand-augment"] and chosen["color-jitter"])
    both = search(noise(), tmp_path, recipe=["mixup", "cut-mix"])[0].space.default()
    assert both.size == 2  # where the user names them, both may be on


def test_the_default_space_of_pictures_is_small(tmp_path: Path) -> None:
    """A search of minutes tries a dozen candidates."""
    for problem in (noise(), bars()):
        found = search(problem, tmp_path)[0].space
        assert len(found.techniques) <= 12
        assert all(len(part.fields) <= 1 for part in found.techniques if part.name not in ("early-stopping", "ema"))


@pytest.mark.parametrize("kind", ["photo", "glyph"])
def test_moves_mean_the_same_on_half_the_pixels(kind: str) -> None:
    """What moves pixels in the default space: its greatest moves at 16 pixels are half of those at 32."""
    parts = technique_spaces(default_techniques("image", "classification", kind))
    moving = [part for part in parts if hasattr(part.base, "border") and part.name != "rand-augment"]
    assert moving
    for part in moving:
        technique = part.at({name: d.high for name, d in part.fields.items()})
        assert isinstance(technique, PictureTechnique)
        reach = []
        for side in (32, 64):
            (warp,) = technique.operations(SampleDraws(1, 400), Size(400, 1, side, side))
            corner = torch.tensor([side - 1.0, side - 1.0, 1.0], dtype=torch.float64)
            there = (warp.matrix @ corner)[:, :2] - corner[:2]
            if warp.knots is not None:
                there = warp.knots.double()
            reach.append(there.std().item())
        assert reach[1] / reach[0] == pytest.approx(2, rel=0.12), part.name
