"""Which steps the C++ kernel can do, and the proximal map by it after an optimizer of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.axes import Axes
from dashpot.core.running.view import Params
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.step_rules import sgd_step

PLAIN = (Tensor, nn.Parameter)
WORTH_BUILDING = 1 << 15
"""Penalized weights from which on the kernel is built and used; below, torch itself takes microseconds."""


class KernelTerms(NamedTuple):
    """A penalty as the C++ kernel takes it: ``l1 * |w|_1 + l2 / 2 * |w|_2^2 + group * sum over groups of weight *
    |w_group|_2``.
    """

    l1: float = 0.0
    l2: float = 0.0
    group: float = 0.0


class Runs(NamedTuple):
    """Where the weights of a group lie in a contiguous tensor: ``down`` runs of ``row`` consecutive ones each, the runs
    of ``across`` groups side by side; slabs of ``row * across * down`` weights follow each other. ``weight`` is the
    factor of the strength.
    """

    row: int
    across: int
    down: int
    weight: float = 1.0


def runs_of(shape: Sequence[int], inside: Sequence[int]) -> Runs | None:
    """The runs of groups whose members lie along the axes ``inside`` of a contiguous tensor; None where groups are
    more scattered than that.

    Example:
        >>> runs_of((20, 30), inside=(1,)), runs_of((20, 30), inside=(0,))  # rows, columns
        (Runs(row=30, across=1, down=1, weight=1.0), Runs(row=1, across=30, down=20, weight=1.0))
    """
    parts: list[tuple[bool, int]] = []
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        if parts and parts[-1][0] == (axis in inside):
            parts[-1] = parts[-1][0], parts[-1][1] * length
        else:
            parts.append((axis in inside, length))
    if parts and not parts[0][0]:  # groups one behind the other
        parts = parts[1:]
    lengths = [length for _, length in parts]
    if len(parts) > 3:
        return None
    if len(parts) < 2:
        return Runs(lengths[0] if parts else 1, 1, 1)
    return Runs(lengths[2] if len(parts) == 3 else 1, lengths[1], lengths[0])


@runtime_checkable
class Mapped(Protocol):
    """What the kernel needs of a technique with a proximal map."""

    @property
    def scaling(self) -> str: ...

    def kernel_terms(self) -> KernelTerms | None: ...

    def kernel_runs(self, shape: Sequence[int]) -> Runs | None: ...

    def along(self, axes: Axes) -> Mapped: ...


def terms_of(penalty: Mapped) -> KernelTerms | None:
    """The terms that a technique's own class declares, else None: a subclass may have another map than its base."""
    return penalty.kernel_terms() if "kernel_terms" in vars(type(penalty)) else None


def runs_for(placed: Sequence[Mapped], params: Sequence[Tensor], terms: KernelTerms) -> list[Runs | None]:
    """The runs of each parameter's groups under its penalty, all 0 without groups; None where the kernel does not know
    them.
    """
    if not terms.group:
        return [Runs(0, 0, 0)] * len(params)
    return [penalty.kernel_runs(p.shape) for penalty, p in zip(placed, params, strict=True)]


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
    marked: Sequence[Tensor], rest: Sequence[Tensor], runs: Sequence[Runs | None], terms: KernelTerms
) -> np.ndarray:
    """The kernel's jobs for parameters under the penalty, with their runs, and others beside them, without what the
    optimizer's rule needs.
    """
    params = [*marked, *rest]
    jobs = np.zeros(len(params), native.JOB)
    _place(jobs, params)
    penalize(jobs[: len(marked)], runs, terms)
    # Those without a gradient are not among params.
    jobs["g"] = [p.grad.data_ptr() for p in params]  # type: ignore[union-attr]  # only those with a gradient come here
    return jobs


def _place(jobs: np.ndarray, params: Sequence[Tensor]) -> None:
    jobs["p"] = [p.data_ptr() for p in params]
    jobs["numel"] = [p.numel() for p in params]


def penalize(jobs: np.ndarray, runs: Sequence[Runs | None], terms: KernelTerms) -> None:
    """Write the penalty into the jobs of parameters with these runs."""
    jobs["l1"], jobs["l2"] = terms.l1, terms.l2
    for job, found in zip(jobs, runs, strict=True) if terms.group else ():
        assert found is not None, "a parameter whose groups the kernel does not know is not given to it"
        if found.row * found.down == 1:  # the norm of a weight by itself is its absolute value
            job["l1"] += terms.group * found.weight
        else:
            job["row"], job["across"], job["down"], job["lg"] = *found[:3], terms.group * found.weight


def _map_step(penalty: Mapped, group: Mapping[str, Any]) -> float | None:
    """The step of a group's map, without Adam's part that differs by weight; None where the kernel does not know the
    group's options.
    """
    if not group_fits({**group, "fused": None}):
        return None
    return float(sgd_step(group, {}) if "momentum" in group and penalty.scaling == "adaptive" else group["lr"])


def map_by_kernel(penalty: Mapped, params: Params, optimizer: Optimizer) -> list[int]:
    """The proximal step by the kernel, on the parameters it fits, after a step of torch's SGD, Adam or AdamW.

    Returns:
        The positions of the parameters that are left.
    """
    everything = list(range(len(params)))
    terms = terms_of(penalty)
    kind = type(optimizer)
    if terms is None or kind not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        return everything
    adaptive = penalty.scaling == "adaptive" and kind is not torch.optim.SGD
    steps = {key: _map_step(penalty, group) for key, group in {id(group): group for group in params.groups}.items()}
    fit = [i for i, (_, p, group) in enumerate(params) if steps[id(group)] is not None and tensor_fits(p)]
    placed = [penalty.along(params.axes[i]) for i in fit]
    known = dict(zip(fit, runs_for(placed, [params.tensors[i] for i in fit], terms), strict=True))
    fit = [i for i in fit if known[i] is not None]
    if adaptive:
        seconds = {i: optimizer.state[params.tensors[i]]["exp_avg_sq"] for i in fit}
        fit = [i for i in fit if tensor_fits(seconds[i]) and seconds[i].shape == params.tensors[i].shape]
    chosen, groups = [params.tensors[i] for i in fit], [params.groups[i] for i in fit]
    if sum(p.numel() for p in chosen) < WORTH_BUILDING or native.kernel() is None:
        return everything
    jobs = np.zeros(len(fit), native.JOB)
    _place(jobs, chosen)
    penalize(jobs, [known[i] for i in fit], terms)
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
