"""Which machine and which versions made a result."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any


def versions() -> dict[str, str]:
    """Of Python and of the libraries that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "dashpot": "not installed"}
    for name in ("dashpot", "torch", "numpy", "scikit-learn"):
        with contextlib.suppress(PackageNotFoundError):  # Dashpot may run from its source
            found[name] = version(name)
    if (torch := sys.modules.get("torch")) is not None:
        found["torch"] = str(torch.__version__)  # with its build, as in 2.13.0+cu130, which not all indexes put there
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, threads, accelerator, and whether compiled kernels are used, or what it costs that they are
    not.
    """
    import torch

    from dashpot.core.native import missing

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "kernels": missing() or "compiled",
    }


def peak_memory() -> dict[str, float] | None:
    """The most memory in MB that this process has held, or one of its ended children where that was more, and of the
    accelerator; None where the system does not say.
    """
    import torch

    try:
        import resource
    except ImportError:  # not on Windows
        return None
    # In kilobytes, except where it is in bytes.
    unit = 1e6 if platform.system() == "Darwin" else 1e3
    own = _high_water() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    found = {"process": max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit)}
    return {**found, "accelerator": torch.cuda.max_memory_allocated() / 1e6} if torch.cuda.is_available() else found


def _high_water() -> float | None:
    """In MB, from Linux itself: what getrusage says of a process begins with what its parent held."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
