"""How much memory is free."""

from __future__ import annotations

import os
from pathlib import Path


def free_memory() -> float:
    """Free bytes of this machine, or of the part of it that a container may use; infinite where nobody says."""
    found = [_of_machine(), _of_container(Path("/sys/fs/cgroup"))]
    return min((n for n in found if n is not None), default=float("inf"))


def _of_machine() -> float | None:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    try:  # an estimate: free memory says too little, since caches count as used
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2
    except (ValueError, OSError, AttributeError):
        return None


def _of_container(root: Path) -> float | None:
    try:
        limit, used = (root / "memory.max").read_text().strip(), (root / "memory.current").read_text()
        return None if limit == "max" else max(float(limit) - float(used), 0.0)
    except (OSError, ValueError):
        return None
