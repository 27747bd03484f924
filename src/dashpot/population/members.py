"""``Member``, ``Plan`` and ``Data``: the parts of a population."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, ConflictError, DataError
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights, seeded
from dashpot.core.running.batch import Batch, unit_range
from dashpot.core.running.criteria import reduces
from dashpot.evaluation.losses import Criterion, default_criterion, is_classification
from dashpot.techniques.stopping.best_weights import Stopping
from dashpot.training.task import check_targets, task_of

Make = Callable[[], nn.Module]
RANDOM = threading.RLock()
"""Held while state that all threads share is used: torch's random state, Python's warnings."""


@dataclass(frozen=True, eq=False)
class Member:
    """One network to train.

    Attributes:
        make: builds the network; called with torch's random state set by ``seed``, so that equal seeds give equal
            initial weights.
        recipe: its techniques, strengths absolute, in any form that :meth:`Recipe.coerce` reads.
        lr: of AdamW, at the start.
        seed: of initial weights, order of rows and draws, as in :func:`dashpot.fit`.
        rows: the rows to train on.
        watch: rows to score after each epoch where its recipe has early stopping.
        data: which of the population's data sets.
        shape: members of one shape (with as many rows and batches as large) are trained together; anything hashable
            that names the architecture.
        batch_size: rows per step; None: the plan's.

    Raises:
        ConflictError: a technique that ends one training by a clock or a file.
    """

    make: Make = field(repr=False)
    recipe: Recipe
    lr: float
    seed: int
    rows: np.ndarray = field(repr=False)
    watch: np.ndarray | None = field(default=None, repr=False)
    data: int = 0
    shape: Any = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", Recipe.coerce(self.recipe))
        for one in (t for t in self.recipe if isinstance(t, Stopping) and not t.watching):
            raise ConflictError(f"{one} ends one training, and a population has many side by side. Leave it out.")


@dataclass(frozen=True)
class Plan:
    """What all members of a population share.

    Attributes:
        epochs: over which the learning rate falls; members may be removed before.
        batch_size: rows per step of members that do not say their own.
        schedule: from progress in [0, 1) to a factor of the learning rate.
        loss: from (output, target) to the loss of each sample.
        bfloat16: multiply wide matrices in bfloat16 while training.
    """

    epochs: int
    batch_size: int
    schedule: Callable[[float], float]
    loss: Criterion
    bfloat16: bool = False

    def batch_of(self, member: Member) -> int:
        """Rows per step of a member."""
        return self.batch_size if member.batch_size is None else member.batch_size


class Data:
    """The data sets, on the device, as one long table; set i is rows i * n to (i + 1) * n.

    Sets differ in how they were prepared (each fold by its own training rows), not in what their rows are.

    Args:
        modality: ``"image"``: pixels that are held as bytes (uint8) are taken as float32 in [0, 1].
        weight: of the rows, > 0, the same in every set; None: each counts once.

    Attributes:
        targets: ``"classes"``, ``"values"`` or ``"multilabel"``; whole numbers are classes until :meth:`learn` knows a
            network.
        loss: the default loss of such targets.
    """

    def __init__(
        self,
        sets: Sequence[tuple[Tensor, Tensor]],
        device: torch.device,
        modality: str | None = None,
        weight: Tensor | None = None,
    ) -> None:
        self.modality = modality
        self.n = len(sets[0][0])
        self.x = torch.cat([x for x, _ in sets]).to(device)
        self.y = torch.cat([y for _, y in sets]).to(device)
        self.weight = None if weight is None else weight.float().repeat(len(sets)).to(device)
        self.device = device
        if not self.y.is_floating_point():
            self.y = self.y.long()
        self.targets = "classes" if is_classification(self.y) else "values"
        self.loss = default_criterion(self.y)

    @property
    def classification(self) -> bool:
        """Whether targets are classes."""
        return self.targets == "classes"

    def learn(self, members: Sequence[Member], loss: Criterion | None) -> None:
        """Find the task as :func:`dashpot.fit` does, by the first rows of the networks.

        Args:
            members: the networks; of none, nothing is learned.
            loss: the caller's criterion, or None.

        Raises:
            ConfigError: the loss makes one number of all samples.
            DataError: the targets do not fit the outputs, or are left out by the loss.
        """
        if loss is not None and reduces(loss):
            raise ConfigError(
                "loss", "a function that gives the loss of each sample", loss, "Give it reduction='none'."
            )
        for member in members:
            batch = Batch(*self.take(self.index(member, member.rows[:2])))
            task = task_of(built(member.make).to(self.device), batch, loss, None)
            self.y = task.target(self.y)
            check_targets("the target", self.y, task)
            if task.ignores(self.y):
                raise DataError(
                    f"the target must have a class in each row of a population, got {task.ignore_index}, which the loss"
                    " leaves out. Leave out those rows."
                )
            self.targets, self.loss = task.targets or self.targets, task.criterion

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets [*index, ...] of rows of the long table, as networks take them."""
        x, y = self.held(index)
        return (unit_range(x) if self.modality == "image" else x), y

    def weights(self, index: Tensor) -> Tensor | None:
        """The weights [*index] of rows of the long table, where rows have any."""
        return None if self.weight is None else self.weight[index]

    def held(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets [*index, ...] as they are held."""
        flat = index.reshape(-1)
        x, y = self.x.index_select(0, flat), self.y.index_select(0, flat)
        return x.view(*index.shape, *x.shape[1:]), y.view(*index.shape, *y.shape[1:])

    def index(self, member: Member, rows: np.ndarray) -> Tensor:
        """Positions in the long table."""
        return torch.as_tensor(rows, device=self.device) + member.data * self.n


def initial(member: Member) -> nn.Module:
    """A member's network with its initial weights, which depend on its seed only."""
    with RANDOM, initial_weights(member.seed):
        return member.make()


def built(make: Make) -> nn.Module:
    """A network with any weights, for its shapes."""
    with RANDOM, seeded(None):
        return make()


def shape_of(member: Member, plan: Plan) -> tuple[Any, int, int]:
    """Members with the same can be trained together: the architecture's name, as many rows, and batches as large."""
    return member.shape, len(member.rows), plan.batch_of(member)
