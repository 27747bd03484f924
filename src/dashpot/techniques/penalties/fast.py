"""Which steps the C++ kernel can take, and the map alone by it, after an optimizer that is not ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.view import Params
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.elastic_net import ElasticNet
from dashpot.techniques.penalties.group_elastic_net import GroupElasticNet
from dashpot.techniques.penalties.group_lasso import GroupLasso
from dashpot.techniques.penalties.group_penalty import GroupPenalty
from dashpot.techniques.penalties.grouping import as_grouping
from dashpot.techniques.penalties.l1 import L1
from dashpot.techniques.penalties.penalty import Proximal
from dashpot.techniques.penalties.sparse_group_lasso import SparseGroupLasso
from dashpot.techniques.penalties.step_rules import sgd_step

PLAIN = (Tensor, nn.Parameter)
WORTH_BUILDING = 1 << 15
"""Penalized weights from which on the kernel is built and used; below, the plain path takes microseconds."""


def split_strengths(penalty: Proximal) -> tuple[float, float, float] | None:
    """(L1, L2, row-group) strengths of the penalties that the kernel knows, else None."""
    if type(penalty) is L1:
        return penalty.strength, 0.0, 0.0
    if type(penalty) is ElasticNet:
        return penalty.strength * penalty.l1_ratio, penalty.strength * (1 - penalty.l1_ratio), 0.0
    if not isinstance(penalty, GroupPenalty) or as_grouping(penalty.groups).text not in ("rows", "filters", "layer"):
        return None
    if type(penalty) is GroupLasso:
        return 0.0, 0.0, penalty.strength
    if type(penalty) is SparseGroupLasso:
        return penalty.strength * penalty.l1_ratio, 0.0, penalty.strength * (1 - penalty.l1_ratio)
    if type(penalty) is GroupElasticNet:
        return 0.0, penalty.strength * (1 - penalty.l1_ratio), penalty.strength * penalty.l1_ratio
    return None


def row_of(p: Tensor, penalty: Proximal) -> tuple[int, float]:
    """The members of a group for the kernel (0 for none) and the weight of a group."""
    if not isinstance(penalty, GroupPenalty):
        return 0, 0.0
    row = int(float(as_grouping(penalty.groups).layout(p.shape).size))
    return row, row**0.5 if penalty.size_weights else 1.0


def tensor_fits(t: Tensor) -> bool:
    """Whether the kernel can read this tensor: a parameter, a gradient or a moment. Subclasses, such as DTensor, may
    have their numbers elsewhere.
    """
    return (
        type(t) in PLAIN
        and t.dtype is torch.float32
        and t.is_cpu
        and t.layout is torch.strided
        and t.is_contiguous()
        and t.numel() > 0
    )


def group_fits(group: Mapping[str, Any]) -> bool:
    """Whether the kernel knows the options of this parameter group."""
    return (
        not isinstance(group["lr"], Tensor)
        and not any(group.get(flag) for flag in ("amsgrad", "maximize", "capturable", "differentiable"))
        and group.get("fused") is not False
    )


def update_jobs(
    marked: Sequence[Tensor], rest: Sequence[Tensor], penalty: Proximal, strengths: tuple[float, float, float]
) -> np.ndarray:
    """The kernel's jobs for parameters under the penalty and others beside them, without what the optimizer's rule
    needs.
    """
    params = [*marked, *rest]
    jobs = np.zeros(len(params), native.JOB)
    _place(jobs, params)
    _penalize(jobs[: len(marked)], marked, penalty, strengths)
    # Those without a gradient are not among params.
    jobs["g"] = [p.grad.data_ptr() for p in params]  # type: ignore[union-attr]
    return jobs


def _place(jobs: np.ndarray, params: Sequence[Tensor]) -> None:
    jobs["p"] = [p.data_ptr() for p in params]
    jobs["numel"] = [p.numel() for p in params]


def _penalize(
    jobs: np.ndarray, params: Sequence[Tensor], penalty: Proximal, strengths: tuple[float, float, float]
) -> None:
    jobs["l1"], jobs["l2"], lg = strengths
    if lg:
        row, weight = zip(*(row_of(p, penalty) for p in params), strict=True)
        jobs["row"], jobs["lg"] = row, lg * np.array(weight)


def _map_step(penalty: Proximal, group: Mapping[str, Any]) -> float | None:
    """The step of a group's map, without Adam's part that differs by weight; None where the kernel does not know the
    group's options.
    """
    if not group_fits({**group, "fused": None}):
        return None
    return float(sgd_step(group, {}) if "momentum" in group and penalty.scaling == "adaptive" else group["lr"])


def map_by_kernel(penalty: Proximal, params: Params, optimizer: Optimizer) -> list[int]:
    """The proximal step by the kernel, on the parameters it fits, after a step of torch's SGD, Adam or AdamW.

    Returns:
        The positions of the parameters that are left.
    """
    everything = list(range(len(params)))
    strengths = split_strengths(penalty)
    kind = type(optimizer)
    if strengths is None or kind not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        return everything
    adaptive = penalty.scaling == "adaptive" and kind is not torch.optim.SGD
    steps = {key: _map_step(penalty, group) for key, group in {id(group): group for group in params.groups}.items()}
    fit = [i for i, (_, p, group) in enumerate(params) if steps[id(group)] is not None and tensor_fits(p)]
    if adaptive:
        seconds = {i: optimizer.state[params.tensors[i]]["exp_avg_sq"] for i in fit}
        fit = [i for i in fit if tensor_fits(seconds[i]) and seconds[i].shape == params.tensors[i].shape]
    chosen, groups = [params.tensors[i] for i in fit], [params.groups[i] for i in fit]
    if sum(p.numel() for p in chosen) < WORTH_BUILDING or native.kernel() is None:
        return everything
    jobs = np.zeros(len(fit), native.JOB)
    _place(jobs, chosen)
    _penalize(jobs, chosen, penalty, strengths)
    jobs["step"] = [steps[id(group)] for group in groups]
    if adaptive:
        states = [optimizer.state[p] for p in chosen]
        count = np.array([float(state["step"]) for state in states])
        jobs["v"] = [state["exp_avg_sq"].data_ptr() for state in states]
        jobs["root"] = (1 - np.array([group["betas"][1] for group in groups]) ** count) ** -0.5
        jobs["eps"] = [group["eps"] for group in groups]
    native.run("map", jobs, adaptive)
    done = set(fit)
    return [i for i in everything if i not in done]
