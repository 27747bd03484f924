"""The random amounts of techniques on images that act on each image with a probability."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dashpot.imaging.curves import NONE, Curve
from dashpot.imaging.draws import SampleDraws


def factors(draws: SampleDraws, strength: float, p: float) -> Tensor:
    """Of each image a factor that is uniform in [1 - strength, 1 + strength] with probability ``p``, else 1; float64
    [n].
    """
    chosen, u = draws.uniforms(2)
    return torch.from_numpy(np.where(chosen < p, 1 + strength * (2 * u - 1), 1.0))


def curves(kind: int, chosen: np.ndarray, level: np.ndarray | None = None) -> Curve:
    """One kind of curve on the chosen images (bool [n]), each at its level."""
    levels = np.zeros(len(chosen)) if level is None else level
    return Curve(torch.from_numpy(np.where(chosen, kind, NONE)), torch.from_numpy(levels.astype(np.float32)))
