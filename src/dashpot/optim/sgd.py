"""SGD with a penalty: update and proximal map in one pass over memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from dashpot.optim.proximal import Group, ProximalMixin
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.directions import register_direction, sgd_direction
from dashpot.techniques.penalties.proximal import Proximal
from dashpot.techniques.penalties.step_rules import register_step_rule, sgd_step


class SGD(ProximalMixin, torch.optim.SGD):
    r"""torch's SGD, followed in the same pass over memory by the proximal map of a penalty, so that weights become
    exactly zero.

    .. math:: w \leftarrow \mathrm{prox}_{s\,\mathrm{penalty}}\big(\mathrm{SGD}(w)\big), \qquad
              s = lr\,\frac{1 - \mathrm{dampening}}{1 - \mathrm{momentum}} \text{ (adaptive), } lr \text{ (decoupled)}

    Args:
        params: the model itself, or what torch takes: parameters, or groups of them. A group may have its own
            ``penalty``, which then acts on all of it.
        lr, momentum, dampening, weight_decay, nesterov, maximize, foreach, differentiable, fused: as torch's;
            ``weight_decay`` is coupled.
        penalty, engine: as for :class:`AdamW`; ``"compiled"`` is the same as ``"eager"`` here.

    Raises:
        ConfigError: a penalty without a proximal map, groups that do not divide a parameter's shape, an ``on`` other
            than ``weights`` where parameters and not the model were given, or ``differentiable=True``.
        ConflictError: a relative strength (see :func:`dashpot.resolve_strengths`), an ``on`` that matches nothing,
            complex or sparse parameters, a DTensor whose shards cut the groups, or momentum of 1 and more.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(20, 1)
        >>> optimizer = dashpot.optim.SGD(model, lr=0.05, momentum=0.9, penalty=dashpot.L1(strength=0.5))
        >>> x = torch.randn(64, 20, generator=torch.Generator().manual_seed(0)); y = x[:, 0]
        >>> for _ in range(300):
        ...     optimizer.zero_grad(); ((model(x)[:, 0] - y) ** 2).mean().backward(); _ = optimizer.step()
        >>> int((model.weight != 0).sum())
        1

    Paper: Parikh and Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 2014.
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        penalty: Proximal | str | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__(
            self._given(params, penalty),
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            foreach=foreach,
            differentiable=differentiable,
        )
        self._set_up(params, engine, fused)

    def _plain(self, group: Group, params: list[Tensor]) -> None:
        chosen: list[Tensor] = []
        grads: list[Tensor] = []
        buffers: list[Tensor | None] = []
        # Torch's own method has no types.
        sparse = self._init_group({**group, "params": params}, chosen, grads, buffers)  # type: ignore[no-untyped-call]
        sgd(
            chosen,
            grads,
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            has_sparse_grad=sparse,
            foreach=group["foreach"],
            fused=group["fused"],
        )
        if group["momentum"]:
            for p, buffer in zip(chosen, buffers, strict=True):
                self.state[p]["momentum_buffer"] = buffer

    def _native(self, group: Group, params: list[Tensor], jobs: np.ndarray, adaptive: bool) -> None:
        jobs["size"], jobs["decay"], jobs["nesterov"] = group["lr"], group["weight_decay"], group["nesterov"]
        jobs["step"] = sgd_step(group, {}) if adaptive else group["lr"]
        if group["momentum"]:
            fresh = []
            for p in params:
                first = self.state[p].get("momentum_buffer") is None
                if first:  # torch's first buffer is the gradient itself, not dampened
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
                fresh.append(1.0 if first else 1 - group["dampening"])
            jobs["m"] = [self.state[p]["momentum_buffer"].data_ptr() for p in params]
            jobs["has_buffer"], jobs["momentum"], jobs["fresh"] = 1, group["momentum"], fresh
        native.run("sgd", jobs, adaptive=False)


register_step_rule(SGD, sgd_step, scalar=True)
register_direction(SGD, sgd_direction)
