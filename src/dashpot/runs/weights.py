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
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""As safetensors calls them."""


def layers_of(path: Path) -> list[dict[str, Any]]:
    """Of each weight of two or more axes its name, number of values, exact zeros, and a histogram of the others; the
    networks of an ensemble are counted together. Nothing for a file that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    names: dict[str, list[str]] = defaultdict(list)
    layers = []
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                part = file.get_slice(name)
                if len(part.get_shape()) >= 2 and part.get_dtype() in FLOATS:
                    names[MEMBER.sub("", name)].append(name)
            for layer, own in names.items():  # one at a time: together they may be as large as all of a run
                parts = [file.get_tensor(name).float().numpy().reshape(-1) for name in own]
                layers.append(_layer(layer, parts))
    except (OSError, SafetensorError):
        return []
    return layers


def _layer(name: str, parts: list[np.ndarray]) -> dict[str, Any]:
    """Consumes the parts."""
    size = sum(part.size for part in parts)
    rest = []
    zeros = 0
    while parts:
        values = parts.pop(0)
        zeros += int((values == 0).sum())
        rest.append(values[(values != 0) & np.isfinite(values)])
    layer: dict[str, Any] = {"name": name, "values": size, "zeros": zeros}
    if sum(part.size for part in rest):
        # A few far values must not flatten all others.
        far = np.concatenate(rest)
        np.abs(far, out=far)
        edge = float(np.quantile(far, 0.999, overwrite_input=True)) or 1.0
        del far
        counts, edges = np.zeros(BINS, np.int64), np.linspace(-edge, edge, BINS + 1)
        for part in rest:
            np.clip(part, -edge, edge, out=part)
            counts += np.histogram(part, bins=BINS, range=(-edge, edge))[0]
        layer |= {"counts": counts.tolist(), "edges": edges.tolist()}
    return layer
