"""Images on a CPU: the race is on fewer pixels, and most of the budget is the final network's."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dashpot.data.kinds import KINDS
from dashpot.search.config import SearchConfig
from dashpot.search.racing.task import Task
from dashpot.training.setup import pick_device

SMALLEST = 24
"""Images are halved from so many pixels on: with fewer, what tells classes apart would be lost."""
FOLDS, FEWEST = 3, 4
"""Folds of the finalists where none were asked for, and epochs of a candidate at least."""
RACE, FINALS, BEFORE = 0.3, 0.06, 0.5
"""Shares of the budget: for the race, for the finalists' other folds, and that by which the contributions have ended;
what is left, the larger part, is the final network's.
"""
CHUNK = 1024


def apart(task: Task, config: SearchConfig) -> bool:
    """Whether the final network is trained apart from the race: where there is a budget, its networks gain nothing from
    being trained together, and one network is wanted or what is best.
    """
    kind = KINDS.get(task.modality or "")
    slow = kind is not None and not kind.faster_together and pick_device(config.device).type == "cpu"
    return slow and config.budget is not None and config.ensemble != "folds"


def race_share(spent: float, budget: float | None) -> float:
    """The share of the budget by which the race ends: its own of what setting up has left."""
    return RACE if budget is None else min(1.0, RACE + (1 - RACE) * spent / budget)


def for_race(task: Task, config: SearchConfig) -> Task:
    """The task of the race: images of at least 24 pixels at half the size, and folds for the finalists."""
    folds = task.folds if config.cv is not None else task.folds[:FOLDS]
    large = task.modality == "image" and min(task.x.shape[-2:]) >= SMALLEST
    return replace(task, folds=folds, x=halved(task.x) if large else task.x)


def halved(x: Tensor) -> Tensor:
    """[n, channels, height, width] at half the height and width, each pixel the mean of four; bytes stay bytes."""
    parts = []
    for part in torch.split(x, CHUNK):
        small = avg_pool2d(part.float(), 2)
        parts.append(small.round().to(x.dtype) if not x.is_floating_point() else small.to(x.dtype))
    return torch.cat(parts)
