"""What a recipe makes of some inputs, without a model: to look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.configured import Configured
from dashpot.core.errors import ConflictError
from dashpot.core.recipe import Recipe
from dashpot.core.rng import derive
from dashpot.core.running.batch import Batch, unit_range


def on_inputs(recipe: Recipe) -> Recipe:
    """The techniques of a recipe that change inputs, and need no network for it.

    >>> import dashpot
    >>> on_inputs(dashpot.Mixup(0.2) | dashpot.Dropout(0.1))
    Recipe(Mixup(alpha=0.2))
    """
    return Recipe(tuple(technique for technique in recipe if _on_inputs(technique)))


def _on_inputs(technique: Configured) -> bool:
    # What blends hidden vectors draws in on_batch and acts in the network; adversarial examples ask it for a gradient.
    return technique.defines("on_batch") and not technique.defines("on_model") and not technique.forwards


def draws_of(recipe: Recipe, x: Tensor, y: Tensor, classes: int | None, draws: int, seed: int = 0) -> list[Batch]:
    """What a training would see of the images ``x`` in so many batches; their inputs are float32 in [0, 1].

    Args:
        recipe: of techniques on inputs only.
        x: [n, channels, height, width], uint8 or in [0, 1].
        y: targets [n], for techniques that mix them.
        classes: their number; None where targets are values.
        draws: how often.
        seed: of the draws.

    Raises:
        ConflictError: a technique of the recipe acts elsewhere, and cannot be seen.
    """
    if left := [type(t).__name__ for t in recipe if not _on_inputs(t)]:
        raise ConflictError(f"{', '.join(left)} does not act on inputs, so there is nothing to see. Leave it out.")
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    targets: Any = "classes" if classes else "values"
    found, pixels = [], unit_range(x)  # mixing and noise take no bytes, here as in a training
    for draw in range(draws):
        own = derive(seed, draw)
        with recipe.attach(model, optimizer, seed=own, classes=classes, targets=targets, modality="image") as session:
            batch = session.batch(pixels, y, index=torch.arange(len(pixels)))
        found.append(batch.replace(x=unit_range(batch.x)))
    return found
