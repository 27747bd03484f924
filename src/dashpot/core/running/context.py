"""``Context``: what a technique gets besides its arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.rng import Draws, derive
from dashpot.core.running.batch import Batch
from dashpot.core.running.criteria import Samples
from dashpot.core.running.guarded import guarded
from dashpot.core.running.passes import mean_over_ranks
from dashpot.core.running.run import Run
from dashpot.core.running.view import ModelView

State = dict[str, Any]


class Context:
    """One technique's view of the run: its own state and draws, and the counters.

    Attributes:
        state: what ``init`` returned; changes to it are kept and saved.
        key: the key of this technique's random stream.
        technique: the technique as it acts at this optimizer step, with plain numbers. Its methods are called on it, so
            that ``self`` is the same; from ``init`` and ``on_model`` on, hooks find it here.
    """

    def __init__(self, run: Run, path: str, key: int, technique: Any) -> None:
        self._run = run
        self.path, self.key = path, key
        self.state: State = {}
        self.technique: Any = technique  # of the class that asks, whose fields no common type could name
        self._declared = technique
        self._shown: list[tuple[str, Callable[[float], Any]]] = []
        self._before_hooks: int | None = None

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        return self._run.step

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._run.epochs

    @property
    def steps(self) -> int | None:
        """The length of the run in optimizer steps, where the loop has said it."""
        return self._run.steps

    @property
    def steps_per_epoch(self) -> int | None:
        """The length of an epoch in optimizer steps, where the loop has said it."""
        return self._run.steps_per_epoch

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._run.optimizer

    @property
    def view(self) -> ModelView:
        """The model with its roles and groups."""
        return self._run.view

    @property
    def model(self) -> torch.nn.Module:
        """The plain module."""
        return self._run.view.model

    @property
    def batch(self) -> Batch | None:
        """The micro-batch that :meth:`Session.batch` returned last, or ``None``."""
        return self._run.batch

    @property
    def classes(self) -> int | None:
        """The number of classes, where the loop has said it."""
        return self._run.classes

    @property
    def modality(self) -> str | None:
        """``"table"``, ``"image"``, ``"signal"`` or ``"text"``; None where the loop has not said which."""
        return self._run.modality

    @property
    def targets(self) -> str | None:
        """``"classes"``, ``"values"`` or ``"multilabel"``, where the loop has said it."""
        return self._run.targets

    @property
    def ignore_index(self) -> int | None:
        return self._run.ignore_index

    @property
    def samples(self) -> Samples | None:
        """The losses of samples as the criterion gave them, while ``on_loss`` is called."""
        return self._run.samples

    @property
    def extra(self) -> bool:
        """Whether a pass is under way that a technique asked for, by :meth:`forward`."""
        return self._run.extra

    @property
    def sparse(self) -> frozenset[str]:
        """The parameters that a proximal step keeps exactly sparse."""
        return self._run.sparse

    @property
    def rank(self) -> int:
        """This process's rank in a distributed run, else 0."""
        return self._run.rank

    def draws(self) -> Draws:
        """Random draws for this optimizer step, micro-batch and rank."""
        return Draws(derive(self.key, self._run.step, self._run.micro, self._run.rank))

    def forward(self, batch: Any, *, same: bool = False, weights: Mapping[str, Tensor] | None = None) -> Any:
        """The model once more on a batch, for R-Drop, distillation and consistency; gradients flow through it.

        It runs as the loop's pass ran: in the same mode and under the same autocast. Statistics of normalization stay
        as they are, and no other technique's draws change. Under DistributedDataParallel and ``torch.compile`` it
        works where the session was attached to the wrapped model. The class says ``forwards = 1``, or how often it
        calls this for a micro-batch.

        Args:
            batch: a :class:`Batch`, or an input.
            same: with the dropout masks of the loop's last pass in place of its own.
            weights: parameters and buffers by name to run with, such as a teacher's.

        Raises:
            UsageError: the class does not say ``forwards``, or the pass whose masks are asked for was not seen.
        """
        if self._run.again is None:
            raise UsageError(
                f"{self.path} asks for another forward pass, but its class does not say so. Set forwards = 1 on the"
                " class, or how often it calls ctx.forward."
            )
        x = batch.x if isinstance(batch, Batch) else batch
        return self._run.again(x, self.key, same=same, weights=weights)

    def clock(self) -> Tensor:
        """A new int64 [2] tensor that shows (optimizer step, call): the run winds it, its owner counts calls up."""
        return self._run.new_clock()

    def scalar(self, field: str) -> Tensor:
        """A new 0-d float32 tensor that shows a field's number at each optimizer step, for hooks and compiled code."""
        number = torch.zeros((), dtype=torch.float32, device="cpu")
        self.show(field, number.fill_)
        return number

    def show(self, field: str, shown: Callable[[float], Any]) -> None:
        """Call ``shown`` with a field's number, now and whenever it changes."""
        shown(float(vars(self.technique)[field]))
        self._shown.append((field, shown))

    @contextlib.contextmanager
    def hooking(self) -> Iterator[None]:
        """While ``on_model`` runs: the scalars of hooks that it had installed before follow no longer.

        Raises:
            ConflictError: it copies a number that follows a schedule.
        """
        if self._before_hooks is None:
            self._before_hooks = len(self._shown)
        del self._shown[self._before_hooks :]
        now = self.technique
        if self._declared.schedules():
            self.technique = guarded(now, self._declared.schedules())
        try:
            yield
        finally:
            self.technique = now

    def follow(self, technique: Any) -> None:
        """The technique as it acts from now on."""
        self.technique = technique
        for field, shown in self._shown:
            shown(getattr(technique, field))

    @property
    def attached_at(self) -> float:
        """The time of the monotonic clock (``time.monotonic()``) at which the session was attached."""
        return self._run.attached_at

    def over_ranks(self, value: float) -> float:
        """The mean of a number over the ranks of a distributed model, by which all decide alike; elsewhere the number.
        Every rank must call it, in ``on_epoch``.
        """
        return mean_over_ranks({"": value}, self._run.view.parallel)[""]

    def snapshot(self) -> dict[str, Tensor]:
        """A deep copy of the weights and buffers that evaluation sees now (averages, if the recipe keeps any)."""
        return self._run.snapshot()
