"""How many threads a computation takes: by the size of its work, by what the machine gives, and by measurement.

A parallel region ends when its slowest worker does. Beside other work on the machine a worker may wait for a core for
milliseconds, so that regions of microseconds take a thousand times as long as on one thread. Small work is therefore
done on one thread, large work on all that there are, and what is between on what a short measurement finds faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

SMALL, LARGE = 5e7, 4e9
"""Floating-point operations of a step (about 2 ms and 100 ms on one thread) up to which one thread is at least as fast,
and from which regions are so long that a busy machine costs no more than its share.
"""
REGIONS = 24
"""Parallel regions of a step, roughly: forward and backward through some layers."""
GAIN = 0.75
"""Several threads are taken where they need at most this share of the time of one: less is not worth the cores."""
ROUNDS, SECONDS = 7, 0.25
"""Of a measurement, at most."""
VALID = 60.0
"""Seconds after which a measurement is made again: other work comes and goes."""
PASSIVE = {
    "OMP_WAIT_POLICY": "passive",  # GNU's runtime, which torch's wheels have, and others
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",  # Intel's and LLVM's
    "OPENBLAS_THREAD_TIMEOUT": "4",  # numpy's and scipy's; a power of two of cycles
}
_measured: dict[tuple[int, int], tuple[float, int]] = {}


def wait_passively(environment: MutableMapping[str, str] | None = None) -> None:
    """Let idle workers of thread pools sleep, where the user has not said otherwise: by default they spin, and keep a
    core from the worker that all wait for. Runtimes read this once, when they are loaded, so it must come before torch.
    """
    environment = os.environ if environment is None else environment
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(environment):
        for name, value in PASSIVE.items():
            environment.setdefault(name, value)


def share_heap() -> None:
    """One heap for all threads of this process, where the user has not said otherwise: what one thread has freed in a
    heap of its own, by default of glibc, no other can use. Before threads are started.
    """
    if sys.platform.startswith("linux") and "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").mallopt(-8, 1)  # M_ARENA_MAX


def cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use, by its affinity and its container's limit; at least one."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(own, _quota(root))))


def _quota(root: Path) -> float:
    """Cores by the control group, of version 2 or 1; infinite where there is no limit."""
    found = math.inf
    with contextlib.suppress(OSError, ValueError):
        limit, period = (root / "cpu.max").read_text().split()
        found = min(found, math.inf if limit == "max" else float(limit) / float(period))
    with contextlib.suppress(OSError, ValueError):
        limit, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        found = min(found, float(limit) / float(period) if float(limit) > 0 else math.inf)
    return max(found, 1.0)


def most() -> int:
    """Threads at most: as many as torch is set to (by OMP_NUM_THREADS, or by the caller), and no more than cores."""
    import torch

    return max(1, min(torch.get_num_threads(), cores()))


@contextlib.contextmanager
def scoped(count: int) -> Iterator[None]:
    """So many threads for torch in here; afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def threads_for(operations: float, measure: Callable[[float, int], int] | None = None) -> int:
    """Threads for work in steps of so many floating-point operations.

    Args:
        operations: of a step.
        measure: from operations and the most threads to a number of threads; by default :func:`measured`.

    >>> threads_for(1e6)
    1
    """
    limit = most()
    if limit == 1 or operations < SMALL:
        return 1
    return limit if operations >= LARGE else (measure or measured)(operations, limit)


def measured(operations: float, limit: int, now: Callable[[], float] = time.monotonic) -> int:
    """One thread or ``limit``, whichever is faster at products of the size of a step's; kept for a minute."""
    key = limit, round(math.log2(operations))
    known = _measured.get(key)
    if known is None or now() - known[0] > VALID:
        known = _measured[key] = now(), faster(step(operations), limit)
    return known[1]


def step(operations: float) -> Callable[[], None]:
    """A step that takes so many operations: products of square matrices."""
    import torch

    n = max(8, round((operations / REGIONS / 2) ** (1 / 3)))
    left, right = torch.ones(n, n, device="cpu"), torch.ones(n, n, device="cpu")

    def work() -> None:
        for _ in range(REGIONS):
            left @ right

    return work


def faster(
    work: Callable[[], object],
    limit: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> int:
    """One thread or ``limit``: by the time of ``work``, measured in turn, so that what else runs hits both alike."""
    times = {1: 0.0, limit: 0.0}  # sums and not medians: it is the rare long wait that costs
    for count in times:
        with scoped(count):
            work()  # starts the workers
    for _ in range(rounds):
        for count in times:
            with scoped(count):
                started = clock()
                work()
                times[count] += clock() - started
        if sum(times.values()) > seconds:
            break
    return limit if times[limit] <= GAIN * times[1] else 1
