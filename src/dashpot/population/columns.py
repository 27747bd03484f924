"""The techniques of many recipes side by side, in one order that agrees with each recipe."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from dashpot.core.configured import Configured
from dashpot.core.recipe import Recipe
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.stacked import StackedTechnique, form_of
from dashpot.population.members import RANDOM, Data, Member
from dashpot.population.stack import NotStackableError

Column = tuple[str, type[Configured], type[StackedTechnique], list[Configured | None]]
"""A technique's path, its class, its form, and each member's own."""


def why_not(technique: Configured) -> str | None:
    """Why a technique cannot act on a stack, or None."""
    if form_of(type(technique)) is None:
        return f"{type(technique).__name__} has no stacked form"
    return technique.alone() or None


def columns(members: Sequence[Member]) -> Iterator[Column]:
    """The techniques of all members by their path.

    Raises:
        NotStackableError: a technique has no stacked form, or recipes have different orders.
    """
    for technique in (t for m in members for t in m.recipe):
        if reason := why_not(technique):
            raise NotStackableError(reason)
    found: list[dict[str, Configured]] = [dict(zip(m.recipe.paths(), m.recipe, strict=True)) for m in members]
    order = common_order(own.keys() for own in found)
    if order is None:
        raise NotStackableError("recipes whose techniques come in different orders")
    kinds = {path: type(next(own[path] for own in found if path in own)) for path in order}
    for path in sorted(order, key=lambda path: kinds[path].order):
        form = form_of(kinds[path])
        if form is None or any(type(own[path]) is not kinds[path] for own in found if path in own):
            raise NotStackableError(f"two classes of the name {kinds[path].__name__}")  # such as a cell that ran twice
        yield path, kinds[path], form, [own.get(path) for own in found]


def adamw_shown(model: nn.Module) -> torch.optim.AdamW:
    """AdamW as :func:`dashpot.fit` has it, for techniques to read; it never steps.

    Made without the wrapper around ``add_param_group``, which imports torch's compiler (1.7 s) to exclude it from
    tracing.
    """
    optimizer = torch.optim.AdamW.__new__(torch.optim.AdamW)
    plain = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    if plain is not None:
        # Until it is made.
        optimizer.add_param_group = types.MethodType(plain, optimizer)  # type: ignore[method-assign]
    # Of an instance that is not made yet.
    optimizer.__init__(model.parameters(), weight_decay=0.0)  # type: ignore[misc]  # begins anew, with other groups
    optimizer.__dict__.pop("add_param_group", None)
    return optimizer


def demand_allowed(
    members: Sequence[Member],
    view: ModelView,
    data: Data,
    classes: int | None,
    smallest: int,
    lengths: tuple[int, int],
) -> None:
    """Refuse what :func:`dashpot.fit` refuses, for each recipe once.

    Args:
        view: of a member's network, whose weights do not matter.
        smallest: rows of the smallest batch.
        lengths: optimizer steps of the run and of an epoch.

    Raises:
        ConfigError, ConflictError: as it would.
    """
    highest: dict[Recipe, float] = {}
    for m in members:
        highest[m.recipe] = max(m.lr, highest.get(m.recipe, 0.0))
    for recipe, lr in highest.items():
        with RANDOM, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # members are many, and what they try is not the user's own choice
            options: dict[str, Any] = {
                "classes": classes,
                "targets": data.targets,
                "batch_size": smallest,
                "closure": any(t.evaluations > 1 for t in recipe),
                "steps": lengths[0],
                "steps_per_epoch": lengths[1],
                "modality": data.modality,
            }
            for group in view.optimizer.param_groups:
                group["lr"] = lr
            recipe.attach(view.model, view.optimizer, **options).close()


def common_order(sequences: Iterable[Iterable[str]]) -> list[str] | None:
    """One order in which all sequences are, or None.

    >>> common_order([["a", "c"], ["b", "c"], ["a", "b"]])
    ['a', 'b', 'c']
    """
    before: dict[str, set[str]] = {}
    for sequence in dict.fromkeys(map(tuple, sequences)):
        for at, name in enumerate(sequence):
            before.setdefault(name, set()).update(sequence[:at])
    order: list[str] = []
    while len(order) < len(before):
        ready = next((name for name in before if name not in order and before[name] <= set(order)), None)
        if ready is None:
            return None
        order.append(ready)
    return order


def side_by_side(recipes: Sequence[Recipe]) -> list[list[int]]:
    """Positions of recipes in groups of one order each, found greedily."""
    groups: list[tuple[dict[tuple[str, ...], None], list[int]]] = []
    for i, recipe in enumerate(recipes):
        own = tuple(recipe.paths())
        for orders, positions in groups:
            if own in orders or common_order([*orders, own]) is not None:
                orders[own] = None
                positions.append(i)
                break
        else:
            groups.append(({own: None}, [i]))
    return [positions for _, positions in groups]
