"""Records a network while it runs: the layers it calls, sums, and columns cut and joined.

``torch.fx`` would do, but while it traces it changes ``nn.Module`` for all threads, and populations run in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from dashpot.population.borrowed import as_before

_SUMS = (torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, add)
_QUESTIONS = ("__get__", "size", "dim", "is_floating_point", "__len__")
"""What a network may ask about a tensor between its layers: nothing of its values."""


class UnknownStepError(Exception):
    """Something that is no layer, sum, cut or join."""


@dataclass(frozen=True)
class Step:
    """A call of the layer ``name``; without a name a sum, or a ``cut`` of columns (start, stop), or a ``join`` of
    columns. Values are numbered: 0 is the input."""

    name: str | None
    inputs: tuple[int, ...]
    output: int
    cut: tuple[int, int] | None = None
    join: bool = False


@dataclass(frozen=True)
class Recording:
    """The steps, and the number of the value that the network returns."""

    steps: tuple[Step, ...]
    output: int


def recorded(network: nn.Module, columns: int) -> Recording:
    """The steps of a network for inputs [batch, columns].

    Raises:
        UnknownStepError: it does something else, or other things in training than in evaluation.
    """
    seen = [_run(network, columns, training) for training in (True, False)]
    if seen[0] != seen[1]:
        raise UnknownStepError
    return seen[0]


@torch.no_grad()
def _run(network: nn.Module, columns: int, training: bool) -> Recording:
    recorder, hooks = _Recorder(), list[RemovableHandle]()
    with as_before(network) as (twin,):
        for name, module in twin.train(training).named_modules():
            if not any(module.children()):
                hooks += [
                    module.register_forward_pre_hook(recorder.before),
                    module.register_forward_hook(recorder.after(name)),
                ]
        x = torch.linspace(-1, 1, 3 * columns, device="cpu").reshape(3, columns)
        recorder.number(x)
        try:
            with recorder:
                out = twin(x)
        finally:
            for hook in hooks:
                hook.remove()
    return Recording(tuple(recorder.steps), recorder.known(out))


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Tensor] = []  # so that no identity is used twice
        self._inside = 0

    def number(self, value: Tensor) -> int:
        self._kept.append(value)
        self._numbers[id(value)] = number = len(self._kept) - 1
        return number

    def known(self, value: Any) -> int:
        if id(value) not in self._numbers:
            raise UnknownStepError
        return self._numbers[id(value)]

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._inside += 1

    def after(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], out: Any) -> Tensor:
            if len(args) != 1 or not isinstance(out, Tensor) or getattr(module, "inplace", False):
                raise UnknownStepError
            source, fresh = (
                self.known(args[0]),
                out.view_as(out),
            )  # a layer that returns its input gives a value of its own, too
            self._inside -= 1
            self.steps.append(Step(name, (source,), self.number(fresh)))
            return fresh

        return hook

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self._inside:
            return out
        if func in _SUMS and len(args) == 2 and not kwargs and isinstance(out, Tensor):
            pair = self.known(args[0]), self.known(args[1])
            self.steps.append(Step(None, pair, self.number(out)))
        elif func is torch.Tensor.__getitem__ and isinstance(out, Tensor):
            source = self.known(args[0])
            cut = _columns(args[1], args[0].shape[-1])
            self.steps.append(Step(None, (source,), self.number(out), cut=cut))
        elif func is torch.cat and len(args) == 1 and (kwargs or {}) == {"dim": -1}:
            parts = tuple(self.known(part) for part in args[0])
            self.steps.append(Step(None, parts, self.number(out), join=True))
        elif isinstance(out, Tensor) or getattr(func, "__name__", "") not in _QUESTIONS:
            raise UnknownStepError
        return out


def _columns(index: Any, width: int) -> tuple[int, int]:
    """The range that ``[..., start:stop]`` takes of the last axis."""
    if not isinstance(index, tuple) or len(index) != 2 or index[0] is not Ellipsis or not isinstance(index[1], slice):
        raise UnknownStepError
    start, stop, stride = index[1].indices(width)
    if stride != 1 or start >= stop:
        raise UnknownStepError
    return start, stop
