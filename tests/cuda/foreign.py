"""A device that is not the CPU, where there is no GPU: ``meta``.

torch checks on ``meta`` what it checks on a GPU: that operands live on one device, but for a number's tensor from the
CPU. There are no numbers there, so that whoever asks for one, or copies to the CPU, is found out: on a GPU that waits
until all work is done, which no step of a training may do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dashpot.core.rng import Draws

META = "meta"
_FOR_ALL: dict[Any, Callable[[Tensor], Any]] = {
    Tensor.__bool__: lambda t: True,
    Tensor.__float__: lambda t: 0.5,
    Tensor.__int__: lambda t: 1,
    Tensor.item: lambda t: 0.5,
    Tensor.cpu: lambda t: torch.zeros(t.shape, dtype=t.dtype, device="cpu"),
}


class Answers(TorchFunctionMode):
    """Answers who asks for a number on ``meta``, and counts how often somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.device.type == META:
            if func in _FOR_ALL:
                self.asked.append(getattr(func, "__name__", str(func)))
                return _FOR_ALL[func](first)
            if func is torch.allclose:
                self.asked.append("allclose")
                return True
        there = func(*args, **(kwargs or {}))
        if isinstance(there, Tensor) and there.device.type == META and _copied(func, first, kwargs or {}):
            self.asked.append(getattr(func, "__name__", str(func)))
        return there


def _copied(func: Any, first: Any, options: Mapping[str, Any]) -> bool:
    """Whether numbers went from the CPU to the device, and the call waited until they were there."""
    if func is Tensor.to:
        return first.device.type != META and not options.get("non_blocking")
    return func in (torch.tensor, torch.as_tensor) and not (isinstance(first, Tensor) and first.device.type == META)


@contextmanager
def answering(patch: Any) -> Iterator[Answers]:
    """Numbers are made up inside, for what asks once (at attach, after an epoch); ``patch`` is pytest's, for the draws
    of a generator that ``meta`` has not.
    """
    mode = Answers()
    without_generators(patch)
    with mode:
        yield mode


def without_generators(patch: Any) -> None:
    """Draws on ``meta`` need no generator; there is none."""

    def normal(self: Draws, shape: Sequence[int], device: Any = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(tuple(shape), device=device, dtype=dtype)

    def uniform(self: Draws, shape: Sequence[int], device: Any = "cpu") -> Tensor:
        return torch.empty(tuple(shape), device=device, dtype=torch.float32)

    patch.setattr(Draws, "normal", normal)
    patch.setattr(Draws, "uniform", uniform)
