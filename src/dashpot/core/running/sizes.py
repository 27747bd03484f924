"""How many rows are evaluated at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dashpot.core.running.nested import leaves
from dashpot.core.running.tensor_rows import TensorRows

WHOLE = (torch.int16, torch.int32, torch.int64)
ROWS = 4096
"""At most."""
VALUES, VALUES_ON_GPU = 1 << 21, 1 << 25
"""Of inputs with more axes than a table, at most: networks for them hold several times as many activations. On a CPU
13 images of 3 x 224 x 224 and 682 of 3 x 32 x 32, with which the built-in network is as fast as with more, or faster.
"""
EMBEDDED = 64
"""Values that a whole number of a sequence counts for: a network for texts makes a vector of each token."""


def at_once(x: Any, device: torch.device | str = "cpu") -> int:
    """How many rows of an input of any structure a network is evaluated on at once: bounded by the number of values,
    where rows are images, signals or other structures of several axes, or sequences of whole numbers.

    >>> at_once(torch.zeros(10, 5000)), at_once(torch.zeros(10, 3, 224, 224)), at_once(torch.zeros(10, 1, 8, 8))
    (4096, 13, 4096)
    >>> at_once(torch.zeros(10, 512, dtype=torch.int32))
    64
    """
    held = [leaf for _, leaf in leaves(x) if isinstance(leaf, Tensor | TensorRows) and leaf.ndim > 1]
    values = sum(math.prod(leaf.shape[1:]) for leaf in held if leaf.ndim > 2)
    values += sum(EMBEDDED * leaf.shape[1] for leaf in held if leaf.ndim == 2 and leaf.dtype in WHOLE)
    most = VALUES if torch.device(device).type == "cpu" else VALUES_ON_GPU
    return max(1, min(ROWS, most // max(values, 1)))
