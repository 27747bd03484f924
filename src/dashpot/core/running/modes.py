"""Training and evaluation mode, and other weights for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from dashpot.core.running.tensors import put, tensors


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """``model`` in evaluation mode; each module's own mode is back afterwards, also where some were frozen on purpose.

    >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3).eval())
    >>> with evaluating(model):
    ...     modes = [module.training for module in model]
    >>> modes, [module.training for module in model]
    ([False, False], [True, False])
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes.items():
            module.training = mode


def to_training(model: nn.Module) -> None:
    """Training mode. In a model that has it already, parts that somebody put into evaluation mode stay there: frozen
    statistics, dropout that rests.
    """
    if not model.training:
        model.train()


def resting(model: nn.Module) -> list[str]:
    """The parts that are in evaluation mode while the model is in training mode, the outermost of them, by name.

    >>> resting(nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3)).eval()))
    ['1']
    """
    found: list[str] = []
    for name, module in model.named_modules() if model.training else ():
        if not module.training and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return found


@contextlib.contextmanager
def holding(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """``model`` with these tensors, by name; its own are back afterwards."""
    own = tensors(model) if values else {}
    saved = {name: own[name].detach().clone() for name in values}
    try:
        put(own, values)
        yield
    finally:
        put(own, saved)
