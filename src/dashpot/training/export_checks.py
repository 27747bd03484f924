"""Whether a file gives what its network gives, on fresh inputs, and how fast ONNX Runtime is with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.shrinking.timing import BATCHES, latencies, rows_like
from dashpot.shrinking.value import flat, mapped

TOLERANCE = 1e-4
"""How far outputs of a file may be from the network's, as a share of the largest one: sums have another order."""
ROWS = (1, 3, 16)
"""Rows of the fresh inputs on which a file is checked."""


def session_of(path: Path) -> Any:
    """ONNX Runtime's session of a file, on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def runtime(path: Path) -> Any:
    session = session_of(path)
    names = [value.name for value in session.get_inputs()]

    def run(given: Any) -> list[Tensor]:
        tensors = [leaf.numpy() for leaf in flat(given) if isinstance(leaf, Tensor)]
        return [torch.from_numpy(np.asarray(out)) for out in session.run(None, dict(zip(names, tensors, strict=True)))]

    return run


class _Runs(nn.Module):
    """ONNX Runtime's session in the place of a network."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.run = runtime(path)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run((args, kwargs))


def times_of(model: nn.Module, path: Path, args: Any, kwargs: Any) -> dict[int, tuple[float, float]]:
    found, runs = {}, _Runs(path)
    for rows in BATCHES:
        given = rows_like(args, kwargs, rows)
        eager, own = latencies([(model, given), (runs, given)])
        found[rows] = (1e3 * eager, 1e3 * own)
    return found


def largest_difference(model: nn.Module, run: Any, args: Any, kwargs: Any, tolerance: float = TOLERANCE) -> float:
    """On fresh inputs, as a share of the largest output.

    Raises:
        ConflictError: it is above the tolerance.
    """
    worst, draw = 0.0, torch.Generator().manual_seed(1)

    def fresh(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.ndim:
            return leaf
        if leaf.is_floating_point():
            spread = float(leaf.std()) if leaf.numel() > 1 else 1.0
            low, high = float(leaf.min()), float(leaf.max())
            drawn = torch.randn(leaf.shape, generator=draw, dtype=leaf.dtype) * (spread or 1.0) + float(leaf.mean())
            return drawn.clamp(low, high) if low >= 0 and high <= 1 else drawn
        return leaf[torch.randperm(len(leaf), generator=draw)]

    for rows in ROWS:
        given = mapped(rows_like(args, kwargs, rows), fresh)
        with torch.no_grad():
            wanted = [leaf for leaf in flat(_plain(model(*given[0], **given[1]))) if isinstance(leaf, Tensor)]
        got = [leaf for leaf in run(given) if isinstance(leaf, Tensor)]
        for one, other in zip(wanted, got, strict=True):
            if one.shape != other.shape:
                raise ConflictError(
                    f"the file of {type(model).__name__} gives {list(other.shape)} for {rows} rows, and the network"
                    f" {list(one.shape)}. Export .safetensors in its place."
                )
            if one.numel():
                apart = (one.double() - other.double()).abs().max() / one.double().abs().max().clamp(min=1e-30)
                worst = max(worst, float(apart))
    if not worst <= tolerance:
        raise ConflictError(
            f"the file of {type(model).__name__} gives other outputs than the network, by {worst:.1e} of the largest"
            " one. Nothing was written."
        )
    return worst


def _plain(out: Any) -> Any:
    return list(out.values()) if isinstance(out, Mapping) else out
