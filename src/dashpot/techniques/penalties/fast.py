"""Which steps the C++ kernel can take, and the map alone by it, after an optimizer that is not ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from dashpot.core.view import Params
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.elastic_net import ElasticNet
from dashpot.techniques.penalties.group_elastic_net import GroupElasticNet
from dashpot.techniques.penalties.group_lasso import GroupLasso
from dashpot.techniques.penalties.group_penalty import GroupPenalty
from dashpot.techniques.penalties.grouping import as_grouping
from dashpot.techniques.penalties.l1 import L1
from dashpot.techniques.penalties.metric import sgd_step
from dashpot.techniques.penalties.penalty import Proximal
from dashpot.techniques.penalties.sparse_group_lasso import SparseGroupLasso

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


def kernel_fits(p: Tensor, group: Mapping[str, Any]) -> bool:
    """Whether the kernel can read this tensor (a parameter, a gradient or a moment) and knows the group's options."""
    return (
        p.dtype == torch.float32
        and p.device.type == "cpu"
        and p.layout == torch.strided
        and p.is_contiguous()
        and p.numel() > 0
        and not isinstance(group["lr"], Tensor)
        and not any(group.get(flag) for flag in ("amsgrad", "maximize", "capturable", "differentiable"))
        and group.get("fused") is not False
    )


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
    adaptive = penalty.metric == "adaptive" and kind is not torch.optim.SGD
    fit = [i for i, (_, p, group) in enumerate(params) if kernel_fits(p, {**group, "fused": None})]
    if adaptive:
        fit = [i for i in fit if kernel_fits(optimizer.state[params.tensors[i]]["exp_avg_sq"], {"lr": 0.0})]
    if sum(params.tensors[i].numel() for i in fit) < WORTH_BUILDING or native.kernel() is None:
        return everything
    jobs = np.zeros(len(fit), native.JOB)
    l1, l2, lg = strengths
    for job, i in zip(jobs, fit, strict=True):
        p, group = params.tensors[i], params.groups[i]
        job["p"], job["numel"], job["l1"], job["l2"] = p.data_ptr(), p.numel(), l1, l2
        job["step"] = sgd_step(group, {}) if kind is torch.optim.SGD and penalty.metric == "adaptive" else group["lr"]
        if lg:
            row, weight = row_of(p, penalty)
            job["row"], job["lg"] = row, lg * weight
        if adaptive:
            state = optimizer.state[p]
            count = state["step"].item() if isinstance(state["step"], Tensor) else state["step"]
            job["v"], job["root"], job["eps"] = state["exp_avg_sq"].data_ptr(), (1 - group["betas"][1] ** count) ** -0.5, group["eps"]
    native.run("map", jobs, adaptive)
    done = set(fit)
    return [i for i in everything if i not in done]
