"""Progress of a training: a bar in a terminal, one line that changes in a notebook, lines of text elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import mark, say
from dashpot.core.notebook import Line
from dashpot.training.clock import Clock


class Progress:
    """Shows epochs. Writes to standard error, so that standard output stays for results.

    Args:
        enabled: False is silent.
        clock: how far the training is.
    """

    def __init__(self, enabled: bool, clock: Clock) -> None:
        self._enabled, self._clock = enabled, clock
        self._bar: Any = None
        self._task: Any = None
        self._started, self._tenths = time.perf_counter(), -1
        self._before: int | None = None
        self._line = Line()

    def __enter__(self) -> Progress:
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(bar_width=24),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        return self

    def note(self, text: str) -> None:
        """Say something once."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        elif self._enabled:
            print(text, file=sys.stderr)

    def epoch(self, row: Mapping[str, float]) -> None:
        """One epoch is done."""
        if not self._enabled:
            return
        epoch, epochs = int(row["epoch"]), self._clock.epochs
        self._before = epoch - 1 if self._before is None else self._before
        count = f"{epoch}/{epochs}" if epochs else str(epoch)
        progress, text = self._clock.progress(epoch), f"{say('epoch {count}', count=count)}  {describe(row)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=progress, description=text)
        elif self._line:
            self._line(f"{text}  {say('{n:.0f} s left', n=self._left(epoch))}")
        elif (tenths := int(10 * progress + 1e-9)) > self._tenths:
            self._tenths = tenths
            print(f"{text}  {say('{n:.0f} s left', n=self._left(epoch))}", file=sys.stderr)

    def _left(self, epoch: int) -> float:
        """Seconds, by the pace of the epochs so far and by the budget."""
        clock, spent = self._clock, time.perf_counter() - self._started
        by_pace = math.inf if clock.epochs is None else spent * (clock.epochs - epoch) / (epoch - (self._before or 0))
        return by_pace if clock.budget is None else min(by_pace, max(clock.budget - clock.spent, 0.0))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def describe(row: Mapping[str, float]) -> str:
    """Training and validation side by side, with the gap between them."""
    parts = []
    for name in (mark("loss"), mark("accuracy"), "r2"):
        train, val = row.get(f"train_{name}"), row.get(f"val_{name}")
        if train is None:
            continue
        text = f"{say(name)} {digits(train)}"
        if val is not None:
            gap = val - train if name == "loss" else train - val
            text += f" / {digits(val)} {say('(gap {gap})', gap=digits(gap, '+'))}"
        parts.append(text)
    return "  ".join(parts)
