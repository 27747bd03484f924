"""Which machine and which versions made a result."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def versions() -> dict[str, str]:
    """Of Python and of the libraries that decide a result."""
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in ("dashpot", "torch", "numpy", "scikit-learn")}}


def machine() -> dict[str, Any]:
    """Processor, cores, threads and accelerator."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
