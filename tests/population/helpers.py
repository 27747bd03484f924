"""Members, and what each of them must be: the network that ``dashpot.fit`` trains alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

import dashpot
from dashpot.nets import MLP
from dashpot.population.members import Member, initial
from dashpot.population.population import Population
from dashpot.training.compressing import Cuts

EPOCHS, BATCH = 4, 32


def table(n: int = 160, columns: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes, with noise, so that there is something to regularize."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, columns, generator=g)
    return x, (x[:, :3] + 0.5 * torch.randn(n, 3, generator=g)).argmax(1)


def mlp() -> nn.Module:
    return MLP(6, 3, width=16, depth=2)


def normed() -> nn.Module:
    """No bias in front of the normalization: its gradient is 0 but for rounding, which Adam makes as large as any other
    step.
    """
    parts = [
        nn.Linear(6, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Dropout(0.0),
        nn.Linear(16, 3),
    ]
    return nn.Sequential(*parts)


def recipe(*techniques: Any) -> dashpot.Recipe:
    return dashpot.Recipe(techniques)


def member(make: Callable[[], nn.Module] = mlp, techniques: Sequence[Any] = (), **options: Any) -> Member:
    settings = {"lr": 1e-2, "seed": 0, "rows": np.arange(120), "watch": np.arange(120, 160)} | options
    return Member(make=make, recipe=recipe(*techniques), **settings)


def population(members: Sequence[Member], sets: Any = None, **options: Any) -> Population:
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "bfloat16": False, "device": "cpu"} | options
    return Population(members, sets or [table()], **settings)


def alone(m: Member, sets: Any = None, **options: Any) -> tuple[dict[str, Tensor], dashpot.FitResult]:
    """The member trained by ``dashpot.fit``, uncut."""
    x, y = (sets or [table()])[m.data]
    model = initial(m)
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "device": "cpu"} | options
    settings |= {} if m.batch_size is None else {"batch_size": m.batch_size}
    valid = None if m.watch is None else (x[m.watch], y[m.watch])
    settings |= {"valid": valid, "recipe": m.recipe, "lr": m.lr, "seed": m.seed, "progress": False}
    # Members keep their size; what a cut leaves of a network is tested with the cuts.
    with mock.patch.object(Cuts, "make", return_value=False):
        result = dashpot.fit(model, (x[m.rows], y[m.rows]), **settings)
    return dict(model.state_dict()), result


def moved(m: Member, number: int) -> Member:
    """The same member, from initial weights that are up to sixteen units of float32's last place away: about what a
    product of some hundred terms may round to, in whatever order a processor's library adds them up.
    """

    def make() -> nn.Module:
        model = m.make()
        g = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1 + 2.0**-20 * (2 * torch.rand(p.shape, generator=g) - 1))
        return model

    return dataclasses.replace(m, make=make)


def apart(mine: Any, own: Any) -> dict[str, tuple[float, int]]:
    """By tensor: the largest difference, relative to its scale, and how many values are zero in one alone."""
    found = {}
    for key, theirs in own.items():
        a, b = mine[key].double(), theirs.double()
        found[key] = float((a - b).abs().max() / (1 + b.abs().max())), int(((a == 0) != (b == 0)).sum())
    return found


def condition(m: Member, sets: Any = None, **options: Any) -> dict[str, tuple[float, int]]:
    """How far the member ends from itself if it begins a few units in the last place away: what rounding alone may do
    to its training, whoever does it. Mostly nothing. But a first gradient as small as Adam's eps is all rounding and
    makes a full step, and a unit of a ReLU may lie at its kink.
    """
    own = alone(m, sets, **options)[0]
    others = [apart(alone(moved(m, number), sets, **options)[0], own) for number in range(3)]
    return {key: (max(far[key][0] for far in others), max(far[key][1] for far in others)) for key in own}


def demand_equal(
    mine: Any,
    own: Any,
    name: object = "",
    tolerance: float = 2e-5,
    *,
    of: Member | None = None,
    sets: Any = None,
    **options: Any,
) -> None:
    """To float rounding as some dozens of steps make it, and zero where the other is zero but for a threshold's last
    bit.

    Args:
        of: whose training it is: where the two differ by more, they may do so by as much as this member's training
            depends on the last places of its initial weights.
    """
    assert set(mine) == set(own)
    far = apart(mine, own)

    def excess(bounds: Mapping[str, tuple[float, int]]) -> str:
        for key, (error, differ) in far.items():
            extra, zeros = bounds.get(key, (0.0, 0))
            # Of four draws of one kind any may be the largest, but none several times so. And NaN is an excess.
            if not error < tolerance + 4 * extra:
                return f"{name}: {key} differs by {error:.2g}, and rounding explains {extra:.2g}"
            if not differ <= 0.01 * own[key].numel() + 0.5 + 4 * zeros:
                return f"{name}: {differ} of {own[key].numel()} zeros of {key} differ"
        return ""

    wrong = excess({})
    if wrong and of is not None:
        wrong = excess(condition(of, sets, **options))
    assert not wrong, wrong


def demand_equal_alone(together: Population, number: int, m: Member, sets: Any = None, **options: Any) -> None:
    """The member of this number has ended as ``dashpot.fit`` would."""
    own, result = alone(m, sets, **options)
    demand_equal(together.tensors(number), own, f"member {number} {m.recipe}", of=m, sets=sets, **options)
    assert together.best_epochs.get(number) == result.best_epoch


def demand_as_alone(
    members: Sequence[Member], sets: Any = None, *, stack: bool = True, notes: int = 0, **options: Any
) -> Population:
    """Train together, and each by itself."""
    together = population(members, sets, stack=stack, **options)
    assert len(together.notes) == notes, together.notes
    assert together.train(options.get("epochs", EPOCHS))
    settings = {key: options[key] for key in ("epochs", "batch_size", "loss") if key in options}
    for i, m in enumerate(members):
        demand_equal_alone(together, i, m, sets, **settings)
    return together
