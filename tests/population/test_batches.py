"""Members with batch sizes of their own are the networks that ``dashpot.fit`` trains in such batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.population import planner
from dashpot.population.mapped import mapped
from dashpot.population.models import StackedModels
from dashpot.population.population import Population
from tests.population.helpers import BATCH, alone, demand_as_alone, demand_equal, member, mlp, normed, population
from tests.population.ways import WAYS, by_autograd, by_program, by_vmap, one_by_one

D: Any = dashpot
SIZES = (None, 17, 48, 500)
"""The plan's; one whose last batch of one row joins the one before; one with a shorter last batch; more than there are
rows.
"""
STEPS = {None: 4, 17: 7, 48: 3, 500: 1}
SOME = (
    D.Mixup(alpha=0.3),
    D.Dropout(p=0.2),
    D.LabelSmoothing(smoothing=0.1),
    D.L1(strength=3e-3),
    D.EMA(decay=0.9),
    D.EarlyStopping(patience=9),
)
RECIPES: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "inputs and targets": (D.InputNoise(std=0.2), D.Mixup(alpha=0.3), D.LabelSmoothing(smoothing=0.1)),
    "a penalty that rises": (
        D.L1(strength="0to5e-3@from=2steps@until=8steps"),
        D.WeightDecay(strength=0.3),
    ),
    "averages": (D.EMA(decay=0.9), D.GradientClipping(maximum=0.2)),
    "two gradients": (D.SAM(rho=0.05),),
    "the best epoch": (D.EarlyStopping(patience=1),),
}


def kinds(together: Population) -> list[list[int]]:
    return [numbers for _, numbers in together._groups]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", RECIPES)
def test_as_alone(name: str, way: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    way(monkeypatch)
    members = [
        member(techniques=RECIPES[name], seed=k, lr=1e-2 if k < 4 else 0.1, batch_size=size)
        for k, size in enumerate((*SIZES, 17, 48))
    ]
    together = demand_as_alone(members, notes=WAYS[way], epochs=5)
    if name == "the best epoch":
        return
    assert together.member_steps == 5 * sum(STEPS[m.batch_size] for m in members)
    group = together._groups[0][0]
    assert isinstance(group, StackedModels) == (way is not one_by_one)
    if isinstance(group, StackedModels):
        assert (group.executor is not None, group.stack is mapped) == (way is by_program, way is by_vmap)


def test_batch_sizes_make_a_difference() -> None:
    """Or the tests here would say nothing."""
    together = population([member(batch_size=size) for size in SIZES])
    together.train(4)
    first = [together.tensors(i)["body.0.weight"] for i in range(4)]
    assert all(not torch.allclose(first[i], first[j], atol=1e-3) for i in range(4) for j in range(i))


def test_dropout_and_running_statistics() -> None:
    demand_as_alone([member(normed, SOME, seed=k, batch_size=size) for k, size in enumerate((20, None, 20, 60, 60))])


def test_only_equal_batches_share_a_stack() -> None:
    together = population([member(batch_size=size) for size in (None, 16, BATCH, 16, 64)])
    assert kinds(together) == [[0, 2], [1, 3], [4]], "the plan's own number said aloud is the plan's"


def test_members_that_join_on_the_schedule_have_done_their_own_steps() -> None:
    together = population([member(seed=0)])
    late = together.add([member(seed=1, batch_size=17), member(seed=2), member(seed=3, batch_size=48)], at_epoch=3)
    steps = {i: group.step for group, numbers in together._groups for i in numbers}
    assert [steps[i] for i in late] == [3 * 7, 3 * 4, 3 * 3]
    together.train(4)
    groups = {i: group for group, numbers in together._groups for i in numbers}
    assert {group.epoch for group in groups.values()} == {4}
    assert [groups[i].step for i in (0, *late)] == [4 * 4, 4 * 7, 4 * 4, 4 * 3]


def test_shrunk_stacks_are_merged_by_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "MOST", 2)
    members = [member(normed, SOME if k % 2 else SOME[:3], seed=k, batch_size=16 if k % 2 else None) for k in range(8)]
    together = population(members)
    assert kinds(together) == [[0, 2], [4, 6], [1, 3], [5, 7]]
    together.train(1)
    together.keep([0, 1, 6, 7])
    together.train(1)
    assert sorted(kinds(together)) == [[0, 6], [1, 7]]
    together.train(2)
    for i in (0, 1, 6, 7):
        own, result = alone(members[i])
        demand_equal(together.tensors(i), own, i, of=members[i])
        assert together.best_epochs.get(i) == result.best_epoch


@pytest.mark.parametrize("stack", [True, False], ids=["stacked", "one by one"])
def test_a_clone_keeps_the_batches_of_its_original(stack: bool) -> None:
    together = population([member(normed, SOME, seed=1, batch_size=17), member(normed, seed=2)], stack=stack)
    together.train(2)
    twin = together.clone(0)
    assert together.members[twin].batch_size == 17
    other = together.clone(0, lr=1e-4)
    together.train(2)
    demand_equal(together.tensors(twin), together.tensors(0))
    demand_equal(together.tensors(twin), alone(together.members[0])[0], of=together.members[0])
    assert not torch.equal(together.tensors(other)["0.weight"], together.tensors(0)["0.weight"])


def test_out_of_memory_halves_the_stack_that_was_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    original = StackedModels._train_step

    def short(self: StackedModels, x: torch.Tensor, *args: Any) -> Any:
        if len(self) > 1 and x.shape[1] > 40 and self.step == 4:  # in the middle of the second epoch
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, x, *args)

    monkeypatch.setattr(StackedModels, "_train_step", short)
    members = [member(normed, SOME, seed=k, batch_size=48 if k % 2 else None) for k in range(4)]
    together = population(members)
    together.train(4)
    assert sorted(kinds(together)) == [[0, 2], [1], [3]]
    for i, m in enumerate(members):
        demand_equal(together.tensors(i), alone(m)[0], i, of=m)


def test_a_wide_batch_makes_smaller_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory for activations is what limits a stack, it is the member's own batch that counts."""
    by_autograd(monkeypatch)
    monkeypatch.setattr(planner, "ELEMENTS", 4 * 32 * 16)
    together = population([member(seed=k, batch_size=size) for size in (None, 64) for k in range(4)])
    assert kinds(together) == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_what_fit_refuses_by_the_batch_is_refused() -> None:
    """Batch normalization cannot train on one row."""
    with pytest.raises(dashpot.ConflictError, match="at least 2, got 1") as own:
        alone(member(normed, batch_size=1))
    for stack in (True, False):
        with pytest.raises(dashpot.ConflictError) as caught:
            population([member(normed), member(normed, batch_size=1)], stack=stack)
        assert str(caught.value) == str(own.value)


def test_rows_of_each_member() -> None:
    """Batches and rows are counted apart: members with as many steps need not be alike."""
    make: Callable[[], nn.Module] = mlp
    members = [member(make, SOME, seed=1, rows=np.arange(60), batch_size=15), member(make, SOME, seed=2, batch_size=30)]
    together = demand_as_alone(members)
    assert len(together._groups) == 2
