"""A training from epoch to epoch: steps, scores, the best weights so far, and where it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dashpot.core.points import Verdict
from dashpot.core.running.session import Session
from dashpot.core.running.tensors import put, tensors
from dashpot.core.threads import cores
from dashpot.evaluation.refined import REFINED
from dashpot.techniques.stopping.best_weights import Stopping
from dashpot.training.batches import Batches
from dashpot.training.checkpoint import Checkpoint, History
from dashpot.training.clock import Clock
from dashpot.training.compressing import Cuts
from dashpot.training.epoch import measure, train_epoch
from dashpot.training.plateau import Plateau
from dashpot.training.resuming import check_schedule
from dashpot.training.task import Task, averaged_as
from dashpot.training.versions import TTA

SCORED = 1024
"""Rows by which a training with a budget and no validation rows is scored: more would take its time."""


@dataclass
class Training:
    """What :func:`dashpot.fit` runs: a session, the data, and how far it has come."""

    session: Session
    model: nn.Module
    optimizer: Optimizer
    train: Batches
    held_out: Batches | None
    task: Task
    factor: Callable[[float], float] | Plateau
    clock: Clock
    place: torch.device
    tta: TTA | None = None
    history: History = field(default_factory=list)
    stopped: str = ""
    diverged: str | None = None
    best: float = math.inf
    kept: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    cuts: Cuts | None = None

    def resume(self, saved: Checkpoint) -> str:
        """Resume from the checkpoint, if there is one; returns a message."""
        if not saved.exists:
            return "nothing was saved yet: starting from the beginning"

        def check(history: History) -> None:
            check_schedule(history, self.optimizer, self._factor, self.clock.epochs, len(self.train))

        self.history, self.stopped = saved.load(self.model, self.optimizer, self.session, check, self.cuts)
        if saved.threads is not None and self.place.type == "cpu":  # fit puts back what was before
            torch.set_num_threads(max(1, min(saved.threads, cores())))
        if self.stopped:
            return f"nothing left to do: {self.stopped}"
        last = self.history[-1]
        progress = last.get("progress", self.clock.progress(len(self.history)))
        self.clock.resume(progress, last.get("spent", sum(row["seconds"] for row in self.history)))
        return f"resumed after epoch {len(self.history)}{f' of {self.clock.epochs}' if self.clock.epochs else ''}"

    def best_weights(self, kept: Mapping[str, Any]) -> None:
        """The best weights so far, for a loss that diverges."""
        # Those of before a cut are of a larger network.
        since = self.history[max(self.cuts.epochs[-1] - 1, 0) :] if self.cuts and self.cuts.epochs else self.history
        watched = [row.get("val_loss", row["train_loss"]) for row in since]
        self.best = min((score for score in watched if not math.isnan(score)), default=math.inf)
        self.kept = kept or self.session.snapshot()

    def epoch(self) -> bool:
        """One epoch; whether the loss stayed finite."""
        number, started = len(self.history) + 1, time.perf_counter()
        steps = train_epoch(
            *(self.session, self.session.run.view.wrapper, self.optimizer, self.train, self.task.criterion),
            *(self._factor(self.history), number, self.clock, self.place),
        )
        if not math.isfinite(steps.total):
            where = f"step {steps.done} of {len(self.train)}" if steps.bad else "some step"
            return self._diverge(f"{float(steps.total)} in epoch {number} at {where}")
        row = {"epoch": number, "objective": float(steps.total) / steps.done, **self._scores()}
        row |= {"lr": self.optimizer.param_groups[0]["lr"], "seconds": time.perf_counter() - started}
        end = "all epochs done" if number == self.clock.epochs else "the time is up" if self.clock.over() else ""
        if end and not math.isfinite(row["train_loss"]):  # no further step will tell
            return self._diverge(f"{row['train_loss']} after epoch {number}")
        if self.clock.budget is not None:
            row |= {"lr_progress": steps.progress, "progress": self.clock.progress(number), "spent": self.clock.spent}
        self.history.append(row)
        self.verdict = verdict = self.session.epoch(row)
        self.stopped = verdict.reason if verdict.stop else end
        score = row.get("val_loss", row["train_loss"])
        if score < self.best:
            self.best, self.kept = score, self.session.snapshot()
        if not self.stopped and self._cut(number):
            self.best, self.kept = score, self.session.snapshot()
        return True

    def _cut(self, epoch: int) -> bool:
        """Whether units left the network after this epoch."""
        if self.cuts is None:
            return False
        progress = self.clock.progress(epoch)
        left = self.clock.epochs - epoch if self.clock.epochs else epoch * (1 / max(progress, 1e-9) - 1)
        rows = self.train.rows or len(self.train) * (self.train.smallest or 1)
        return self.cuts.due(rows, left) and self.cuts.make(epoch)

    def end(self) -> None:
        """The final weights; where the loss diverged, the best so far, if no technique keeps any."""
        self.session.finish()
        if self.diverged and not any(t.final(ctx) for t, ctx in self.session.attached if t.defines("final")):
            put(tensors(self.session.view.model), self.kept)  # by the plain module's names, whatever wraps it

    @property
    def best_epoch(self) -> int | None:
        kept = (ctx.state.get("best_epoch") for t, ctx in self.session.attached if t.defines("final"))
        return next((epoch for epoch in kept if epoch is not None), None)

    def _factor(self, history: History) -> Callable[[float], float]:
        """The schedule of the learning rate in the epoch after these."""
        if not isinstance(self.factor, Plateau):
            return self.factor
        factor = self.factor.after(history)
        return lambda progress: factor

    def _scores(self) -> dict[str, float]:
        with self.session.evaluate(), torch.no_grad():
            self.train.ranks.one_model(self.model)
            model = self.model  # batches hold bytes only where nobody said that they are pixels
            if self.tta is not None:
                model = self.tta.network(model, averaged_as(self.task), unit=self.train.pixels)
            # As many training rows as validation rows, in the same mode, so that the gap compares like with like.
            limit = self.held_out.rows if self.held_out is not None else None if self.clock.budget is None else SCORED
            task, ignored, ranks = (self.task.criterion, self.task.targets), self.task.ignore_index, self.train.ranks
            row = measure("train", model, self.train, *task, limit, ignored, self._asked("train"), ranks)
            if self.held_out is not None:
                row |= measure("val", model, self.held_out, *task, None, ignored, self._asked("val"), ranks)
        return row

    def _asked(self, part: str) -> bool:
        """Whether the log loss after temperature is watched on this part."""
        watching = [t.watching for t in self.session.recipe if isinstance(t, Stopping)]
        watching += [(self.factor.monitor,)] if isinstance(self.factor, Plateau) else []
        return any(f"{part}_{REFINED}" in names for names in watching)

    def _diverge(self, what: str) -> bool:
        rate = max(group["initial_lr"] for group in self.optimizer.param_groups)
        self.diverged = f"loss must stay finite, got {what}. Lower the learning rate (now {rate:g}), or clip gradients."
        self.stopped = "the loss diverged"
        self.session.run.asked = True  # there was something to step by, if nothing to step with
        return False
