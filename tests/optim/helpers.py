"""The oracle of the group maps that the kernel does."""

from __future__ import annotations

import numpy as np


def bisected(w: np.ndarray, t: np.ndarray) -> np.ndarray:
    """``argmin_u sum (u - w)^2 / (2 t) + |u|`` for each row, in float64."""
    out = np.zeros_like(w)
    for k, (x, s) in enumerate(zip(w, t, strict=True)):
        if np.square(x / s).sum() <= 1:
            continue
        low, high = 0.0, float(np.linalg.norm(x))
        for _ in range(200):
            r = (low + high) / 2
            low, high = (r, high) if np.square(x / (r + s)).sum() > 1 else (low, r)
        out[k] = x * low / (low + s)
    return out
