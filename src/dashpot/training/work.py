"""How much work a training step is, from shapes alone: nothing is run for it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dashpot.core.running.nested import leaves
from dashpot.core.threads import threads_for

PASSES = 6
"""Operations per weight and sample: a multiplication and an addition, forward and for both gradients."""
TABLES = (nn.Embedding, nn.EmbeddingBag)
"""Layers of which a sample uses few weights."""


def step_operations(model: nn.Module, x: Any, rows: int) -> float:
    """Floating-point operations of a step on so many rows, to about a factor of four; convolutions are taken to keep
    the size of the image.

    Args:
        x: some inputs, also in dicts and tuples.

    >>> step_operations(nn.Linear(10, 3, bias=False), torch.zeros(2, 10), 100)
    18000.0
    """
    shapes = [(tuple(leaf.shape), leaf.is_floating_point()) for _, leaf in leaves(x) if isinstance(leaf, Tensor)]
    pixels = max((math.prod(shape[2:]) for shape, _ in shapes), default=1)
    # Numbers of tokens [rows, tokens], or steps of a sequence [rows, steps, features].
    steps = max((math.prod(shape[1:-1] if real else shape[1:2]) for shape, real in shapes), default=1)
    convolutions = any(isinstance(module, _ConvNd) for module in model.modules())
    total = 0.0
    for module in model.modules():
        own = sum(p.numel() for p in module.parameters(recurse=False) if p.ndim > 1)
        if isinstance(module, _ConvNd):
            total += own * pixels
        elif not isinstance(module, TABLES):
            total += own * (1 if convolutions else steps)
    return float(PASSES * rows * total)


def step_threads(model: nn.Module, x: Any, rows: int, place: torch.device) -> int:
    """Threads for the steps of a training; those that there are where another device does the work."""
    return threads_for(step_operations(model, x, rows)) if place.type == "cpu" else torch.get_num_threads()
