"""Picture techniques in a session, in ``fit`` and in a population: bytes and floats, alone and together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.recipe import Recipe
from dashpot.core.running.session import Session
from dashpot.population.members import Member, initial
from dashpot.population.models import StackedModels
from dashpot.population.population import Population
from dashpot.techniques.augment import picture

FLIP = dashpot.augment.HorizontalFlip(p=0.5)


def images(n: int = 40, channels: int = 3, side: int = 8) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, side, side), generator=g, dtype=torch.uint8)


def session(recipe: Recipe | dashpot.Technique, **options: object) -> Session:
    model = nn.Linear(1, 1)
    return Recipe.coerce(recipe).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), seed=3, **options)


class Net(nn.Module):
    """What reads pixels of any type, and remembers in training mode what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self.seen: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.dtype)
        out: Tensor = self.body(x)
        return out


def test_a_raw_loop_keeps_bytes_and_floats_and_draws_alike() -> None:
    x = images()
    before = x.clone()
    as_bytes = session(FLIP).batch(x).x
    as_floats = session(FLIP).batch(x.float()).x
    last = session(FLIP).batch(x.to(memory_format=torch.channels_last)).x
    assert as_bytes.dtype == torch.uint8
    assert torch.equal(as_bytes.float(), as_floats)
    assert torch.equal(as_bytes, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    turned = (as_bytes == x.flip(3)).flatten(1).all(1)
    kept = (as_bytes == x).flatten(1).all(1)
    assert bool((turned ^ kept).all())
    assert 8 < int(turned.sum()) < 32
    assert torch.equal(x, before)


def test_bytes_are_floats_after_the_last_picture_technique_where_the_loop_says_images() -> None:
    x = images()
    found = session(FLIP | dashpot.InputNoise(std=1e-9), modality="image").batch(x).x
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, session(FLIP).batch(x).x / 255.0)


def test_consecutive_techniques_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = picture.execute
    monkeypatch.setattr(picture, "execute", lambda x, ops, unit: calls.append(len(ops)) or real(x, ops, unit))
    x = images()
    two = session(Recipe((dashpot.augment.HorizontalFlip(p=1.0), dashpot.augment.HorizontalFlip(p=1.0))))
    assert torch.equal(two.batch(x).x, x)
    assert calls == [2]


def test_a_subclass_with_an_on_batch_of_its_own_is_called() -> None:
    class Bright(dashpot.augment.HorizontalFlip):
        summary = ""

        def on_batch(self, batch: dashpot.Batch, ctx: object) -> dashpot.Batch:
            return batch.replace(x=batch.x + 1)

    x = torch.zeros(2, 1, 4, 4)
    assert torch.equal(session(Bright()).batch(x).x, x + 1)


def test_alternate_shows_each_sample_flipped_in_every_second_epoch() -> None:
    x, rows = images(), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    run = session(dashpot.augment.HorizontalFlip(alternate=True))
    seen = []
    for _ in range(3):
        flipped = torch.zeros(40, dtype=torch.bool)
        for part in rows.split(10):
            batch = run.batch(x[part], index=part)
            flipped[part] = (batch.x == x[part].flip(3)).flatten(1).all(1)
        seen.append(flipped)
        run.epoch({"val_loss": 1.0})
        rows = rows.flip(0)
    assert torch.equal(seen[0], ~seen[1])
    assert torch.equal(seen[0], seen[2])
    assert 8 < int(seen[0].sum()) < 32
    with pytest.raises(UsageError, match="index=rows"):
        run.batch(x)


def test_fit_hands_bytes_to_pictures_and_floats_to_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    types = []
    real = picture.execute
    monkeypatch.setattr(picture, "execute", lambda x, ops, unit: types.append(x.dtype) or real(x, ops, unit))
    model, y = Net(), torch.arange(40) % 3
    recipe = dashpot.augment.HorizontalFlip(alternate=True) | dashpot.Mixup(0.2)
    dashpot.fit(model, (images(), y), recipe=recipe, epochs=2, batch_size=16, modality="image", progress=False)
    assert set(types) == {torch.uint8}
    assert set(model.seen) == {torch.float32}


@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_a_population_trains_as_fit_does(kind: str) -> None:
    x, y = images(), torch.arange(40) % 3
    x = x if kind == "bytes" else x / 255.0

    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

    recipes = [Recipe(()), Recipe((FLIP,)), Recipe((dashpot.augment.HorizontalFlip(alternate=True),))]
    members = [Member(make, recipe, 1e-3, k, np.arange(36)) for k, recipe in enumerate([*recipes, recipes[1]])]
    together = Population(members, [(x, y)], epochs=2, batch_size=16, bfloat16=False, device="cpu", modality="image")
    together.train(2)
    assert [type(group) for group, _ in together._groups] == [StackedModels]
    for k, m in enumerate(members):
        model = initial(m)
        data = (x[:36], y[:36])
        dashpot.fit(
            model, data, recipe=m.recipe, epochs=2, batch_size=16, lr=1e-3, seed=k, modality="image", progress=False
        )
        own = together.tensors(k)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(own[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("x", [torch.zeros(4, 6), torch.zeros(4, 3, 8, 8, dtype=torch.int64), {"a": 1}])
def test_what_is_no_image_is_refused_by_name(x: object) -> None:
    with pytest.raises(UsageError, match=r"HorizontalFlip needs images \[batch, channels, height, width\]"):
        session(FLIP).batch(x)


def test_tables_are_refused_at_attach() -> None:
    with pytest.raises(ConflictError, match="HorizontalFlip is for images"):
        session(FLIP, modality="table")


def test_members_of_different_recipes_train_together_as_alone() -> None:
    """Some operations in common, some not, one that needs another interpolation, and a blend behind them."""
    x, y = images(), torch.arange(40) % 3
    aug = dashpot.augment

    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

    recipes = [
        Recipe((aug.HorizontalFlip(), aug.Rotation(20.0))),
        Recipe((aug.Rotation(10.0), aug.RandomCrop(2), dashpot.Mixup(0.4))),
        Recipe((aug.Rotation(10.0, border="zero"),)),
        Recipe((aug.Elastic(0.5, sigma=2.0),)),
        Recipe(()),
    ]
    members = [Member(make, recipe, 1e-3, k, np.arange(36)) for k, recipe in enumerate(recipes)]
    together = Population(members, [(x, y)], epochs=2, batch_size=16, bfloat16=False, device="cpu", modality="image")
    together.train(2)
    assert [type(group) for group, _ in together._groups] == [StackedModels]
    for k, m in enumerate(members):
        model, options = initial(m), {"epochs": 2, "batch_size": 16, "lr": 1e-3, "seed": k, "modality": "image"}
        dashpot.fit(model, (x[:36], y[:36]), recipe=m.recipe, progress=False, **options)
        own = together.tensors(k)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(own[name], tensor, rtol=1e-4, atol=1e-5)
