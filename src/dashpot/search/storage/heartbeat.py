"""Who is alive: signs of life in the store for workers anywhere, and the process itself for those on this machine."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GRACE = 60.0
"""Seconds without a new sign of life after which a worker on another machine counts as dead."""
GONE = {"gone": True}
"""The last sign of a worker that has ended."""


def sign() -> dict[str, Any]:
    """A sign of life: the time, and which process this is."""
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
    """Whether a sign is of a process of this machine that runs no more; of other machines one cannot know."""
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


class Watch:
    """Judges the signs of others by this observer's own clock: clocks of machines need not agree."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Any, float]] = {}

    def dead(self, name: str, beat: Any) -> bool:
        """Whether a worker is dead, by its latest sign (None: it has given none)."""
        if beat == GONE or ended_here(beat):
            return True
        now = time.monotonic()
        if name not in self._seen or self._seen[name][0] != beat:
            self._seen[name] = (beat, now)
            return False
        return now - self._seen[name][1] > GRACE
