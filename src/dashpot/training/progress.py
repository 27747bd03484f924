"""Progress of a training: a bar with the time left in a terminal, lines of text elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from dashpot.core.digits import digits


class Progress:
    """Shows epochs. Writes to standard error, so that standard output stays for results.

    Args:
        enabled: False is silent.
        epochs: how many there will be at most.
    """

    def __init__(self, enabled: bool, epochs: int) -> None:
        self._enabled, self._epochs = enabled, epochs
        self._bar: Any = None
        self._task: Any = None
        self._started = time.perf_counter()
        self._every = max(1, epochs // 10)
        self._done_before: int | None = None

    def __enter__(self) -> Progress:
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("epoch {task.completed}/{task.total}"),
                BarColumn(bar_width=24),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=self._epochs)
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
        epoch = int(row["epoch"])
        if self._done_before is None:
            self._done_before = epoch - 1
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch, description=describe(row))
        elif epoch == 1 or epoch % self._every == 0 or epoch == self._epochs:
            spent = time.perf_counter() - self._started
            left = spent / (epoch - self._done_before) * (self._epochs - epoch)
            print(f"epoch {epoch}/{self._epochs}  {describe(row)}  {left:.0f} s left", file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def describe(row: Mapping[str, float]) -> str:
    """Training and validation side by side, with the gap between them."""
    parts = []
    for name in ("loss", "accuracy", "r2"):
        train, val = row.get(f"train_{name}"), row.get(f"val_{name}")
        if train is None:
            continue
        text = f"{name} {digits(train)}"
        if val is not None:
            gap = val - train if name == "loss" else train - val
            text += f" / {digits(val)} (gap {digits(gap, '+')})"
        parts.append(text)
    return "  ".join(parts)
