"""``Clock``: how far a training is, by its epochs or by its time, whichever is further."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dashpot.core.durations import seconds
from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe

EPOCHS = 50
"""Where neither epochs nor a time were given."""


@dataclass
class Clock:
    """The progress of a training in [0, 1], from which schedules take the learning rate.

    Args:
        epochs: at most, or None.
        budget: seconds at most, or None; those before a resume count.
        now: seconds of a clock that only goes forward.

    >>> at = [10.0]
    >>> clock = Clock(epochs=8, budget=20.0, now=lambda: at[0])
    >>> at[0] += 5
    >>> clock.progress(0.5), clock.progress(4.0), clock.spent, clock.over()
    (0.25, 0.5, 5.0, False)
    """

    epochs: int | None
    budget: float | None = None
    now: Callable[[], float] = field(default=lambda: time.monotonic(), repr=False)  # looked up at each call

    def __post_init__(self) -> None:
        self.resume(0.0, 0.0)

    def resume(self, progress: float, spent: float) -> None:
        """Go on from a progress at which so many seconds were spent; perhaps with another budget than before."""
        self._started, self._from, self._before = self.now(), progress, spent

    @property
    def spent(self) -> float:
        """Seconds so far, those before a resume included."""
        return self._before + self.now() - self._started

    def progress(self, epochs: float) -> float:
        """In [0, 1], where so many epochs are done."""
        done = epochs / self.epochs if self.epochs is not None else 0.0
        if self.budget is None:
            return done
        left = self.budget - self._before
        passed = self._from + (1 - self._from) * (self.now() - self._started) / left if left > 0 else 1.0
        return min(max(done, passed), 1.0)

    def over(self) -> bool:
        """Whether the time is up."""
        return self.budget is not None and self.spent >= self.budget


def clock_of(epochs: int | None, budget: str | float | None) -> Clock:
    """Of so many epochs and of so much time; of 50 epochs where neither is given.

    Raises:
        ConfigError: one of them is none.
    """
    if epochs is not None or budget is None:
        epochs = check_whole("epochs", EPOCHS if epochs is None else epochs)
    return Clock(epochs, None if budget is None else seconds(budget))


def demand_length(recipe: Recipe, clock: Clock) -> None:
    """Refuse schedules over a run whose number of steps nobody knows.

    Raises:
        ConflictError: there is one.
    """
    for technique in recipe if clock.epochs is None else ():
        try:
            technique.at(0, None, 1)
        except ConflictError as error:
            raise ConflictError(
                f"{technique} follows shares of the run, and with a budget alone its length is not known. Pass epochs,"
                " too, or count in steps, such as 500steps."
            ) from error
