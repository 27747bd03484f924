"""Multiply-adds of one sample, counted by torch while a network is called."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dashpot.shrinking.scattered import SparseLinear
from dashpot.shrinking.value import flat


def macs_of(model: nn.Module, args: Any, kwargs: Any) -> dict[str, int]:
    """Of each module with all below it, by name; "" is the network itself, which is left as it was."""
    counter = FlopCounterMode(display=False)
    modes = [(module, module.training) for module in model.modules()]
    trained = [p for p in model.parameters() if p.requires_grad]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)  # the counter does not know what it calls
        for p in trained:  # without gradients the counter fails where a module is given one, such as a class token
            p.requires_grad_(False)
        with torch.no_grad(), counter:
            model(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for p in trained:
            p.requires_grad_(True)
        for module, mode in modes:
            module.training = mode
    first = next(leaf for leaf in flat((args, kwargs)) if isinstance(leaf, Tensor))
    rows, top = max(first.shape[0] if first.ndim else 1, 1), type(model).__name__
    counts = {
        name.removeprefix(top).removeprefix("."): sum(operations.values()) // 2 // rows
        for name, operations in counter.get_flop_counts().items()
        if name != "Global"
    }
    counts[""] = counter.get_total_flops() // 2 // rows
    for name, module in model.named_modules():
        if isinstance(module, SparseLinear) and name in counts:
            left_out = counts[name] - counts[name] * module.values.numel() // (module.in_features * module.out_features)
            for own in counts:  # itself, and all around it
                counts[own] -= left_out if own in ("", name) or name.startswith(f"{own}.") else 0
    return counts
