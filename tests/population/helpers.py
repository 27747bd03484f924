"""Members, and what each of them must be: the network that ``dashpot.fit`` trains alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import dashpot
from dashpot.nets import MLP
from dashpot.population.members import Member, initial
from dashpot.population.population import Population

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
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "low": False, "device": "cpu"} | options
    return Population(members, sets or [table()], **settings)


def alone(m: Member, sets: Any = None, **options: Any) -> tuple[dict[str, Tensor], dashpot.FitResult]:
    """The member trained by ``dashpot.fit``."""
    x, y = (sets or [table()])[m.data]
    model = initial(m)
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "device": "cpu"} | options
    settings |= {} if m.batch_size is None else {"batch_size": m.batch_size}
    valid = None if m.watch is None else (x[m.watch], y[m.watch])
    result = dashpot.fit(
        model, (x[m.rows], y[m.rows]), valid=valid, recipe=m.recipe, lr=m.lr, seed=m.seed, progress=False, **settings
    )
    return dict(model.state_dict()), result


def demand_equal(mine: Any, own: Any, name: object = "", tolerance: float = 2e-5) -> None:
    """To float rounding as some dozens of steps make it, and zero where the other is zero but for a threshold's last
    bit.
    """
    assert set(mine) == set(own)
    for key, theirs in own.items():
        a, b = mine[key].double(), theirs.double()
        error = float((a - b).abs().max() / (1 + b.abs().max()))
        assert error < tolerance, f"{name}: {key} differs by {error:.2g}"
        differ = int(((a == 0) != (b == 0)).sum())
        assert differ <= 0.01 * a.numel() + 0.5, f"{name}: {differ} of {a.numel()} zeros of {key} differ"


def demand_as_alone(
    members: Sequence[Member],
    sets: Any = None,
    *,
    stack: bool = True,
    notes: int = 0,
    tolerance: float = 2e-5,
    **options: Any,
) -> Population:
    """Train together, and each by itself."""
    together = population(members, sets, stack=stack, **options)
    assert len(together.notes) == notes, together.notes
    assert together.train(options.get("epochs", EPOCHS))
    for i, m in enumerate(members):
        own, result = alone(
            m, sets, **{key: options[key] for key in ("epochs", "batch_size", "loss") if key in options}
        )
        demand_equal(together.tensors(i), own, f"member {i} {m.recipe}", tolerance)
        assert together.best_epochs.get(i) == result.best_epoch
    return together
