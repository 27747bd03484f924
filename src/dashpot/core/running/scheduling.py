"""The techniques of a session whose numbers follow the training."""

from __future__ import annotations

from collections.abc import Iterable

from dashpot.core.configured import Configured
from dashpot.core.running.context import Context
from dashpot.core.running.run import Run


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

    def __bool__(self) -> bool:
        return bool(self._scheduled)

    def described(self) -> dict[str, list[str]]:
        """By a technique's path what follows the training, in words."""
        lengths = self.run.steps, self.run.steps_per_epoch
        return {
            ctx.path: [s.describe(name, t.fields()[name].domain.off, *lengths) for name, s in t.schedules().items()]
            for t, ctx in self._scheduled
        }

    def _follow(self) -> None:
        moment = self.run.step, self.run.steps, self.run.steps_per_epoch
        for k, (technique, ctx) in enumerate(self._scheduled):
            numbers = technique.numbers_at(*moment)
            if numbers != self._numbers[k]:  # most schedules stand still for most of a run
                self._numbers[k] = numbers
                ctx.follow(technique.with_numbers(numbers))
