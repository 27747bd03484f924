"""The search for a network of one's own, on images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.errors import ConfigError
from dashpot.data.problem import Problem
from dashpot.search.config import SearchConfig
from dashpot.search.inputs import factory_of
from dashpot.search.own import own_space, own_techniques
from dashpot.search.run import Search


def problem(size: int = 24, n: int = 60, channels: int = 3) -> Problem:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, channels, size, size)).astype(np.uint8)
    return Problem("noise", x, np.arange(n) % 2)


class Fixed(nn.Module):
    """Takes images of 24 pixels only, and says so; its inputs are standardized."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 24 * 24, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1:] == (3, 24, 24)
        assert x.dtype == torch.float32
        found: torch.Tensor = self.head(x.flatten(1))
        return found


def broken() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(7, 2))


def search(folder: Path, model: Any, notes: list[str], **options: Any) -> Search:
    one, config, make = problem(), SearchConfig(budget=600.0, device="cpu", **options), factory_of(model)
    return Search(
        one,
        config,
        folder,
        make=make,
        space=lambda prepared: own_space(one, prepared, make, config, {}, note=notes.append),
    )


def test_it_races_at_full_size_and_its_final_network_is_trained_apart(tmp_path: Path) -> None:
    notes: list[str] = []
    one = search(tmp_path, Fixed, notes)
    assert one.whole is not None
    assert one.task.x.shape[-2:] == one.whole.x.shape[-2:] == (24, 24)
    assert one.task.modality == "image"
    names = {part.name for part in one.space.techniques}
    assert {"horizontal-flip", "random-crop", "weight-decay"} <= names
    assert "time-shift" not in names
    assert any("photographs" in note for note in notes)
    assert frozenset(("mixup", "cut-mix")) in one.space.conflicts
    # Raw pixels reach it standardized: here uniform bytes, so about mean 0 and deviation 1.
    seen: list[torch.Tensor] = []
    network = one.task.make({})
    network.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))  # type: ignore[union-attr]  # a Linear
    network(one.task.x)
    assert abs(float(seen[0].mean())) < 0.01
    assert float(seen[0].std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (broken, r"model must be a network for inputs \[n, 3, 24, 24\] of uint8, .* It is made by .*broken\.$"),
        (lambda: Fixed(5), r"one logit per class.* got \[4, 5\]\. It is made by .*<lambda>"),
        (lambda: 3, r"what model returns must be an nn\.Module, got 'int'\. It is .*<lambda>"),
    ],
)
def test_a_network_that_does_not_fit_is_named(tmp_path: Path, model: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(tmp_path, model, [])


def test_glyphs_are_never_flipped_and_what_is_left_out_must_be_there() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((60, 1, 12, 12), dtype=np.uint8)
    x[:, :, 4:8, 5] = rng.integers(100, 256, (60, 1, 4))
    glyphs = Problem("strokes", x, np.arange(60) % 2)
    parts = own_techniques(glyphs, glyphs.prepare(np.arange(60)), None, ["ema"])
    names = {part.name for part in parts}
    assert "translation" in names
    assert not names & {"horizontal-flip", "ema"}
    with pytest.raises(ConfigError, match="without must be one of"):
        own_techniques(glyphs, glyphs.prepare(np.arange(60)), None, ["horizontal-flip"])


def test_tensors_that_are_used_as_they_are_take_named_techniques_on_images() -> None:
    x, y = torch.rand(60, 3, 24, 24), torch.arange(60) % 2
    names, options = ["horizontal-flip", "random-crop:padding=0.125"], {"trials": 2, "epochs": 1, "cv": 2}
    config = dashpot.SearchConfig(explain=False, **options)  # type: ignore[arg-type]  # options of any field
    result = dashpot.tune((x, y), model=Fixed, recipe=names, config=config, progress=False)
    assert any("horizontal-flip" in candidate["params"] for candidate in result.record["candidates"])
    assert result.predict_proba(x[:3]).shape == (3, 2)
    assert not result.is_run
    with pytest.raises(ConfigError, match="give X / 255, or the images as a file or folder"):
        dashpot.tune(((x * 255).byte(), y), model=Fixed, config=config, progress=False)
