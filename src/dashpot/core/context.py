"""What a technique is handed besides its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dashpot.core.rng import Draws, derive

if TYPE_CHECKING:
    from dashpot.core.batch import Batch
    from dashpot.core.session import Session
    from dashpot.core.technique import State
    from dashpot.core.view import ModelView


class Context:
    """One technique's window on the session: its own state and draws, and the counters.

    Attributes:
        state: what ``init`` returned; changes to it are kept and saved.
        key: the key of this technique's random stream.
    """

    def __init__(self, session: Session, path: str, key: int) -> None:
        self._session = session
        self.path, self.key = path, key
        self.state: State = {}

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        return self._session.step

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._session.epochs

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._session.optimizer

    @property
    def view(self) -> ModelView:
        """The model with its roles and groups."""
        return self._session.view

    @property
    def model(self) -> torch.nn.Module:
        """The plain module."""
        return self._session.view.model

    @property
    def batch(self) -> Batch | None:
        """The micro-batch that :meth:`Session.batch` returned last, or ``None``."""
        return self._session.current

    @property
    def classes(self) -> int | None:
        """The number of classes, where the loop has told it."""
        return self._session.classes

    @property
    def targets(self) -> str | None:
        """``"classes"``, ``"values"`` or ``"multilabel"``, where the loop has told it."""
        return self._session.targets

    @property
    def ignore_index(self) -> int | None:
        return self._session.ignore_index

    @property
    def sparse(self) -> frozenset[str]:
        """The parameters that a proximal step keeps exactly sparse."""
        return self._session.sparse

    @property
    def rank(self) -> int:
        """This process's rank in a distributed run, else 0."""
        return self._session.rank

    def draws(self) -> Draws:
        """Random draws for this optimizer step, micro-batch and rank."""
        return Draws(derive(self.key, self._session.step, self._session.micro, self._session.rank))

    def clock(self) -> Tensor:
        """A new int64 [2] tensor that shows (optimizer step, call): the session winds it, its owner counts calls up."""
        return self._session.new_clock()

    def snapshot(self) -> dict[str, Tensor]:
        """A deep copy of the weights and buffers that evaluation sees now (averages, if the recipe keeps any)."""
        return self._session.snapshot()
