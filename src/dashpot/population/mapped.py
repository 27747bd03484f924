"""Networks of one shape as one by ``torch.func.vmap``: for modules whose layers have no stacked twin."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.population.stack import NotStackableError, check, demand_own, load, tensors_of


class _Mapped:
    """Mixed into a copy of the network's class: the modules hold stacked parameters under the same names, and
    ``forward`` maps the network over them.
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        plain = self.__dict__["plain"]
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        for own, whole in zip(plain.modules(), self.modules(), strict=True):
            own.training = whole.training
            if isinstance(own, nn.modules.batchnorm._NormBase):
                own.track_running_stats = whole.track_running_stats

        def one(own: dict[str, Tensor], batch: Tensor) -> Any:
            return torch.func.functional_call(plain, own, (batch,))

        out: Tensor = torch.func.vmap(one, randomness="error")(tensors, x)
        return out


def mapped(models: Sequence[nn.Module], probe: Tensor) -> nn.Module:
    """As :func:`dashpot.population.stack.stacked`, by ``vmap``. Forward hooks on modules inside do not act.

    Raises:
        NotStackableError: why this network cannot be.
    """
    whole = copy.deepcopy(models[0])
    demand_own(whole)
    if any(isinstance(m, nn.modules.batchnorm._NormBase) and m.momentum is None for m in whole.modules()):
        raise NotStackableError("batch normalization with momentum=None")
    # In the dictionary, so that it is no submodule; it is made anew with each copy.
    whole.__dict__["plain"] = copy.deepcopy(models[0]).to(probe.device)
    whole.__class__ = type(f"Mapped{type(whole).__name__}", (_Mapped, type(whole)), {})
    load(whole, tensors_of(models))
    check(whole, models, probe)
    return whole
