"""Evaluation mode, and other weights for a while, as context managers."""

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
