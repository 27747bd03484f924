"""The weights in a file: how they are distributed, and how many are exactly zero."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

BINS = 41
MEMBER = re.compile(r"^(?:members|networks|models)\.\d+\.")
"""In front of the names of an ensemble's networks."""


def layers_of(path: Path) -> list[dict[str, Any]]:
    """Of each weight of two or more axes its name, number of values, exact zeros, and a histogram of the others; the
    networks of an ensemble are counted together. Nothing for a file that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, list[np.ndarray]] = defaultdict(list)
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                if len(file.get_slice(name).get_shape()) >= 2:
                    values = file.get_tensor(name)
                    if values.is_floating_point():
                        found[MEMBER.sub("", name)].append(values.float().numpy().reshape(-1))
    except (OSError, SafetensorError):
        return []
    return [_layer(name, np.concatenate(parts)) for name, parts in found.items()]


def _layer(name: str, values: np.ndarray) -> dict[str, Any]:
    layer: dict[str, Any] = {"name": name, "values": values.size, "zeros": int((values == 0).sum())}
    rest = values[(values != 0) & np.isfinite(values)]
    if rest.size:
        # A few far values must not flatten all others.
        edge = float(np.quantile(np.abs(rest), 0.999)) or 1.0
        counts, edges = np.histogram(np.clip(rest, -edge, edge), bins=BINS, range=(-edge, edge))
        layer |= {"counts": counts.tolist(), "edges": edges.tolist()}
    return layer
