"""The techniques of a session whose numbers follow the training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

from dashpot.core.configured import Configured
from dashpot.core.fields.schedule import plain
from dashpot.core.running.context import Context
from dashpot.core.running.run import Run


class LateScheduleWarning(UserWarning):
    """A schedule begins where the run is over, so that its number never changes."""


class Scheduling:
    """Those with a schedule, each as it acts at the present optimizer step; false where there are none.

    Args:
        attached: all techniques with their contexts.
        run: whose steps they follow.
    """

    def __init__(self, attached: Iterable[tuple[Configured, Context]], run: Run) -> None:
        self.run, self._scheduled = run, [(t, ctx) for t, ctx in attached if t.schedules()]
        self._numbers: list[dict[str, float]] = [{} for _ in self._scheduled]
        if self._scheduled:
            run.on_move(self._follow)
            self._tell_late()

    def __bool__(self) -> bool:
        return bool(self._scheduled)

    def described(self) -> dict[str, list[str]]:
        """By a technique's path what follows the training, in words."""
        lengths = self.run.steps, self.run.steps_per_epoch
        return {
            ctx.path: [s.describe(name, t.fields()[name].domain.off, *lengths) for name, s in t.schedules().items()]
            for t, ctx in self._scheduled
        }

    def _tell_late(self) -> None:
        """Say which begin after the last step, by whose number nothing changes."""
        steps, per_epoch = self.run.steps, self.run.steps_per_epoch
        if steps is None:
            return
        for technique, _ in self._scheduled:
            for name, schedule in technique.schedules().items():
                first = math.ceil(schedule.bounds(steps, per_epoch)[0])
                if schedule.begin is not None and first >= steps:  # the last step that is asked about is steps - 1
                    stays = "it never acts" if schedule.window else f"it stays at {plain(schedule.start)}"
                    warnings.warn(
                        f"{type(technique).__name__}.{name}={schedule} begins after step {first}, but the run"
                        f" ends after step {steps}: {stays}. Begin earlier, such as at 90%, or train longer.",
                        LateScheduleWarning,
                        stacklevel=5,
                    )

    def _follow(self) -> None:
        moment = self.run.step, self.run.steps, self.run.steps_per_epoch
        for k, (technique, ctx) in enumerate(self._scheduled):
            numbers = technique.numbers_at(*moment)
            if numbers != self._numbers[k]:  # most schedules stand still for most of a run
                self._numbers[k] = numbers
                ctx.follow(technique.with_numbers(numbers))
