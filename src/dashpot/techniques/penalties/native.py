"""The C++ kernel: compiled once for this processor by the C++ compiler that is at hand, kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-pthread",
)
SOURCE = Path(__file__).with_name("kernel.cpp")
_FLOATS = ("keep", "blend", "b2", "w2", "root", "eps", "size", "step", "l1", "l2", "lg", "momentum", "fresh", "decay")
JOB = np.dtype(
    [(name, np.uint64) for name in ("p", "m", "v", "g")]
    + [("numel", np.int64), ("row", np.int64)]
    + [(name, np.float32) for name in _FLOATS]
    + [("nesterov", np.int32), ("has_buffer", np.int32)],
    align=True,
)
"""``struct Job`` of kernel.cpp."""


@functools.cache
def kernel() -> Any:
    """The loaded library, or None where there is no C++ compiler, or ``DASHPOT_NO_COMPILER`` is set."""
    compiler = os.environ.get("CXX") or next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
    if compiler is None or os.environ.get("DASHPOT_NO_COMPILER") or platform.system() == "Windows":
        return None
    try:
        library = ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError):
        return None
    library.dashpot_job_size.restype = ctypes.c_int64
    if library.dashpot_job_size() != JOB.itemsize:
        return None
    for name in ("dashpot_adam", "dashpot_sgd", "dashpot_map"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_int]
        getattr(library, name).restype = None
    return library


def run(rule: str, jobs: np.ndarray, adaptive: bool) -> None:
    """``rule`` (adam, sgd, or map for no update) on an array of :data:`JOB`; ctypes lets other Python threads go on meanwhile."""
    if len(jobs):
        getattr(kernel(), f"dashpot_{rule}")(jobs.ctypes.data, len(jobs), int(adaptive), torch.get_num_threads())


def _built(compiler: str) -> Path:
    """The shared library, from the cache where this source was compiled by this compiler for this processor before."""
    source = SOURCE.read_bytes()
    key = hashlib.sha256(b"\0".join([source, " ".join(FLAGS).encode(), compiler.encode(), _processor().encode()])).hexdigest()[:24]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dashpot"
    path = folder / f"kernel-{key}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".so")
        os.close(handle)
        try:
            subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", name], check=True, capture_output=True, timeout=120)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    return path


def _processor() -> str:
    """What ``-march=native`` depends on: a cache folder may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.machine() + platform.processor()
