"""A package that is not ours proves its technique with the laws that we ship."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core import registry
from dashpot.core.fields import codec
from dashpot.population.members import Member, initial
from dashpot.population.population import Population
from dashpot.search.space.defaults import default_techniques
from dashpot.testing import Row, run_laws

GOOD = '''
"""Gradient noise, by another package."""
from typing import Annotated
from dashpot.core.fields.domains import Range
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
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))  # what a test defines ends with it
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
    run_laws(Row(module.OutsideNoise(std=0.5)))  # type: ignore[attr-defined]  # made by the test
    assert codec.parse("outside-noise:std=0.3").std == 0.3  # type: ignore[attr-defined]  # made by the test


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


UNITS = '''
"""Dropout of whole units for a whole batch, by another package: alone, and its form for stacks of members."""
from typing import Annotated
import numpy as np
from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive_all, stream, uniform_at
from dashpot.core.fields.select import Where, hidden
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique


def drop_units(x, uniform, p):
    """Zero where the unit's number is below p; the rest is scaled up."""
    return x * ((uniform >= p) / (1 - p))


class StackedUnits(StackedTechnique):
    def read(self):
        self.p = self.values("p", 0.0)
        self.places = {n: None for t in self.techniques if t is not None for n in self.stack.places(t.on)}

    def sites(self):
        return list(self.places)

    def on_activation(self, site, x, call):
        keys = np.array([stream(int(key), site) for key in self.keys], dtype=np.uint64)
        uniform = uniform_by(derive_all(keys, self.stack.step, call), x.shape[-1], x.device)
        return drop_units(x, uniform.unsqueeze(1), self.wide(self.p, x.ndim))


class OutsideUnits(Technique):
    """Drops units."""
    summary = "drops units"
    stacked = StackedUnits
    p: Annotated[float, Range(0.0, 0.9, search=(0.05, 0.6), off=0.0)] = 0.1
    on: Annotated[Where, Selection()] = hidden

    def on_model(self, view, ctx):
        return [Hook(module, ctx, name) for name, module in view.places(self.on).items()]


class Hook:
    def __init__(self, module, ctx, name):
        self.p, self.clock, self.key = ctx.scalar("p"), ctx.clock(), stream(ctx.key, name)
        self.handle = module.register_forward_hook(self)

    def __call__(self, module, args, x):
        if not module.training:
            return None
        uniform = uniform_at(self.key, self.clock, x.shape[-1:], x.device)
        self.clock[1] += 1
        return drop_units(x, uniform, self.p)

    def remove(self):
        self.handle.remove()

    def strip(self, twin):
        for module in twin.modules():
            for number, hook in list(module._forward_hooks.items()):
                if isinstance(hook, Hook):
                    del module._forward_hooks[number]
'''


def test_an_activation_dropout_of_another_package_is_in_a_population_what_it_is_alone(package: Path) -> None:
    module = load(package, "outside_units", UNITS)
    run_laws(Row(module.OutsideUnits(p=0.5)))  # type: ignore[attr-defined]  # made by the test
    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

    texts = ["outside-units:p=0.4", "dropout:p=0.2", "outside-units:p=0.5to0", ""]
    recipes = [dashpot.Recipe(() if not text else (codec.parse(text),)) for text in texts]
    members = [Member(make, recipe, lr=1e-2, seed=k, rows=np.arange(60)) for k, recipe in enumerate(recipes)]
    together = Population(members, [(x, y)], epochs=4, batch_size=20, device="cpu", bfloat16=False)
    together.train(4)
    assert not together.notes
    for k, member in enumerate(members):
        model = initial(member)
        settings = {"lr": member.lr, "seed": k, "epochs": 4, "batch_size": 20, "device": "cpu", "progress": False}
        dashpot.fit(model, (x[:60], y[:60]), recipe=member.recipe, **settings)
        for name, own in model.state_dict().items():
            torch.testing.assert_close(together.tensors(k)[name], own, rtol=1e-4, atol=1e-5)


SEARCHED = '''
"""Two techniques of one slot, by another package; one of them in the default search space."""
from typing import Annotated
from dashpot.core.preset import Preset
from dashpot.core.fields.domains import Range
from dashpot.core.technique import Technique

class OutsideShrink(Technique):
    """Shrinks gradients."""
    summary = "shrinks gradients"
    exclusive = ("outside slot",)
    preset = Preset("share=0.1..0.5", modalities=("table",), points={"usual": {"share": 0.25}})
    share: Annotated[float, Range(0.0, 1.0, search=(0.01, 0.9), off=0.0)] = 0.2

    def on_gradient(self, params, ctx):
        for g in params.grads:
            g.mul_(1 - self.share)

class OutsideSign(Technique):
    """Gradients by their sign."""
    summary = "gradients by their sign"
    exclusive = ("outside slot",)

    def on_gradient(self, params, ctx):
        for g in params.grads:
            g.sign_()
'''


def test_a_preset_and_an_exclusive_slot_are_taken_into_the_search(package: Path) -> None:
    """The one with a preset is in the default space and trained; the other is its alternative, where both are named."""
    kept = load(package, "outside_searched", SEARCHED)
    x = np.random.default_rng(0).normal(size=(90, 3)).astype("float32")
    y = np.where(x[:, 0] > 0, "yes", "no")
    quick = dashpot.SearchConfig(cv=2, epochs=2, explain=False, test=False, device="cpu")
    names = [text.split(":")[0] for text in map(str, default_techniques("table", "classification"))]
    assert kept is not None
    assert names[-1] == "outside-shrink"
    assert "outside-sign" not in names
    assert not any("outside" in str(text) for text in default_techniques("image", "classification"))

    record = dashpot.tune((x, y), trials=14, seed=2, config=quick, progress=False).record
    assert record["space"]["outside-shrink.share"] == "0.1..0.5"
    alone = [c["params"] for c in record["candidates"] if c["recipe"] == "OutsideShrink(share=0.25)"]
    assert alone, "its starting point"

    both = ["outside-shrink", "outside-sign"]
    rows = dashpot.tune((x, y), recipe=both, trials=12, config=quick, progress=False).record["candidates"]
    assert {tuple(bool(row["params"][name]) for name in both) for row in rows} == {
        (False, False),
        (True, False),
        (False, True),
    }
    assert not [row["reason"] for row in rows if row["state"] == "failed"]


ANOTHER = '''
"""An image augmentation and a penalty, by another package."""
from dataclasses import field
from typing import Annotated

import torch

from dashpot.core.running.batch import Batch
from dashpot.core.requires import Requires
from dashpot.core.fields.domains import Range
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.penalty import Penalty


class OutsideErase(Technique):
    """Sets a random share of pixels to zero."""

    summary = "sets random pixels to zero"
    requires = Requires(modality=("image",), float_input=True)
    share: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0)] = field(default=0.2, kw_only=False)

    def on_batch(self, batch: Batch, ctx) -> Batch:
        kept = ctx.draws().uniform(batch.x.shape, batch.x.device) >= self.share
        return batch.replace(x=batch.x * kept.to(batch.x.dtype))


class OutsideRoot(Penalty):
    """Hard thresholds at the strength itself: a made-up penalty."""

    summary = "zeroes weights below a size"
    separable = True
    convex = False

    def penalty_value(self, w, strength):
        return strength * (w != 0).sum().to(w.dtype)

    def penalty_prox(self, w, step, strength):
        return torch.where(w.square() <= 2 * step * strength, torch.zeros_like(w), w)

    def penalty_stationarity(self, w, grad, strength):
        return grad.abs() * (w != 0)
'''


def test_an_augmentation_and_a_penalty_of_another_package_are_whole(package: Path) -> None:
    module = load(package, "outside_another", ANOTHER)
    run_laws(Row(module.OutsideErase(0.5)), without=("compiles",))  # type: ignore[attr-defined]  # made by the test
    run_laws(Row(module.OutsideRoot(0.01)), without=("compiles",))  # type: ignore[attr-defined]  # made by the test
    recipe = dashpot.Recipe.coerce("outside-erase:share=0.5to0 | outside-root:strength=0.02@from=50%")
    assert not recipe[0].requires.fits("table")
    assert recipe[1].exclusive == dashpot.L1.exclusive
    with pytest.raises(dashpot.ConflictError, match="both want the proximal step"):
        model = nn.Linear(4, 2)
        (recipe | dashpot.L1()).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=10)
    x = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
    weights = {}
    for name, given in (("plain", None), ("with", recipe), ("again", codec.loads(codec.dumps(recipe)))):
        torch.manual_seed(0)
        model = nn.Linear(16, 2)
        dashpot.fit(model, (x, (x[:, 0] > 0.5).long()), recipe=given, epochs=4, batch_size=16, progress=False)
        weights[name] = model.weight.detach()
    assert (weights["with"] == 0).any()
    assert not (weights["plain"] == 0).any()
    assert torch.equal(weights["with"], weights["again"])
