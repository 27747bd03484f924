"""A tracker for tests."""

from __future__ import annotations

from typing import Any

from dashpot.tracking import End, Start, Tracker


class Kept(Tracker):
    """Keeps all that it is told."""

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.starts: list[Start] = []
        self.epochs: list[tuple[int, dict[str, float], dict[str, str]]] = []
        self.ends: list[End] = []

    def begin(self, start: Start) -> Any:
        self.starts.append(start)
        return f"token of {self.name}"

    def epoch(self, number: int, values: Any, notes: Any) -> None:
        self.epochs.append((number, dict(values), dict(notes)))

    def end(self, end: End) -> None:
        self.ends.append(end)
