"""The C++ kernel of updates and proximal maps."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dashpot.core import native

SOURCE = Path(__file__).with_name("kernel.cpp")
_FLOATS = ("keep", "blend", "b2", "w2", "root", "eps", "size", "step", "l1", "l2", "lg", "momentum", "fresh", "decay")
JOB = np.dtype(
    [(name, np.uint64) for name in ("p", "m", "v", "g", "count")]
    + [(name, np.int64) for name in ("numel", "row", "across", "down")]
    + [(name, np.float32) for name in _FLOATS]
    + [("nesterov", np.int32), ("has_buffer", np.int32)],
    align=True,
)
"""``struct Job`` of rules.h."""


@functools.cache
def kernel() -> Any:
    """The loaded library, or None where there is no C++ compiler, or ``DASHPOT_NO_COMPILER`` is set."""
    library = native.library(SOURCE)
    if library is None:
        return None
    library.dashpot_job_size.restype = ctypes.c_int64
    assert library.dashpot_job_size() == JOB.itemsize, "JOB and struct Job differ"
    for name in ("dashpot_adam", "dashpot_sgd", "dashpot_map"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_int]
        getattr(library, name).restype = None
    return library


def run(rule: str, jobs: np.ndarray, adaptive: bool) -> None:
    """``rule`` (adam, sgd, or map for no update) on an array of :data:`JOB`; ctypes lets other Python threads go on
    meanwhile.
    """
    if len(jobs):
        getattr(kernel(), f"dashpot_{rule}")(jobs.ctypes.data, len(jobs), int(adaptive), torch.get_num_threads())
