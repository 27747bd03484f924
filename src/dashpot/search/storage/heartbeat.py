"""Which workers are alive: by heartbeats in the storage, and on this machine by their processes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dashpot.core.errors import StorageError

EVERY = 10.0
"""Seconds between heartbeats."""
GRACE = 60.0
"""Seconds without a new heartbeat after which a worker on another machine counts as dead."""
GONE = {"gone": True}
"""The last heartbeat of a worker that has ended."""


def beat() -> dict[str, Any]:
    """A heartbeat: the time, and which process this is."""
    return {"at": time.time(), "machine": machine_id(), "pid": os.getpid(), "since": _since(os.getpid())}


def machine_id() -> str:
    """This machine and its process numbers: containers may share a host's name, and have numbers of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def _since(pid: int) -> str | None:
    """When a process began, so that a number used again is not taken for it; None where that cannot be known, "" where
    there is none.
    """
    if not Path("/proc/self/stat").exists():
        return None
    try:
        # The name before the last bracket may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def ended_here(beat: Any) -> bool:
    """Whether a heartbeat is of a process of this machine that runs no more; of other machines one cannot know."""
    if not isinstance(beat, Mapping) or beat.get("machine") != machine_id():
        return False
    pid = int(beat["pid"])
    if (since := _since(pid)) is not None:
        return since != beat.get("since")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Heartbeat:
    """Heartbeats of this worker, sent by a thread until it ends.

    Args:
        send: writes a heartbeat where the other workers see it.
    """

    def __init__(self, send: Callable[[Mapping[str, Any]], None]) -> None:
        self._send, self._ended = send, threading.Event()
        send(beat())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._ended.is_set()

    def stop(self) -> None:
        """Send no more."""
        self._ended.set()

    def join(self) -> None:
        """Wait a moment for a heartbeat that is on its way."""
        self._thread.join(1)

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            # Training goes on without the storage; ``tell`` will raise.
            with contextlib.suppress(StorageError):
                self._send(beat())


class Monitor:
    """Watches the heartbeats of other workers by its own clock, since clocks of machines differ."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Any, float]] = {}

    def dead(self, name: str, beat: Any) -> bool:
        """Whether a worker is dead, by its latest heartbeat (None: it has given none)."""
        if beat == GONE or ended_here(beat):
            return True
        now = time.monotonic()
        if name not in self._seen or self._seen[name][0] != beat:
            self._seen[name] = (beat, now)
            return False
        return now - self._seen[name][1] > GRACE
