"""The default space: which candidates it gives, and in which order."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import pytest

import dashpot
from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.data import load_problem
from dashpot.search.space.defaults import COMBINATIONS, default_techniques, starting_points
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from tests.search.helpers import searching

GOLDEN = Path(__file__).with_name("digits_candidates.json")
"""The first 16 candidates on digits with seed 3, written by the code before presets stood on the techniques."""


def test_the_first_candidates_of_digits_stay_what_they_were(tmp_path: Path) -> None:
    search = searching(load_problem(None, None, None), tmp_path, trials=40, seed=3, epochs=6, cv=3)
    store, found = search.open(), []
    try:
        search.training_budget(store)
        for _ in range(16):
            asked = store.ask(search.space.sample, most=40)
            assert asked is not None
            found.append(dict(asked[1].params))
            store.tell(asked[0], "complete", 1.0 + 0.01 * asked[0], {})
    finally:
        store.close()
    assert found == json.loads(GOLDEN.read_text())


def test_every_technique_of_a_combination_is_in_some_default_space() -> None:
    """A misspelt name would be left out in silence."""
    kinds = itertools.product(("table", "image"), ("classification", "regression"))
    known = {text.split(":")[0] for kind in kinds for text in map(str, default_techniques(*kind))}
    assert {name for techniques, _ in COMBINATIONS.values() for name in techniques} <= known


def test_a_preset_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class derived from one in the default space is in it only with a preset of its own."""
    before = default_techniques("table", "classification")

    class HalfMixup(dashpot.Mixup):
        summary = "mixes pairs of rows of one half"

    assert HalfMixup.preset is dashpot.Mixup.preset
    assert default_techniques("table", "classification") == before


def test_starting_points_of_a_preset_are_tried_alone(tmp_path: Path) -> None:
    class PointedNoise(dashpot.Technique):
        summary = "does nothing, at a point of its own"
        preset = Preset("std=0.1..0.9", tasks=("regression",), points={"usual": {"std": 0.25}})
        std: Annotated[float, Range(0.0, 1.0, search=(0.1, 1.0), off=0.0)] = 0.5
        share: Annotated[float, Range(0.0, 1.0, search=(0.2, 1.0), off=0.0)] = 0.75

    assert "pointed-noise:std=0.1..0.9" in default_techniques("table", "regression")
    assert "pointed-noise:std=0.1..0.9" not in default_techniques("table", "classification")
    space = Space(technique_spaces(["mixup", "pointed-noise:std=0.1..0.9"]), lr=Numeric(1e-4, 1e-2, log=True))
    point: dict[str, Any] = starting_points(space)["pointed-noise: usual"]
    assert point == {"pointed-noise": True, "pointed-noise.std": 0.25, "pointed-noise.share": 0.75}
