"""``Run``: what a session and its techniques share during a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dashpot.core.running.batch import Batch
from dashpot.core.running.criteria import Samples
from dashpot.core.running.targets import check_classes
from dashpot.core.running.view import ModelView


@dataclass(eq=False)
class Run:
    """The counters, the batch and the clocks of one run. The session owns it, contexts and the stepper read it.

    Attributes:
        view: the model with its roles and groups.
        optimizer: the optimizer whose ``step`` is hooked.
        seed, rank: of the draws.
        classes, targets, ignore_index: what is known of the targets.
        modality: what is known of the inputs.
        sparse: the parameters that a proximal step keeps exactly sparse.
        step, epochs: optimizer steps and epochs completed.
        began: whether anything was completed or loaded yet.
        asked: whether the optimizer was asked for a step in this session.
        warned: whether somebody was told that the optimizer changes nothing of the model.
        micro: the micro-batch of this step that is under way.
        forwards: further forward passes of this micro-batch so far.
        batch: the training batch that is under way.
        evaluated: the batch of the evaluation that is under way.
        samples: the losses that a criterion gave, while techniques act on them.
        again: runs the model once more, where a technique asks for it.
        extra: whether such a pass is under way.
        snapshot: gives a deep copy of the tensors that evaluation sees.
        steps, steps_per_epoch: the length of the run and of an epoch in optimizer steps, where the loop has said them.
        attached_at: the time of the monotonic clock at which the session began.
        called: which of the calls that a recipe may need were made since the last optimizer step.
    """

    view: ModelView
    optimizer: Optimizer
    seed: int
    snapshot: Callable[[], dict[str, Tensor]]
    rank: int = 0
    classes: int | None = None
    targets: str | None = None
    ignore_index: int | None = None
    modality: str | None = None
    sparse: frozenset[str] = frozenset()
    step: int = 0
    epochs: int = 0
    began: bool = False
    asked: bool = False
    warned: bool = False
    micro: int = 0
    forwards: int = 0
    batch: Batch | None = None
    steps: int | None = None
    steps_per_epoch: int | None = None
    evaluated: Batch | None = None
    samples: Samples | None = None
    again: Callable[..., Any] | None = None
    extra: bool = False
    attached_at: float = field(default_factory=lambda: time.monotonic())  # looked up at each call
    called: set[str] = field(default_factory=set)
    _next: int = 0
    _clocks: list[Tensor] = field(default_factory=list)
    _followers: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_classes(self.classes)

    def begin(self) -> None:
        """A new micro-batch."""
        self.micro, self._next = self._next, self._next + 1
        self.forwards, self.evaluated = 0, None

    def new_clock(self) -> Tensor:
        clock = torch.tensor([self.step, 0], device="cpu")
        self._clocks.append(clock)
        return clock

    def on_move(self, follow: Callable[[], None]) -> None:
        """Call ``follow`` now and whenever the step may have changed, so that schedules are up to date."""
        self._followers.append(follow)
        follow()

    def clocks(self) -> list[Tensor]:
        """What the clocks show."""
        return [clock.clone() for clock in self._clocks]

    def set_clocks(self, values: list[Tensor]) -> None:
        for clock, value in zip(self._clocks, values, strict=False):  # hooks installed since have newer ones
            clock.copy_(value)

    def mark(self) -> Callable[[], None]:
        """A function that takes micro-batches and clocks back to where they are now."""
        following, micro, forwards, clocks = self._next, self.micro, self.forwards, self.clocks()

        def back() -> None:
            self._next, self.micro, self.forwards = following, micro, forwards
            self.set_clocks(clocks)

        return back

    def rewind(self) -> None:
        """Back to the first micro-batch of this optimizer step."""
        self._next = self.forwards = 0
        for clock in self._clocks:
            clock.copy_(torch.tensor([self.step, 0], device="cpu"))
        for follow in self._followers:
            follow()

    def move_to(self, step: int, epochs: int) -> None:
        """To another point of the run; draws and schedules follow the counters."""
        self.step, self.epochs, self.began = step, epochs, True
        self.rewind()

    def end_epoch(self) -> None:
        """An epoch is done."""
        self.epochs += 1
        self.began = True

    def advance(self) -> None:
        """An optimizer step is done."""
        self.step += 1
        self.began = True
        self.batch = self.evaluated = None
        self.called.clear()
        self.rewind()
