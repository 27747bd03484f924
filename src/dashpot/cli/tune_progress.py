"""A progress line for a search."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import mark, say, told

RACES = (
    mark("races of {n} candidates on {folds} fold at once: {epochs} epoch"),
    mark("races of {n} candidates on {folds} fold at once: {epochs} epochs"),
    mark("races of {n} candidates on {folds} folds at once: {epochs} epoch"),
    mark("races of {n} candidates on {folds} folds at once: {epochs} epochs"),
)
PRUNINGS = (
    mark("all but the best third pruned after epoch {at}"),
    mark(
        "all but the best third pruned after epochs {at}; in the races after it later, and not at all, with fewer"
        " candidates"
    ),
    mark("all but the best third pruned after epochs {at}"),
    mark("none pruned; after each eighth the worst quarter takes over networks of the best, with other strengths"),
)


class Live:
    """Candidates alive, epoch, best so far with its uncertainty, and the time left; on standard error.

    Args:
        options: of the search; its budget is counted down.
        tick: called after each epoch, to check for interrupts.
        started: when the budget began, by ``time.monotonic()``; by default now.
    """

    EVERY = 10.0
    """Seconds between plain lines where standard error is no terminal."""

    def __init__(self, options: Any, tick: Callable[[], None], started: float | None = None) -> None:
        self._budget, self._trials, self._tick = options.budget, options.trials, tick
        self._started, self._shown = time.monotonic() if started is None else started, 0.0
        self._stage, self._best, self._done = say("setting up"), "", 0
        self._seen: set[int] = set()
        self._epochs = 0
        self._status: Any = None

    def __enter__(self) -> Live:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status(say("setting up"))
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def training(self, training: Any) -> None:
        """Say what a race will be."""
        from dashpot.search.racing.pruning import in_words

        self._epochs = training.epochs
        many = training.parallel if self._trials is None else min(training.parallel, self._trials)
        race = (
            f"races of {many} candidates on {training.folds} fold{'s' * (training.folds > 1)} at once:"
            f" {training.epochs} epoch{'s' * (training.epochs > 1)}"
        )
        race, words = told(race, RACES), told(in_words(training), PRUNINGS)
        self.note(say("{race}, {pruning}", race=race, pruning=words) if words else race)

    def note(self, text: str) -> None:
        """Say something once."""
        self._tick()
        if self._status is not None:
            self._status.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def stage(self, name: str) -> None:
        """A new part of the search has begun."""
        self._stage = say(name)
        self._show(True, self._stage)

    def say(self, stage: str, trials: Sequence[Any], epoch: int) -> None:
        """After each epoch."""
        self._tick()
        scored = [r for r in trials if math.isfinite(r.score)]
        if scored:
            best = min(scored, key=lambda r: r.score)
            spread = _spread(best.scores)
            named = best.candidate.recipe if best.candidate.recipe else say("no technique")
            self._best = say("best {score}: {named}", score=f"{digits(best.score)}{spread}", named=named)
        text = say(
            "{n} candidates, epoch {epoch}/{epochs}" if len(trials) != 1 else "{n} candidate, epoch {epoch}/{epochs}",
            n=len(trials),
            epoch=epoch,
            epochs=self._epochs,
        )
        self._show(False, text)

    def _show(self, now: bool, text: str) -> None:
        spent = time.monotonic() - self._started
        left = say("{n:.0f} s left", n=max(self._budget - spent, 0)) if self._budget else f"{spent:.0f} s"
        line = f"{text}  {self._best}  {left}"
        if self._status is not None:
            from rich.markup import escape

            self._status.update(escape(line))
        elif now or spent - self._shown > self.EVERY:
            self._shown = spent
            print(line, file=sys.stderr, flush=True)


def _spread(scores: Sequence[float]) -> str:
    if len(scores) < 2:
        return ""
    mean = sum(scores) / len(scores)
    error = (sum((s - mean) ** 2 for s in scores) / (len(scores) - 1) / len(scores)) ** 0.5
    return f" ± {digits(error)}"
