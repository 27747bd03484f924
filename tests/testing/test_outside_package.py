"""A package that is not ours proves its technique with the laws that we ship."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from dashpot.core import codec
from dashpot.testing import Row, run_laws

GOOD = '''
"""Gradient noise, by somebody else."""
from typing import Annotated
from dashpot.core.space import Range
from dashpot.core.technique import Technique

class OutsideNoise(Technique):
    """Adds noise to gradients."""
    summary = "adds noise to gradients"
    std: Annotated[float, Range(0.0, float("inf"), search=(1e-3, 1.0), log=True, off=0.0)] = 0.1

    def on_gradient(self, params, ctx):
        draws = ctx.draws()
        for g in params.grads:
            g.add_(draws.normal(g.shape, g.device, g.dtype), alpha=self.std)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def load(folder: Path, name: str, text: str) -> object:
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    finally:
        sys.modules.pop(name, None)


def test_a_good_technique_passes_every_law_and_is_found_by_name(package: Path) -> None:
    module = load(package, "outside_good", GOOD)
    run_laws(Row(module.OutsideNoise(std=0.5)))  # type: ignore[attr-defined]
    assert codec.parse("outside-noise:std=0.3").std == 0.3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "global_draws",
            "draws.normal(g.shape, g.device, g.dtype)",
            "__import__('torch').randn_like(g)",
            "other weights",
        ),
        ("offset", "alpha=self.std", "alpha=self.std + 0.01", "off differs"),
        ("idle", "alpha=self.std", "alpha=0.0", "does nothing"),
    ],
)
def test_a_broken_technique_fails_the_right_law(package: Path, name: str, old: str, new: str, message: str) -> None:
    module = load(
        package,
        f"outside_{name}",
        GOOD.replace("OutsideNoise", f"Outside{name.title().replace('_', '')}").replace(old, new),
    )
    cls = next(value for key, value in vars(module).items() if key.startswith("Outside"))
    with pytest.raises(AssertionError, match=message):
        run_laws(Row(cls(std=0.5)))
