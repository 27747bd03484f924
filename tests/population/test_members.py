"""Members that are removed, added, copied or merged, and memory that is short."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.core.errors import UsageError
from dashpot.population import planner, sizes
from dashpot.population.cache import ArchitectureCache
from dashpot.population.models import StackedModels
from dashpot.population.population import Population
from tests.population.helpers import alone, demand_as_alone, demand_equal, member, normed, population, table

D: Any = dashpot
SOME = (
    D.Mixup(alpha=0.3),
    D.Dropout(p=0.2),
    D.LabelSmoothing(smoothing=0.1),
    D.L1(strength=3e-3),
    D.EMA(decay=0.9),
    D.EarlyStopping(patience=9),
)


def many(count: int = 6) -> list[Any]:
    return [member(normed, SOME if k % 2 else SOME[:3], seed=k, lr=1e-2 / (1 + k)) for k in range(count)]


def kinds(together: Population) -> list[list[int]]:
    return [numbers for _, numbers in together._groups]


def test_removing_members_does_not_change_the_others() -> None:
    members = many()
    together = population(members)
    together.train(2)
    before = {i: together.tensors(i) for i in (1, 2, 4)}
    together.keep([5, 3, 0])
    assert together.alive == [0, 3, 5]
    for i, tensors in before.items():
        demand_equal(together.tensors(i), tensors)
    together.train(2)
    for i in (0, 3, 5):
        demand_equal(together.tensors(i), alone(members[i])[0], i, of=members[i])


def test_shrunk_stacks_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashpot.population.planner.MOST", 2)
    members = many()
    together = population(members)
    assert kinds(together) == [[0, 1], [2, 3], [4, 5]]
    together.train(1)
    together.keep([1, 2, 5])
    assert kinds(together) == [[1], [2], [5]]
    together.train(1)
    assert kinds(together) == [[1, 2], [5]]
    together.train(2)
    for i in (1, 2, 5):
        own, result = alone(members[i])
        demand_equal(together.tensors(i), own, i, of=members[i])
        assert together.best_epochs.get(i) == result.best_epoch


def test_what_differs_in_shape_or_epoch_is_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    together = population([member(), member(rows=np.arange(90))])
    together.train(1)
    late = together.add([member(seed=5)])
    together.train(1)
    assert kinds(together) == [[0], [1], late]


def test_members_that_join_later_are_as_alone() -> None:
    first, late = many(2), [member(normed, SOME, seed=7), member(normed, seed=8)]
    together = population(first)
    together.train(2)
    assert together.add(late) == [2, 3]
    assert together.alive == [0, 1, 2, 3]
    together.train(2)
    for i in (0, 1):
        demand_equal(together.tensors(i), alone(first[i])[0], i, of=first[i])
    steps = together.member_steps
    resting = together.tensors(0)
    together.train(2)  # the first two have done all their epochs, and rest
    assert together.member_steps == steps + 2 * 2 * 4
    demand_equal(together.tensors(0), resting)
    for i, m in zip((2, 3), late, strict=True):
        own, result = alone(m)
        demand_equal(together.tensors(i), own, i, of=m)
        assert together.best_epochs.get(i) == result.best_epoch


def test_members_that_join_further_on_the_schedule() -> None:
    together = population([member()])
    (late,) = together.add([member(seed=1)], at_epoch=3)
    together.train(4)
    model = torch.nn.Module()
    assert model.training
    groups = {i: group for group, numbers in together._groups for i in numbers}
    assert groups[late].epoch == groups[0].epoch == 4
    assert together.member_steps == (4 + 1) * 4


@pytest.mark.parametrize("stack", [True, False], ids=["stacked", "one by one"])
def test_a_clone_that_changes_nothing_is_its_original(stack: bool) -> None:
    members = many(3)
    together = population(members, stack=stack)
    together.train(2)
    twin = together.clone(1)
    other = together.clone(1, lr=1e-4, recipe=D.Recipe((D.L1(strength=0.02), D.EMA(decay=0.5))))
    assert (twin, other) == (3, 4)
    assert together.alive == [0, 1, 2, 3, 4]
    together.train(2)
    demand_equal(together.tensors(twin), together.tensors(1))
    demand_equal(together.tensors(1), alone(members[1])[0], of=members[1])
    assert not torch.allclose(together.tensors(other)["3.weight"], together.tensors(1)["3.weight"], atol=1e-4)
    assert together.members[other].lr == 1e-4
    assert kinds(together) == ([[0, 1, 2, 3, 4]] if stack else [[0, 1, 2], [3], [4]])


def test_a_clone_with_another_recipe_is_the_same_stacked_and_one_by_one() -> None:
    results = []
    for stack in (True, False):
        together = population(many(3), stack=stack)
        together.train(2)
        number = together.clone(
            0, lr=3e-3, recipe=D.Recipe((D.Dropout(p=0.4), D.EMA(decay=0.5), D.MaxNorm(maximum=0.5))), seed=9
        )
        together.train(2)
        results.append(together.tensors(number))
    demand_equal(*results, of=many(3)[0])


def test_only_the_living_can_be_copied() -> None:
    together = population(many(2))
    together.keep([1])
    with pytest.raises(UsageError, match="member 0 is not alive"):
        together.clone(0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_and_goes_on(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    original = StackedModels._train_step

    def short(self: StackedModels, *args: Any) -> Any:
        if len(self) > 2 and self.step == 6:  # in the middle of the second epoch
            raise error
        return original(self, *args)

    monkeypatch.setattr(StackedModels, "_train_step", short)
    together = population(many(5))
    together.train(4)
    assert sorted(map(len, kinds(together))) == [1, 2, 2]
    assert [note.split(":")[0] for note in together.notes] == [
        "out of memory with 5 members at once",
        "out of memory with 3 members at once",
    ]
    for i, m in enumerate(many(5)):
        demand_equal(together.tensors(i), alone(m)[0], i, of=m)
    assert together.member_steps == 5 * 4 * 4


def test_other_errors_and_a_single_member_without_memory_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: StackedModels, *args: Any) -> Any:
        raise RuntimeError("something else") if len(self) > 1 else torch.OutOfMemoryError("none left")

    monkeypatch.setattr(StackedModels, "_train_step", broken)
    with pytest.raises(RuntimeError, match="something else"):
        population(many(2)).train(1)
    with pytest.raises(torch.OutOfMemoryError):
        population(many(1)).train(1)


def test_a_deadline_is_seen_between_epochs() -> None:
    together = population(many(2))
    seen: list[int] = []
    assert not together.train(3, deadline=0.0, progress=seen.append)
    assert together.epoch == 0
    assert together.train(2, deadline=float("inf"), progress=seen.append)
    assert seen == [1, 2]


def test_equal_parts() -> None:
    for count in range(1, 40):
        for size in range(1, 12):
            parts = sizes.even(range(count), size)
            assert [i for part in parts for i in part] == list(range(count))
            assert len(parts) == -(-count // size)
            assert max(map(len, parts)) <= size
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from dashpot.core import draws
    from dashpot.techniques.penalties import native

    for module in (draws, native):
        monkeypatch.setattr(module, "kernel", lambda: None)
    demand_as_alone([*many(3), member(normed, (D.GroupLasso(strength=5e-3), D.Mixup(alpha=2.0)), seed=9)])


def test_memory_that_ends_epochs_after_the_last_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are not made before every epoch: what came after the last one is done again, in halves, and is what it
    was.
    """
    original, copy, members = StackedModels._train_step, StackedModels._copy, many(5)
    copied: list[int] = []
    steps_at = iter([22, 30])

    def short(self: StackedModels, *args: Any) -> Any:
        if len(self) > 1 and self.step == wanted[0]:
            wanted[0] = next(steps_at, -1)
            raise MemoryError
        return original(self, *args)

    def counted(models: StackedModels) -> Any:
        copied.append(models.step)
        return copy(models)

    wanted = [next(steps_at)]
    monkeypatch.setattr(StackedModels, "_train_step", short)
    monkeypatch.setattr(StackedModels, "_copy", counted)
    together = population(members, epochs=8)
    together.train(4)
    before = dict(together.best_epochs)
    together.train(4)
    assert copied[:1] == [0]
    assert len(copied) <= 4, "once, and once for each half"
    assert together.epoch == 8
    assert all(group.epoch == 8 for group, _ in together._groups)
    assert together.member_steps == 5 * 8 * 4
    for i, m in enumerate(members):
        own, result = alone(m, epochs=8)
        demand_equal(together.tensors(i), own, i, of=m, epochs=8)
        assert together.best_epochs.get(i) == result.best_epoch
    assert before.keys() == together.best_epochs.keys()


def test_a_copy_is_of_those_who_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has left since the last copy does not come back with it."""
    original, members = StackedModels._train_step, many(4)

    def short(self: StackedModels, *args: Any) -> Any:
        if len(self) == 3 and self.step == 10:
            raise MemoryError
        return original(self, *args)

    monkeypatch.setattr(StackedModels, "_train_step", short)
    together = population(members)
    together.train(1)
    together.keep([0, 2, 3])
    together.train(3)
    assert sorted(map(len, kinds(together))) == [1, 2]
    for i in (0, 2, 3):
        demand_equal(together.tensors(i), alone(members[i])[0], i, of=members[i])


def test_a_stack_that_is_done_is_gone() -> None:
    """Nothing that it holds holds it, so that its memory is free before the next collection of garbage."""
    everything = (*SOME, D.InputNoise(std=0.1), D.WeightDecay(strength=0.1), D.GradientClipping(maximum=1.0))
    together = population([member(normed, everything, seed=k) for k in range(3)])
    together.train(2)
    together.keep([0, 2])
    stack = weakref.ref(together._groups[0][0])
    gc.collect()
    gc.disable()
    try:
        together._groups.clear()
        assert stack() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("named", [True, False])
def test_what_is_known_of_a_shape_is_found_out_once(named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    original = planner.programmed
    monkeypatch.setattr(planner, "programmed", lambda *args: asked.append(args) or original(*args))
    members = [member(normed, SOME, seed=k, shape=("normed",) if named else None) for k in range(3)]
    cache = ArchitectureCache()
    first = population(members, cache=cache)
    first.train(2)
    assert len(asked) == 1
    second = population(members, cache=cache)
    second.train(4)
    assert len(asked) == (1 if named else 2)
    for i, m in enumerate(members):
        demand_equal(second.tensors(i), alone(m)[0], i, of=m)
    # What else it depends on is no secret either: another loss, other columns, and stacks that are not wanted are asked
    # for anew.
    x, y = table()
    values = [(x, y.float().unsqueeze(1).expand(-1, 3).contiguous())]
    population([member(normed, seed=1, shape=("normed",))], values, cache=cache).train(1)
    assert len(asked) == (2 if named else 3)
    population([member(seed=1, shape=("wide",))], cache=cache)
    assert len(asked) == (3 if named else 4)
