"""Ctrl-C that is not lost where a library swallows it."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Remembers Ctrl-C until it has been handled.

    Python raises :class:`KeyboardInterrupt` wherever the program happens to be, and in a destructor, a callback from C,
    or a library's bare ``except`` it is dropped without a word: a search that was told to stop would then go on for its
    whole budget. So it is raised once more at the next :meth:`check`, and what Python says of the dropped one, a
    traceback that tells the user nothing, is not printed.

    Acts only in the main thread, and only where no other handler is installed.
    """

    def __init__(self) -> None:
        self._pending = False
        self._before: Any = None
        self._report: Any = None

    def __enter__(self) -> Interrupts:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._hear)
            self._report, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            sys.unraisablehook = self._report

    def check(self) -> None:
        """Raise an interrupt that was dropped.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, and :meth:`handled` was not called since.
        """
        if self._pending:
            self.handled()
            raise KeyboardInterrupt

    def handled(self) -> None:
        """Interrupts up to now were handled."""
        self._pending = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._pending = True
        raise KeyboardInterrupt

    def _dropped(self, unraisable: sys.UnraisableHookArgs) -> None:
        if not (self._pending and isinstance(unraisable.exc_value, KeyboardInterrupt)):
            self._report(unraisable)
