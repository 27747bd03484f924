"""Progress lines of a search from Python."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence

from dashpot.core.digits import digits
from dashpot.core.notebook import Line
from dashpot.search.racing.trial import Trial


class ProgressLines:
    """A line every ten seconds, on standard error; in a notebook one line that changes every second.

    Args:
        enabled: False is silent.
        budget: seconds, to count down.
        tick: called after each epoch.
    """

    EVERY = 10.0

    def __init__(self, enabled: bool, budget: float | None, tick: Callable[[], None]) -> None:
        self._enabled, self._budget, self._tick = enabled, budget, tick
        self._started = self._shown = time.monotonic()
        self._line = Line()

    def note(self, text: str) -> None:
        """Say something once."""
        if self._enabled:
            print(text, file=sys.stderr, flush=True)

    def say(self, stage: str, trials: Sequence[Trial], epoch: int) -> None:
        """After each epoch."""
        self._tick()
        now = time.monotonic()
        scored = [r for r in trials if math.isfinite(r.score)]
        if not scored or now - self._shown < (1.0 if self._line else self.EVERY):
            return
        self._shown, best = now, min(scored, key=lambda r: r.score)
        spent = now - self._started
        left = f"{max(self._budget - spent, 0):.0f} s left" if self._budget else f"{spent:.0f} s"
        alive = f"{len(trials)} candidate{'s' * (len(trials) != 1)}"
        self._write(f"{alive}, epoch {epoch}; best {digits(best.score)}: {best.candidate.recipe}; {left}")

    def _write(self, text: str) -> None:
        if self._line and self._enabled:
            self._line(text)
        else:
            self.note(text)
