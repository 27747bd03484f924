"""Techniques of another package, with a form for stacks, are in a stack what they are alone, beside members without
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dashpot
from dashpot.core.draws import uniform_by
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.rng import derive_all, stream, uniform_at
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.population.models import StackedModels
from dashpot.population.sequential import SequentialTrainer
from dashpot.techniques.dropout.dropout import StackedDropout
from dashpot.techniques.penalties.penalty import Penalty
from tests.population.helpers import alone, demand_as_alone, demand_equal, member, normed, population

D: Any = dashpot


class StackedJitter(StackedTechnique):
    def read(self) -> None:
        self.names = list(dict.fromkeys(n for t in self.declared if t is not None for n in self.stack.places(t.on)))
        self.by = self.values("by", 0.0)

    def sites(self) -> Sequence[str]:
        return self.names

    def on_activation(self, site: str, x: Tensor, call: int) -> Tensor:
        keys = np.array([stream(int(key), site) for key in self.keys], dtype=np.uint64)
        uniform = uniform_by(derive_all(keys, self.stack.step, call), x[0].numel()).view(x.shape)
        return x * (1 + self.wide(self.by, x.ndim) * (uniform - 0.5))


class ActivationJitter(D.Technique):
    """An activation dropout that drops nothing: it multiplies by numbers around 1."""

    stacked = StackedJitter
    by: Annotated[float, Range(0.0, 2.0, off=0.0)] = 0.5
    on: Annotated[Where, Selection()] = hidden

    def on_model(self, view: Any, ctx: Any) -> list[Any]:
        def hook(name: str, clock: Tensor) -> Any:
            def act(module: Any, args: Any, out: Tensor) -> Tensor | None:
                if not module.training:
                    return None
                uniform = uniform_at(stream(ctx.key, name), clock, out.shape, out.device)
                clock[1] += 1
                return out * (1 + by * (uniform - 0.5))

            return act

        by = ctx.scalar("by")
        return [module.register_forward_hook(hook(name, ctx.clock())) for name, module in view.places(self.on).items()]


class StackedFloor(StackedTechnique):
    def read(self) -> None:
        self.levels = self.values("level", 0.0)

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        level = self.wide(self.levels, 1).repeat_interleave(len(loss) // len(self.levels))
        return (loss - level).abs() + level


class FloodedLoss(D.Technique):
    """Flooding, sample by sample."""

    stacked = StackedFloor
    level: Annotated[float, Range(0.0, float("inf"), off=0.0)] = 0.5

    def on_loss(self, loss: Tensor, out: Any, ctx: Any) -> Tensor:
        return (loss - self.level).abs() + self.level


class StackedMean(StackedTechnique):
    def init(self) -> dict[str, Tensor]:
        return {"mean": self.stack.block.values.clone()}

    def on_step(self) -> None:
        self.state["mean"].lerp_(self.stack.block.values, 1 / (self.stack.step + 2))

    def weights(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.state["mean"], {}


class MeanWeights(D.Technique):
    """The mean of all weights on the way."""

    stacked = StackedMean
    exclusive = ("averaged weights",)
    order = 10

    def init(self, view: Any, ctx: Any) -> dict[str, Any]:
        return {"mean": {name: p.detach().clone() for name, p in view.parameters.items()}}

    def on_step(self, params: Any, ctx: Any) -> None:
        for name, mean in ctx.state["mean"].items():
            mean.lerp_(ctx.view.parameters[name], 1 / (ctx.step + 2))

    def weights(self, ctx: Any) -> dict[str, Tensor]:
        return {
            name: mean * (ctx.view.parameters[name] != 0) if name in ctx.sparse else mean
            for name, mean in ctx.state["mean"].items()
        }


class StackedLookAhead(StackedTechnique):
    def on_gradient(self, grads: list[Tensor]) -> Iterator[None]:
        block = self.stack.block
        start, by = block.values.clone(), self.values("by", 0.0)
        for p, g in zip(block.parameters, grads, strict=True):
            p.detach().sub_(self.wide(by, g.ndim) * g)
        yield
        block.values.copy_(start)


class LookAhead(D.Technique):
    """The gradient after a step (extragradient)."""

    stacked = StackedLookAhead
    evaluations = 2
    by: Annotated[float, Range(0.0, 1.0, off=0.0)] = 0.1

    def on_gradient(self, params: Any, ctx: Any) -> Iterator[None]:
        start = [w.detach().clone() for w in params.tensors]
        torch._foreach_sub_(params.tensors, [self.by * g for g in params.grads])
        yield
        torch._foreach_copy_(params.tensors, start)


class PlainPenalty(Penalty):
    """A penalty that needs no form of its own: its map is enough."""

    def penalty_value(self, w: Tensor, strength: Any) -> Tensor:
        return strength * w.abs().sum()

    def penalty_prox(self, w: Tensor, step: Any, strength: Any) -> Tensor:
        return w.sign() * (w.abs() - step * strength).relu()


class Scattered(D.Dropout):
    """Dropout by another name, which says that the same form fits it."""

    stacked = StackedDropout


FORMS: dict[str, tuple[Any, ...]] = {
    "activations": (ActivationJitter(by=1.0),),
    "losses": (FloodedLoss(level=0.3),),
    "averages": (MeanWeights(),),
    "averages of sparse weights": (D.L1(strength=5e-3), MeanWeights()),
    "two gradients": (LookAhead(by=0.5),),
    "two gradients, asked for twice": (D.L2(strength=0.1), LookAhead(by=0.5), D.SAM(rho=0.1)),
    "a penalty": (PlainPenalty(strength=5e-3),),
    "dropout": (Scattered(p=0.3),),
}
BY_PROGRAM = {"averages", "averages of sparse weights", "a penalty", "dropout"} | {
    name for name in FORMS if name.startswith("two")
}


@pytest.mark.parametrize("name", FORMS)
def test_as_alone_beside_members_without_it(name: str) -> None:
    members = [
        member(techniques=FORMS[name], seed=1),
        member(techniques=(D.Mixup(alpha=0.3), D.EMA(decay=0.8)), seed=2),
        member(techniques=FORMS[name], seed=3, lr=3e-3),
        member(seed=4),
    ]
    together = demand_as_alone(members)
    (group, _), *others = together._groups
    assert not others
    assert isinstance(group, StackedModels)
    assert group.executor is None or name in BY_PROGRAM


@pytest.mark.parametrize("name", FORMS)
def test_it_does_something(name: str) -> None:
    """Or the test above would say nothing."""
    with_it, without = population([member(techniques=FORMS[name])]), population([member()])
    for each in (with_it, without):
        each.train(2)
    assert not torch.equal(with_it.tensors(0)["body.0.weight"], without.tensors(0)["body.0.weight"])


def test_activations_and_losses_of_ones_own_end_the_program_only_where_they_are() -> None:
    from dashpot.population.program.executor import kernel

    if kernel() is None:
        assert population([member()])._groups[0][0].executor is None
        return
    for techniques, runs in (
        ((), True),
        ((Scattered(p=0.3),), True),
        ((ActivationJitter(),), False),
        ((FloodedLoss(),), False),
    ):
        group = population([member(techniques=techniques), member(seed=1)])._groups[0][0]
        assert (group.executor is not None) == runs


def test_state_follows_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving, joining, copies, merging, and memory that ends in the middle of an epoch."""
    original, failed = StackedModels._train_step, []

    def short(self: StackedModels, *args: Any) -> Any:
        if len(self) == 3 and self.step == 10:
            failed.append(self.step)
            raise MemoryError
        return original(self, *args)

    monkeypatch.setattr(StackedModels, "_train_step", short)
    members = [member(normed, (MeanWeights(),) if k != 1 else (), seed=k) for k in range(4)]
    together = population(members)
    together.train(2)
    together.keep([3, 1, 0])
    twin = together.clone(3)
    together.keep([3, 1, twin])
    together.train(2)
    assert failed
    for i, original_number in ((3, 3), (1, 1), (twin, 3)):
        demand_equal(together.tensors(i), alone(members[original_number])[0], i)


def test_without_a_form_it_is_trained_alone_and_the_reason_is_said() -> None:
    class HalvedGradient(D.Technique):
        def on_gradient(self, params: Any, ctx: Any) -> None:
            torch._foreach_mul_(params.grads, 0.5)

    together = demand_as_alone([member(techniques=(HalvedGradient(),)), member(seed=1)], notes=1)
    assert together.notes == ["trained one by one: HalvedGradient has no stacked form"]
    assert sorted(type(group).__name__ for group, _ in together._groups) == ["SequentialTrainer", "StackedModels"]


def test_a_subclass_does_not_inherit_a_form_that_may_not_fit_it() -> None:
    class HalvedDropout(D.Dropout):
        def on_model(self, view: Any, ctx: Any) -> Any:
            return D.Dropout(p=self.p / 2, on=self.on).on_model(view, ctx)

    class SameMixup(D.Mixup):
        pass

    class RestlessL1(D.L1):
        def on_step(self, params: Any, ctx: Any) -> None:
            return None

    class UnstackedL2(D.L2):
        stacked = None

    for technique in (HalvedDropout(p=0.4), SameMixup(), RestlessL1(), UnstackedL2()):
        together = population([member(techniques=(technique,))])
        assert isinstance(together._groups[0][0], SequentialTrainer)
        assert together.notes == [f"trained one by one: {type(technique).__name__} has no stacked form"]


def test_a_form_that_changes_what_the_program_would_do_must_say_so_again() -> None:
    class Softer(StackedDropout):
        def on_activation(self, site: str, x: Tensor, call: int) -> Tensor:
            return 0.5 * x

    class SoftDropout(D.Dropout):
        stacked = Softer

    assert population([member(techniques=(SoftDropout(),))])._groups[0][0].executor is None


def test_two_classes_of_one_name_are_not_taken_for_one_another() -> None:
    """As a notebook's cell that was run again leaves them."""

    def made(share: float) -> Any:
        class RenewedScale(StackedTechnique):
            def on_gradient(self, grads: list[Tensor]) -> None:
                for g in grads:
                    g.mul_(self.wide([1.0 if t is None else share for t in self.techniques], g.ndim))

        class Renewed(D.Technique):
            stacked = RenewedScale

            def on_gradient(self, params: Any, ctx: Any) -> None:
                torch._foreach_mul_(params.grads, share)

        return Renewed()

    together = demand_as_alone([member(techniques=(made(share),), seed=1) for share in (0.5, 0.0)], notes=1)
    assert together.notes == ["trained one by one: two classes of the name Renewed"]
