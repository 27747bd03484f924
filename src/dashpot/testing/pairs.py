"""Laws of two techniques beside each other, or of one beside an optimizer's own penalty."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dashpot.core.errors import ConflictError
from dashpot.core.recipe import Recipe
from dashpot.core.running.modes import evaluating
from dashpot.core.running.session import Session
from dashpot.testing.toys import Toy, adam, load, same, save, start, state, step

Optimize = Callable[[nn.Module], Optimizer]


def stand_together(toy: Toy, recipe: Recipe, *, optimize: Optimize = adam, steps: int = 10) -> None:
    """A recipe is attached, trained with, saved half-way, resumed to the same bits, and closed without a trace; a
    weight that ends at zero is zero to evaluation, too.

    Raises:
        ConflictError: it may not stand together.
    """
    at_work = model, _, session = start(toy, recipe, optimize=optimize)
    begun = {name: parameter.detach() == 0 for name, parameter in model.named_parameters()}
    for number in range(steps):
        if number == steps // 2:
            saved = save(*at_work)
        step(toy, *at_work)
    whole, seen = state(model), session.snapshot()
    assert all(t.isfinite().all() for t in whole.values()), f"{recipe} diverges: choose milder settings"
    for name, parameter in model.named_parameters():
        lost = (parameter == 0) & (seen[name] != 0) & ~begun[name]  # a decay towards the start may end at its zeros
        assert int(lost.sum()) <= 1, f"{recipe} loses {int(lost.sum())} zeros of {name} in evaluation"
    _demand_plain(toy, *at_work, recipe)

    again = start(toy, recipe, optimize=optimize)
    load(saved, *again)
    for _ in range(steps - steps // 2):
        step(toy, *again)
    same(state(again[0]), whole, f"{recipe} resumes otherwise")
    same(again[2].snapshot(), seen, f"{recipe} resumes and evaluates otherwise")
    again[2].close()


def refused_by_name(toy: Toy, recipe: Recipe, *, optimize: Optimize = adam, names: tuple[str, ...] = ()) -> None:
    """A recipe in conflict is refused at attach, the error names both techniques, and no hook remains.

    Args:
        names: further words of the error, such as the optimizer's.
    """
    model = toy.network()
    optimizer = optimize(model)
    try:
        toy.attach(recipe, model, optimizer)
    except ConflictError as error:
        told = str(error)
        for technique in recipe:
            assert technique.name in told or type(technique).__name__ in told, f"{technique.name} is not in: {told}"
        assert all(name in told for name in names), told
    else:
        raise AssertionError(f"{recipe} is not refused")
    assert not _hooks(model, optimizer), f"{recipe} was refused, and hooks remain"


def _hooks(model: nn.Module, optimizer: Any) -> list[Any]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = itertools.chain.from_iterable(getattr(m, kind).values() for m in model.modules() for kind in kinds)
    return [*found, *optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]


def _demand_plain(toy: Toy, model: nn.Module, optimizer: Optimizer, session: Session, recipe: Recipe) -> None:
    before, x = state(model), toy.data()[0]
    with evaluating(model):
        expected = model(x)
    session.close()
    assert not _hooks(model, optimizer), f"{recipe} leaves hooks behind"
    plain = toy.network()
    assert list(model.state_dict()) == list(plain.state_dict()), f"{recipe} changes the keys of the state"
    after = state(model)
    same(after, {name: t for name, t in before.items() if name in after}, f"{recipe} moves weights when it is closed")
    with evaluating(model):
        assert torch.equal(model(x), expected), f"{recipe} evaluates otherwise when it is closed"
    plain.load_state_dict(after)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), plain(x)), f"{recipe} leaves a model that acts otherwise"
