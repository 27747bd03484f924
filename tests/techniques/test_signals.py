"""What techniques on signals draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.recipe import Recipe
from dashpot.population.members import Member, initial
from dashpot.population.models import StackedModels
from dashpot.population.population import Population
from dashpot.techniques.augment.signal.time_shift import time_shift


@pytest.mark.parametrize(
    ("border", "later", "earlier"),
    [
        ("replicate", [1, 1, 1, 2, 3], [3, 4, 5, 5, 5]),
        ("wrap", [4, 5, 1, 2, 3], [3, 4, 5, 1, 2]),
        ("zero", [0, 0, 1, 2, 3], [3, 4, 5, 0, 0]),
    ],
)
def test_borders_by_hand(border: str, later: list[int], earlier: list[int]) -> None:
    x = torch.arange(1.0, 6.0).expand(2, 1, 5)
    found = time_shift(x, torch.tensor([2, -2]), border)
    assert found[:, 0].tolist() == [later, earlier]


def drawn(technique: dashpot.Technique, x: torch.Tensor) -> torch.Tensor:
    model = torch.nn.Linear(2, 1)
    session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), modality="signal")
    found = session.batch(x).x
    assert isinstance(found, torch.Tensor)
    return found


def test_shifts_are_uniform_up_to_the_fraction() -> None:
    x = torch.zeros(4000, 1, 20)
    x[:, :, 10] = 1.0
    places = drawn(dashpot.augment.TimeShift(fraction=0.25, border="wrap"), x)[:, 0].argmax(-1) - 10
    assert (int(places.min()), int(places.max())) == (-5, 5)
    counts = torch.bincount(places + 5).double()
    # Rounding gives both ends half a share: 9 whole shares and 2 halves, of 4,000 draws with deviations below 20.
    assert bool((counts[1:-1] - 400).abs().max() < 80)
    assert bool((counts[[0, -1]] - 200).abs().max() < 60)


def test_masks_are_as_long_as_asked_and_begin_anywhere() -> None:
    gone = drawn(dashpot.augment.TimeMask(fraction=0.3), torch.ones(4000, 1, 20))[:, 0] == 0
    counts = torch.bincount(gone.sum(-1)).double()
    assert len(counts) == 7  # 0 to 6 steps
    assert bool((counts - 4000 / 7).abs().max() < 100)
    assert bool(gone[:, 0].any())
    assert bool(gone[:, -1].any())


def test_channels_are_moved_alike_and_the_caller_keeps_the_batch() -> None:
    x = torch.randn(8, 1, 30).expand(8, 3, 30).contiguous()
    before = x.clone()
    for technique in (
        dashpot.augment.TimeShift(fraction=0.5),
        dashpot.augment.TimeStretch(scale=0.4),
        dashpot.augment.AmplitudeScale(),
        dashpot.augment.Drift(),
        dashpot.augment.TimeMask(fraction=0.5),
    ):
        found = drawn(technique, x)
        assert torch.equal(found[:, 0], found[:, 2])
        assert not torch.equal(found, x)
        assert torch.equal(x, before)


def test_what_are_no_signals_is_refused() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConflictError, match="for signals, but the inputs are images"):
        dashpot.augment.TimeShift().attach(model, optimizer, modality="image")
    with pytest.raises(UsageError, match=r"signals \[batch, channels, steps\], got shape \[4, 20\]"):
        dashpot.augment.TimeShift().attach(model, optimizer).batch(torch.zeros(4, 20))


def test_members_of_a_population_train_as_alone() -> None:
    x, y = torch.randn(40, 2, 16), torch.arange(40) % 3

    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(32, 3))

    recipes = [
        dashpot.augment.TimeShift(fraction=0.5) | dashpot.augment.Drift(strength=1.0),
        dashpot.augment.TimeShift(fraction=0.2, border="wrap") | dashpot.augment.TimeMask(fraction=0.5),
        dashpot.Recipe(()),
    ]
    members = [Member(make, Recipe.coerce(one), 1e-2, k, np.arange(36)) for k, one in enumerate(recipes)]
    together = Population(members, [(x, y)], epochs=2, batch_size=16, bfloat16=False, device="cpu", modality="signal")
    together.train(2)
    assert [type(group) for group, _ in together._groups] == [StackedModels]
    data = (x[:36], y[:36])
    for k, m in enumerate(members):
        model = initial(m)
        dashpot.fit(
            model, data, recipe=m.recipe, epochs=2, batch_size=16, lr=1e-2, seed=k, modality="signal", progress=False
        )
        own = together.tensors(k)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(own[name], tensor, rtol=1e-4, atol=1e-5)
