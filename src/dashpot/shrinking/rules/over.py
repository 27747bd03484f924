"""Operations over several elements: pooling, means, softmax, normalization over features, attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dashpot.shrinking.rules.registry import pinned, rule, unknown
from dashpot.shrinking.units import along, distinct
from dashpot.shrinking.value import Step, Value

POOLS = {
    **{f"max_pool{d}d": getattr(functional, f"avg_pool{d}d") for d in (1, 2, 3)},
    **{f"avg_pool{d}d": getattr(functional, f"avg_pool{d}d") for d in (1, 2, 3)},
}
ADAPTIVE = {
    **{f"adaptive_avg_pool{d}d": getattr(functional, f"adaptive_avg_pool{d}d") for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d": getattr(functional, f"adaptive_avg_pool{d}d") for d in (1, 2, 3)},
}


@rule(*POOLS)
def pool(step: Step) -> None:
    """Windows of places, channel by channel."""
    x = step.tensors()[0]
    size, stride, padding = step.arg(1, "kernel_size"), step.arg(2, "stride") or step.arg(1, "kernel_size"), 0
    padding = step.arg(3, "padding", 0)
    dilation = step.arg(4, "dilation", 1) if step.operation.startswith("max") else 1
    ceil = step.arg(5 if step.operation.startswith("max") else 4, "ceil_mode", False)
    widths = dilation if isinstance(dilation, tuple | list) else [dilation]
    if any(width != 1 for width in widths) or any(d >= 2 for d in along(x.label)):
        unknown(step, "pooling with dilation" if any(width != 1 for width in widths) else "pooling over units")
        return
    count = float(torch.tensor(size).prod()) if isinstance(size, tuple | list) else float(size) ** (x.value.ndim - 2)
    label = x.label[:, :, *[slice(0, 1)] * (x.value.ndim - 2)]
    call = POOLS[step.operation]

    def flow(mask: Tensor) -> Any:
        return call(mask, size, stride, padding, ceil, True) * count

    step.give(flow, label.expand(step.out.shape), [x])


@rule(*ADAPTIVE)
def adaptive(step: Step) -> None:
    """Windows that cover all places, channel by channel."""
    x = step.tensors()[0]
    if any(d >= 2 for d in along(x.label)) or isinstance(step.out, tuple | list):
        unknown(step)
        return
    count = float(x.value.shape[2:].numel())
    label = x.label[:, :, *[slice(0, 1)] * (x.value.ndim - 2)]
    size = list(step.out.shape[2:])
    call, moved = ADAPTIVE[step.operation], _by_size(step, x, list(range(2, x.value.ndim)), False)
    step.give(lambda mask: call(moved(mask), size) * count, label.expand(step.out.shape), [x])


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d", "upsample_linear1d")
def upsample(step: Step) -> None:
    """More or fewer places, channel by channel."""
    x = step.tensors()[0]
    if any(d >= 2 for d in along(x.label)):
        unknown(step)
        return
    label = x.label[:, :, *[slice(0, 1)] * (x.value.ndim - 2)]

    def flow(mask: Tensor) -> Any:
        return step.target(mask, *step.args[1:], **step.kwargs) * 1e6

    step.give(flow, label.expand(step.out.shape), [x])


def _axes(step: Step, dims: Any, ndim: int) -> list[int]:
    if dims is None or dims == []:
        return list(range(ndim))
    return [d % ndim for d in (dims if isinstance(dims, tuple | list) else [dims])]


def _by_size(step: Step, x: Value, axes: list[int], total: bool) -> Callable[[Tensor], Tensor]:
    """Masks of what varies, forwards also with constants whose result depends on how many places there are: totals,
    and whatever differs by place, such as at a border.
    """
    if not x.value.is_floating_point():
        return lambda mask: mask
    first = x.value
    for d in axes:
        first = first.narrow(d, 0, 1)
    near = (x.value - first).abs() <= 32 * torch.finfo(x.value.dtype).eps * first.abs()
    found = x.value != 0 if total else ~near.all(axes, keepdim=True).expand(x.value.shape)
    found = found & ~x.varies
    reason = (
        f"its constant depends on the size of the inputs ({step.operation}{f' in {step.where}' * bool(step.where)})"
    )
    step.units.told.update(dict.fromkeys(distinct(x.label[found]).tolist(), reason))
    return lambda mask: mask if mask.requires_grad else mask + found.float()


@rule("mean", "sum", "amax", "amin", "std", "var", "prod", "norm", "linalg_vector_norm")
def reduce(step: Step) -> None:
    """Over axes; units along these stay."""
    x = step.tensors()[0]
    if isinstance(step.out, tuple | list):
        unknown(step)
        return
    place = 2 if step.operation in ("norm", "linalg_vector_norm") else 1
    axes = _axes(step, step.arg(place, "dim"), x.value.ndim)
    keep = step.out.ndim == x.value.ndim
    units = along(x.label)
    label = x.label
    if any(d in axes for d in units):
        step.pin(x, f"{step.operation} over units")
        label = pinned(x.value)
    for d in axes:
        label = label.narrow(d, 0, 1)
    if not keep:
        label = label.reshape([size for d, size in enumerate(label.shape) if d not in axes])
    moved = _by_size(step, x, axes, step.operation in ("sum", "prod", "norm", "linalg_vector_norm"))
    step.give(lambda mask: moved(mask).sum(axes, keepdim=keep).reshape(step.out.shape), label, [x])


@rule("softmax", "log_softmax", "_softmax", "_log_softmax")
def softmax(step: Step) -> None:
    """Over an axis; units along it stay."""
    x = step.tensors()[0]
    axis = step.arg(1, "dim") % x.value.ndim
    if axis in along(x.label):
        step.pin(x, "softmax over units")
    step.give(lambda mask: mask.sum(axis, keepdim=True).expand(mask.shape), x.label, [x])


@rule("scaled_dot_product_attention")
def attention(step: Step) -> None:
    """Whole heads leave: a head's queries, keys and values are one unit, as far as modules can do with fewer heads."""
    q, k, v = (step.arg(place, name) for place, name in enumerate(("query", "key", "value")))
    rest = [value for value in step.tensors() if all(value is not known for known in (q, k, v))]
    heads = q.value.shape[1] if q.value.ndim == 4 else 0
    whole = step.units.heads and heads > 1 and k.value.shape[1] == v.value.shape[1] == heads
    if any(value.value.ndim == 4 and value.value.shape[1] > 1 for value in rest):  # a mask of each head
        whole = False
    label = pinned(step.out)
    for value in rest:  # such as a bias of each head, by positions: the same for all inputs, and needed
        step.pin(value, "a mask of attention")
    if whole:
        first = q.label[:1, :, :1, :1]
        for value in (q, k, v):
            step.units.join(first, value.label)
            still = ~value.varies.any(2).any(0)  # [heads, features]
            parts = first.reshape(-1)[still.any(1) & ~still.all(1)].tolist()
            step.units.told.update(dict.fromkeys(parts, f"a part of a head stays (in {step.where or 'attention'})"))
        label = first.expand(step.out.shape)
    else:
        for value in (q, k, v):
            step.pin(value, "attention")
    # Weights over the keys sum to one: where a value is the same number at all of them, they do not matter.
    differs = (v.varies.any(-2, keepdim=True) | (v.value != v.value[..., :1, :]).any(-2, keepdim=True)).float()

    def flow(one: Tensor, two: Tensor, three: Tensor, *others: Tensor) -> Tensor:
        scores = one.sum(-1, keepdim=True) + two.sum(-1, keepdim=True).sum(-2, keepdim=True)
        for other in others:
            scores = scores + other.sum()
        found: Tensor = scores * differs + three.sum(-2, keepdim=True)
        return found.expand(step.out.shape)

    step.give(flow, label, [q, k, v, *rest])
