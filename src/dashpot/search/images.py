"""Images on a CPU: the race is on fewer pixels, and most of the budget is the final network's."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dashpot.data.kinds import KINDS
from dashpot.search.config import SearchConfig
from dashpot.search.networks import RACED, named
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import HALVING
from dashpot.search.space.distributions import Categorical
from dashpot.search.space.space import Space
from dashpot.training.setup import pick_device

SMALLEST = 24
"""Images are halved from so many pixels on: with fewer, what tells classes apart would be lost."""
FOLDS = 3
"""Of the finalists where none were asked for."""
LAST = (("parallel", 2, 1), ("epochs", 4, None))
"""What shrinks where the smallest race of tables does not fit: candidates first, since short trainings make
augmentation, which pays late, look bad, and combinations that are usually good are the better guess.
"""
RACE, FINALS, BEFORE = 0.25, 0.06, 0.47
"""Shares of the budget: for the race, for the finalists' other folds, and that by which the contributions have ended;
what is left, the larger part, is the final network's.
"""
CHUNK = 1024


def apart(task: Task, config: SearchConfig) -> bool:
    """Whether the final network is trained apart from the race: where there is a budget, its kind gains most from one
    large network, and one network is wanted or what is best.
    """
    kind = KINDS.get(task.modality or "")
    slow = kind is not None and kind.one_final and pick_device(config.device).type == "cpu"
    return slow and config.budget is not None and config.ensemble != "folds"


def of_one_width(space: Space, config: SearchConfig) -> Space:
    """The space without widths, where none were asked for: how wide a network should be depends on how long it is
    trained, so a race of short trainings cannot tell; the final network is as wide as its time allows.
    """
    if space.net_default.get("width") != RACED or "width" in named(config.networks):
        return space
    return space.with_net({**space.net, "width": Categorical((RACED,))})


def race_share(spent: float, budget: float | None) -> float:
    """The share of the budget by which the race ends: its own of what setting up has left."""
    return RACE if budget is None else min(1.0, RACE + (1 - RACE) * spent / budget)


def bracket(config: SearchConfig) -> int:
    """The rungs that are left out, for the same reason: the first one is after a third of the epochs."""
    return 1 if config.schedule == HALVING else 0


def for_race(task: Task, config: SearchConfig, smaller: bool = True) -> Task:
    """The task of the race: images of at least 24 pixels at half the size, where the network takes ``smaller`` ones,
    and folds for the finalists.
    """
    folds = task.folds if config.cv is not None else task.folds[:FOLDS]
    large = smaller and task.modality == "image" and min(task.x.shape[-2:]) >= SMALLEST
    return replace(task, folds=folds, x=halved(task.x) if large else task.x)


def halved(x: Tensor) -> Tensor:
    """[n, channels, height, width] at half the height and width, each pixel the mean of four; bytes stay bytes."""
    parts = []
    for part in torch.split(x, CHUNK):
        small = avg_pool2d(part.float(), 2)
        parts.append(small.round().to(x.dtype) if not x.is_floating_point() else small.to(x.dtype))
    return torch.cat(parts)
