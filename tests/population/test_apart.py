"""What members must not share, or take from one another: places, topologies, stopping, recipes, schedules, templates;
and how much is evaluated at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.population.members import initial
from dashpot.population.models import StackedModels
from tests.population.helpers import demand_as_alone, demand_equal, member, normed, population

FIRST, SECOND = dashpot.Dropout(p=0.3, on="name:2"), dashpot.Dropout(p=0.5, on="name:5")
STOPPING = dashpot.EarlyStopping(patience=50)


def two_dropouts() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 3)
    )


def test_several_dropouts_in_one_recipe_at_places_of_their_own() -> None:
    turned = dashpot.Dropout(p=0.1, on="name:5"), dashpot.Dropout(p=0.2, on="name:2"), dashpot.L1(strength=1e-3)
    recipes = [(FIRST, SECOND), (SECOND, FIRST), (SECOND,), (), (FIRST,), turned]
    demand_as_alone([member(two_dropouts, recipe, seed=k) for k, recipe in enumerate(recipes)])


class Skipping(nn.Module):
    """Two topologies over layers of the same names."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.a, self.b, self.c, self.act = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 3), nn.ReLU()
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.a(x))
        g: Tensor = self.b(h)
        return self.c(g + h if self.skip else g)  # type: ignore[no-any-return]  # modules are Any to mypy


def test_networks_without_a_name_for_their_shape_are_not_taken_for_one_another() -> None:
    members = [member(lambda: Skipping(False), seed=1), member(lambda: Skipping(True), seed=2, batch_size=24)]
    demand_as_alone(members)


@pytest.mark.parametrize("stack", [True, False])
def test_a_clone_without_stopping_ends_with_its_own_last_weights(stack: bool) -> None:
    together = population([member(techniques=(STOPPING,), seed=1)], epochs=8, stack=stack)
    together.train(2)
    clone = together.clone(0, recipe=dashpot.Recipe((dashpot.L1(strength=1e-4),)), seed=5)
    before = {key: value.clone() for key, value in together.tensors(clone).items()}
    together.train(5)
    assert any(not torch.equal(before[key], value) for key, value in together.tensors(clone).items())
    assert clone not in together.best_epochs
    assert 0 in together.best_epochs


def test_an_empty_recipe_is_a_recipe() -> None:
    together = population([member(techniques=(dashpot.L1(strength=1e-2),))])
    together.train(1)
    assert not together.members[together.clone(0, recipe=dashpot.Recipe(()))].recipe
    assert together.members[together.clone(0)].recipe


def test_who_joins_later_is_on_the_same_schedule_stacked_or_not() -> None:
    techniques = (
        dashpot.L1(strength="0to5e-3@from=2steps@until=8steps"),
        dashpot.Dropout(p=0.2),
        dashpot.EMA(decay=0.9),
    )

    def joined(stack: bool) -> dict[str, Tensor]:
        together = population([member(normed, techniques, seed=0)], stack=stack)
        late = together.add([member(normed, techniques, seed=1)], at_epoch=2)[0]
        together.train(2)
        return dict(together.tensors(late))

    demand_equal(joined(True), joined(False), of=member(normed, techniques, seed=1))


class Counting(nn.Module):
    """State of its own that no copy may leave behind."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.a, self.b, self.c = 0, nn.Linear(6, 16), nn.PReLU(), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.c(self.b(self.a(x)))  # type: ignore[no-any-return]  # modules are Any to mypy


def test_trying_a_network_out_leaves_its_own_state_alone() -> None:
    together = population([member(Counting, seed=k) for k in (1, 2)])
    network = together._groups[0][0].block.network
    assert network.__dict__["plain"].calls == initial(member(Counting)).calls == 0


def smooth() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 3))


@pytest.mark.parametrize("make", [normed, smooth])
def test_clones_in_another_population_may_be_gathered_at_the_same_time(make: Callable[[], nn.Module]) -> None:
    here, there = (population([member(make, seed=seed)]) for seed in (1, 3))
    here.train(1)
    there.train(1)
    number = here.clone(0, into=there)
    groups = [here._groups[0][0], next(group for group, own in there._groups if number in own)]
    assert groups[0].template is not groups[1].template
    failed: list[BaseException] = []

    def gather(group: StackedModels) -> None:
        try:
            for _ in range(20):
                StackedModels.gathered(list(group.members), [(group, 0)])
        except BaseException as error:  # a thread's error is the test's
            failed.append(error)

    threads = [threading.Thread(target=gather, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_wide_network_is_evaluated_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 3))

    together = population([member(wide)])
    together.train(1)
    executor = together._groups[0][0].executor
    if executor is None:
        pytest.skip("no C++ compiler here")
    rows, whole = [], executor.outputs
    monkeypatch.setattr(executor, "outputs", lambda x, *now: rows.append(x.shape[1]) or whole(x, *now))
    outputs = together.outputs({0: np.tile(np.arange(160), 100)})[0]
    assert sum(rows) == 16_000
    assert max(rows) * 2 * 512 <= 1 << 22
    expected = together.outputs({0: np.arange(160)})[0]
    torch.testing.assert_close(outputs, expected.repeat(100, 1), rtol=1e-5, atol=1e-6)
