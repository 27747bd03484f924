"""How long a network takes: the median over repeats, on one thread, in evaluation mode; of each layer, too."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.shrinking.value import flat, mapped

BATCHES = (1, 64)
"""Rows at which networks are timed in reports."""
REPEATS, SECONDS = 201, 1.0
"""Calls that are timed at least, and about how long that may take, beyond which fewer (five at least) do."""


def rows_like(args: Any, kwargs: Any, rows: int) -> tuple[Any, Any]:
    """Arguments with so many rows, by repeating those that are there."""
    tensors = [leaf for leaf in flat((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
    count = tensors[0].shape[0] if tensors else 0

    def change(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.ndim or leaf.shape[0] != count:
            return leaf
        return torch.cat([leaf] * -(-rows // count))[:rows].contiguous()

    found: tuple[Any, Any] = mapped((args, kwargs), change)
    return found


@contextlib.contextmanager
def measuring(*models: nn.Module) -> Iterator[None]:
    """One thread, evaluation mode, no gradients; afterwards all is as it was."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for model in models:
            model.eval()
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
        for module, mode in modes:
            module.training = mode


def once(model: nn.Module, given: tuple[Any, Any]) -> float:
    """Seconds of one call."""
    cuda = any(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in flat(given))
    if cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    model(*given[0], **given[1])
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def latencies(pairs: list[tuple[nn.Module, tuple[Any, Any]]], repeats: int = REPEATS) -> list[float]:
    """Median seconds of a call of each network with its arguments. They take turns, so that other work on the machine
    slows all of them alike.

    Example:
        >>> small, large = torch.nn.Linear(8, 8), torch.nn.Linear(2048, 2048)
        >>> first, second = latencies([(small, ((torch.ones(64, 8),), {})), (large, ((torch.ones(64, 2048),), {}))])
        >>> 0 < first < second
        True
    """
    with measuring(*(model for model, _ in pairs)):
        first = sum(min(once(model, given) for _ in range(3)) for model, given in pairs)
        repeats = max(5, min(repeats, int(SECONDS / max(first, 1e-9))))
        taken = [[once(model, given) for model, given in pairs] for _ in range(repeats)]
    return [statistics.median(times) for times in zip(*taken, strict=True)]


def own_seconds(pairs: list[tuple[nn.Module, tuple[Any, Any]]], repeats: int = REPEATS) -> list[dict[str, float]]:
    """Of each network with its arguments the median seconds of a call in each module that is called and not in modules
    below it, by name. They take turns.
    """
    current: dict[str, float] = {}
    handles = [handle for model, _ in pairs for handle in _watched(model, current)]
    taken: list[dict[str, list[float]]] = [{} for _ in pairs]
    try:
        with measuring(*(model for model, _ in pairs)):
            first = sum(min(once(model, given) for _ in range(3)) for model, given in pairs)
            for _ in range(max(5, min(repeats, int(SECONDS / max(first, 1e-9))))):
                for (model, given), own in zip(pairs, taken, strict=True):
                    current.clear()
                    model(*given[0], **given[1])
                    for name, seconds in current.items():
                        own.setdefault(name, []).append(seconds)
    finally:
        for handle in handles:
            handle.remove()
    return [{name: statistics.median(times) for name, times in own.items()} for own in taken]


def _watched(model: nn.Module, current: dict[str, float]) -> Iterator[Any]:
    """Hooks that add to ``current`` what each module takes itself."""
    stack: list[list[Any]] = []

    def enter(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            stack.append([name, time.perf_counter(), 0.0])

        return hook

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        name, started, below = stack.pop()
        whole = time.perf_counter() - started
        current[name] = current.get(name, 0.0) + whole - below
        if stack:
            stack[-1][2] += whole

    for name, module in model.named_modules():
        yield module.register_forward_pre_hook(enter(name))
        yield module.register_forward_hook(leave)
