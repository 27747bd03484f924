"""AdamW with a penalty: update and proximal map in one pass over memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from dashpot.optim.compiled import compiled_adam, flat_alias
from dashpot.optim.given import first_strength
from dashpot.optim.proximal import Group, ProximalMixin
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.directions import adam_direction, register_direction
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Proximal
from dashpot.techniques.penalties.step_rules import adam_step, register_step_rule


class AdamW(ProximalMixin, torch.optim.AdamW):
    r"""torch's AdamW, followed in the same pass over memory by the proximal map of a penalty, so that weights become
    exactly zero.

    .. math:: w \leftarrow \mathrm{prox}_{s\,\mathrm{penalty}}\big(\mathrm{AdamW}(w)\big), \qquad
              s = \frac{lr}{\sqrt{\hat v} + \epsilon} \text{ (adaptive), } lr \text{ (decoupled)}

    It gives what the same penalty attached to ``torch.optim.AdamW`` gives, to rounding, and is faster.

    Args:
        params: the model itself, or what torch takes: parameters, or groups of them. A group may have its own
            ``penalty``, which then acts on all of it.
        lr, betas, eps, weight_decay, amsgrad, maximize, foreach, capturable, differentiable, fused: as torch's.
        penalty: a technique with a proximal map or its text, or None; a schedule of it must count in steps. It acts on
            the parameters its ``on`` selects where the model was given, else on those with two or more dimensions.
        engine: ``"auto"``: the C++ kernel for L1, elastic net and penalties on rows (built by the first step of a model
            large enough to be worth it; kept in the user's cache folder), eager mode for the rest. ``"native"``:
            always the kernel where it fits. ``"compiled"``: ``torch.compile``, for any separable penalty, on CPU and
            GPU. ``"eager"``: no compiler.

    Parameters stay where they are, so that ``model.to``, ``load_state_dict`` and ``requires_grad_`` work as ever.
    ``state_dict`` is torch's; checkpoints of ``torch.optim.AdamW`` load. The penalty is not in it.

    Raises:
        ConfigError: a penalty without a proximal map, groups that do not divide a parameter's shape, an ``on`` other
            than ``weights`` where parameters and not the model were given, or ``differentiable=True``.
        ConflictError: a relative strength (see :func:`dashpot.resolve_strengths`), an ``on`` that matches nothing,
            complex or sparse parameters, a DTensor whose shards cut the groups, or a penalty that
            cannot work with a step for each weight.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(20, 1)
        >>> optimizer = dashpot.optim.AdamW(model, lr=0.01, weight_decay=0.0, penalty=dashpot.L1(strength=0.5))
        >>> x = torch.randn(64, 20, generator=torch.Generator().manual_seed(0)); y = x[:, 0]
        >>> for _ in range(300):
        ...     optimizer.zero_grad(); ((model(x)[:, 0] - y) ** 2).mean().backward(); _ = optimizer.step()
        >>> int((model.weight != 0).sum())
        1

    Papers: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; Yun et al., "Adaptive Proximal
    Gradient Methods for Structured Neural Networks", NeurIPS 2021.
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        penalty: Proximal | str | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__(
            self._given(params, penalty),
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
        )
        self._set_up(params, engine, fused)

    def _moments(self, group: Group, params: list[Tensor], *, fused: bool = False) -> tuple[list[Tensor], ...]:
        """First, second, largest second moments and step counts, made where they are missing, as torch makes them.

        Args:
            fused: torch's fused step takes them, which on a GPU reads the step counts there.
        """
        lists: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
        settings = {**group, "params": params, "fused": fused}
        for p in params if fused else ():
            state = self.state[p]
            if state and (state["step"].device != p.device or state["step"].dtype is not torch.float32):
                state["step"] = state["step"].to(p.device, torch.float32)
        self._init_group(settings, *lists)  # type: ignore[no-untyped-call]  # torch's own method has no types
        return lists[2:]

    def _plain(self, group: Group, params: list[Tensor]) -> None:
        fused = group["fused"]
        if fused is None:
            usable = all(
                p.device.type in ("cpu", "cuda")
                and p.is_floating_point()
                and p.layout == torch.strided
                and self._alike(p)
                for p in params
            )
            fused = (
                usable
                and group["foreach"] is None
                and not group["differentiable"]
                and not isinstance(group["lr"], Tensor)
                and not group["capturable"]
            ) or None  # torch then chooses between a loop and its horizontal kernels
        firsts, seconds, largest, steps = self._moments(group, params, fused=bool(fused))
        adam(
            params,
            [p.grad for p in params if p.grad is not None],
            firsts,
            seconds,
            largest,
            steps,
            foreach=group["foreach"],
            capturable=group["capturable"],
            differentiable=group["differentiable"],
            fused=fused,
            amsgrad=group["amsgrad"],
            has_complex=any(torch.is_complex(p) for p in params),
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
            decoupled_weight_decay=True,
        )

    def _native(self, group: Group, params: list[Tensor], jobs: np.ndarray, adaptive: bool) -> None:
        states: list[Any] = [self.state[p] for p in params]
        if not all(states):
            self._moments(group, params)
        steps = [state["step"] for state in states]
        count = np.array([step.item() for step in steps]) + 1
        jobs["m"] = [state["exp_avg"].data_ptr() for state in states]
        jobs["v"] = [state["exp_avg_sq"].data_ptr() for state in states]
        if all(step.dtype is torch.float32 and step.is_cpu for step in steps):
            jobs["count"] = [step.data_ptr() for step in steps]
        else:
            torch._foreach_add_(steps, 1)
        (b1, b2), lr = group["betas"], float(group["lr"])
        jobs["keep"], jobs["blend"], jobs["b2"], jobs["w2"], jobs["eps"] = (
            1 - lr * group["weight_decay"],
            1 - b1,
            b2,
            1 - b2,
            group["eps"],
        )
        jobs["root"], jobs["size"], jobs["step"] = 1 / np.sqrt(1 - b2**count), lr / (1 - b1**count), lr
        native.run("adam", jobs, adaptive)

    def _compiled(self, group: Group, params: list[Tensor], penalty: Proximal) -> list[Tensor]:
        if group["amsgrad"] or group["maximize"] or group["capturable"]:
            return params
        fit = [p for p in params if self._flat(p)]
        if not fit:
            return params
        still = penalty.with_strength(1.0) if isinstance(penalty, Penalty) else penalty
        one_pass = compiled_adam(still)
        firsts, seconds, _, steps = self._moments(group, fit)
        torch._foreach_add_(steps, 1)
        (b1, b2), lr = group["betas"], group["lr"]
        table: dict[tuple[float, torch.device], Tensor] = {}
        for p, m, v, step in zip(fit, firsts, seconds, steps, strict=True):
            count, place = step.item(), p.device
            if (count, place) not in table:
                values = [
                    1 - lr * group["weight_decay"],
                    1 - b1,
                    b2,
                    1 - b2,
                    (1 - b2**count) ** -0.5,
                    group["eps"],
                    lr / (1 - b1**count),
                    lr,
                ]
                numbers = torch.tensor([*map(float, values), first_strength(penalty)], device="cpu")
                table[count, place] = numbers.to(place, non_blocking=True)
            flat = [flat_alias(t) for t in (p, p.grad, m, v) if t is not None]
            one_pass(*flat, table[count, place].to(p.dtype))
        done = {id(p) for p in fit}
        return [p for p in params if id(p) not in done]


register_step_rule(AdamW, adam_step)
register_direction(AdamW, adam_direction)
