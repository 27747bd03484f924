"""A network beside its smaller one, layer by layer: parameters, multiply-adds, bytes and time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dashpot.shrinking.counting import macs_of
from dashpot.shrinking.factors import Factors
from dashpot.shrinking.timing import BATCHES, latencies, own_seconds, rows_like


def beside(model: nn.Module, small: nn.Module, args: Any, kwargs: Any, cut: tuple[Any, Any] | None = None) -> Any:
    """What a network and the one that was made of it cost, as plain JSON.

    Args:
        model, small: before and after.
        args, kwargs: what ``model`` is called with.
        cut: what ``small`` is called with, where that is something else.

    Returns:
        ``latency``: by the number of rows milliseconds before and after, medians on one thread, measured in turns; and
        ``by_layer``: of each module with parameters its name, class, and lists [before, after] of parameters, macs (of
        a sample), bytes and, as ``ms_1`` and ``ms_64``, milliseconds in it.

    Example:
        >>> import torch
        >>> large, small = torch.nn.Linear(4, 8), torch.nn.Linear(4, 2)
        >>> beside(large, small, (torch.ones(2, 4),), {})["by_layer"][0]["parameters"]
        [40, 10]
    """
    pairs = [(model, (args, kwargs)), (small, cut or (args, kwargs))]
    latency, milliseconds = {}, {}
    for rows in BATCHES:
        given = [(net, rows_like(*called, rows)) for net, called in pairs]
        latency[str(rows)] = [round(1e3 * seconds, 6) for seconds in latencies(given)]
        milliseconds[rows] = own_seconds(given)
    counted = [macs_of(net, *called) for net, called in pairs]
    modules = [dict(net.named_modules()) for net, _ in pairs]
    layers = []
    for name, module in modules[0].items():
        tensors = [list(_own(net.get(name))) for net in modules]
        if not any(isinstance(t, nn.Parameter) for t in tensors[0]):
            continue
        sizes = [sum(t.numel() for t in own if isinstance(t, nn.Parameter)) for own in tensors]
        layer: dict[str, Any] = {"name": name, "kind": type(module).__name__, "parameters": sizes}
        layer["macs"] = [count.get(name, 0) for count in counted]
        layer["bytes"] = [sum(t.numel() * t.element_size() for t in own) for own in tensors]
        for rows, own_ms in milliseconds.items():
            parts = (name, f"{name}.0", f"{name}.1") if isinstance(modules[1].get(name), Factors) else (name,)
            taken = [own_ms[0].get(name, 0.0), sum(own_ms[1].get(part, 0.0) for part in parts)]
            layer[f"ms_{rows}"] = [round(1e3 * seconds, 6) for seconds in taken]
        layers.append(layer)
    return {"latency": latency, "by_layer": layers}


def _own(module: nn.Module | None) -> list[Tensor]:
    if module is None:
        return []
    whole = isinstance(module, Factors)  # two layers in the place of one
    return [*module.parameters(recurse=whole), *module.buffers(recurse=whole)]
