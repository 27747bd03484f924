"""Checks of data, network and loss before a training begins, and what batches are converted to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.core.recipe import Recipe
from dashpot.core.running.batch import Batch, float_input
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called
from dashpot.evaluation.losses import Criterion
from dashpot.training.batches import Batches
from dashpot.training.task import Task, check_targets, task_of


def prepared(
    model: nn.Module, parts: Mapping[str, Batches], recipe: Recipe, loss: Criterion | None, targets: str | None
) -> tuple[Task, Batch]:
    """The task of a training, found on the first part's first batch, and that batch. From here on the batches of all
    parts have inputs and targets as network and criterion take them, and are checked.

    Args:
        parts: training data, then others, by the names of their targets.
        loss, targets: as :func:`~dashpot.training.task.task_of` takes them.

    Raises:
        ConfigError, DataError: as :func:`~dashpot.training.task.task_of`; also targets that the task has no place for.
            In data that come from a loader these are found batch by batch.
        ConflictError: inputs that a technique cannot change.
    """
    first = next(iter(parts.values())).first()
    for technique in recipe if isinstance(first.x, Tensor) else ():
        if technique.requires.float_input:
            float_input(first.x, type(technique).__name__, ConflictError)
    dtype = _type_for(model, first.x)
    first = first if dtype is None else first.replace(x=first.x.to(dtype))
    task = task_of(model, first, loss, targets)
    for name, part in parts.items():
        part.convert = partial(_converted, task=task, dtype=dtype)
        held = part.targets
        if held is not None:
            check_targets(name, held, task)
        else:
            part.convert = partial(_converted, task=task, dtype=dtype, check=name)
    return task, first


def _type_for(model: nn.Module, x: Any) -> torch.dtype | None:
    """The type of the network's parameters, float32 or float64, where it takes inputs of the other type in that alone;
    else None.
    """
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    if not isinstance(x, Tensor) or {x.dtype, own} != {torch.float32, torch.float64}:
        return None
    with evaluating(model), torch.no_grad():
        try:
            called(model, x)
        except RuntimeError:
            return own
    return None


def _converted(batch: Batch, task: Task, dtype: torch.dtype | None, check: str = "") -> Batch:
    """A batch in other types; of a loader it is checked, where that does not have to wait for a GPU."""
    y = task.target(batch.y)
    if check and isinstance(y, Tensor) and y.device.type == "cpu":
        check_targets(check, y, task)
    if y is batch.y and dtype is None:
        return batch
    return Batch(batch.x if dtype is None else batch.x.to(dtype), y, y, batch.weight, batch.mask)
