"""Operations on each element by itself: of one tensor, or of several whose elements meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dashpot.shrinking.rules.registry import pinned, rule, unknown
from dashpot.shrinking.units import along, spread
from dashpot.shrinking.value import Step, Value

ONE = (
    *(
        "relu",
        "relu_",
        "relu6",
        "gelu",
        "silu",
        "silu_",
        "mish",
        "elu",
        "elu_",
        "selu",
        "celu",
        "leaky_relu",
        "leaky_relu_",
    ),
    *("sigmoid", "sigmoid_", "tanh", "tanh_", "softplus", "hardtanh", "hardtanh_", "hardswish", "hardswish_"),
    *(
        "hardsigmoid",
        "hardsigmoid_",
        "log_sigmoid",
        "exp",
        "log",
        "log1p",
        "sqrt",
        "rsqrt",
        "abs",
        "neg",
        "erf",
        "sin",
        "cos",
    ),
    *("clamp", "clamp_min", "clamp_max", "square", "reciprocal", "sign", "floor", "ceil", "round", "softsign", "expm1"),
    *(
        "dropout",
        "dropout_",
        "feature_dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
        "clone",
        "contiguous",
        "detach",
    ),
    *(
        "alias",
        "to",
        "_to_copy",
        "type_as",
        "float",
        "bool",
        "logical_not",
        "isnan",
        "threshold",
        "hardshrink",
        "softshrink",
    ),
)
SEVERAL = (
    *("add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "pow", "maximum", "minimum", "where", "lerp"),
    *("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "masked_fill", "masked_fill_", "prelu", "atan2"),
)
PRODUCTS = ("mul", "mul_")


@rule(*ONE)
def one(step: Step) -> None:
    """A value in, the same shape out."""
    values = step.tensors()
    if step.operation == "type_as":
        values = values[:1]
    if len(values) != 1:
        unknown(step)
        return
    step.give(lambda mask: mask, values[0].label, values)


@rule(*SEVERAL)
def several(step: Step) -> None:
    """Elements that meet are of one unit, but for axes along which one of the two is repeated."""
    values = step.tensors()
    shape = step.out.shape
    if step.operation == "prelu":
        values[1] = _as_channels(values[1], values[0].value.ndim)
    label, sizes = pinned(step.out), [1] * len(shape)
    for value in values:
        if value.name is None:
            label, sizes = _joined(step, label, sizes, value)
    for value in values:
        if value.name is not None:
            _parameter(step, value, label)
    kept = [None if other is None else (~other).float() for other in _factors(step, values)]

    def flow(*masks: Tensor) -> Tensor:
        total = torch.zeros(shape)
        for mask, factor in zip(masks, kept, strict=True):
            total = total + (mask if factor is None else mask * factor)
        return total

    step.give(flow, label, values)


def _factors(step: Step, values: list[Value]) -> list[Tensor | None]:
    """Of a product, for each factor where the other one is 0 for all inputs."""
    if step.operation in PRODUCTS and len(values) == 2:
        return [values[1].zero, values[0].zero]
    return [None] * len(values)


def _joined(step: Step, label: Tensor, sizes: list[int], value: Value) -> tuple[Tensor, list[int]]:
    """The labels of what several give, joined where both have all of an axis along which labels differ.

    Args:
        label: of those before, of the shape of the result; ``sizes``: their own shape, 1 where they are repeated.
    """
    shape = step.out.shape
    own = value.label.reshape([1] * (len(shape) - value.label.ndim) + list(value.label.shape))
    together = [max(pair) for pair in zip(sizes, own.shape, strict=True)]
    # Along an axis of units the other one has as many numbers, or one that is repeated and asks for nothing.
    theirs, ours = along(label), along(own)
    meets = [own.shape[d] > 1 for d in theirs], [sizes[d] > 1 for d in ours]
    mixed = any(any(each) and not all(each) for each in meets)
    if mixed or (theirs and ours and not any(map(any, meets))):
        return _both(step, label, own), together
    if any(map(any, meets)):
        step.units.join(label, own.expand(shape))
    return (label if theirs else own.expand(shape)), together


def _both(step: Step, label: Tensor, own: Tensor) -> Tensor:
    """Units along an axis of one and along another axis of the other: neither leaves."""
    reason = f"{step.operation} of units along two axes"
    step.units.pin(label, reason)
    step.units.pin(own, reason)
    return pinned(step.out)


def _as_channels(value: Value, ndim: int) -> Value:
    """The slopes of a PReLU [channels] beside [batch, channels, ...]."""
    if value.value.numel() == 1 or value.name is None:
        return value
    shape = [1, -1, *[1] * (ndim - 2)]
    index = torch.arange(value.value.numel()) if value.index is None else value.index
    moved: Any = value.value.reshape(shape)
    return Value(moved, value.varies.reshape(shape), value.label.reshape(shape), value.name, index.reshape(shape))


def _parameter(step: Step, value: Value, label: Tensor) -> None:
    """A bias, a scale, a position's vector: its axes are of the units that they meet."""
    shape = step.out.shape
    for axis in range(value.value.ndim):
        if value.value.shape[axis] == 1:
            continue
        at = axis - value.value.ndim + len(shape)
        own = step.axis(value, axis)
        line = label
        for d in range(len(shape)):
            if d != at:
                line = line.narrow(d, 0, 1)
        line = line.reshape(-1)
        if own is None:
            step.pin(value, f"{step.operation} with a part of {value.name} that is of no single axis")
            step.units.pin(label, f"{step.operation} with a part of {value.name}")
        elif bool((label == spread(line, shape, at)).all()):
            step.units.join(own, line)
        elif along(label):
            step.units.pin(own, f"{step.operation} meets an axis of {value.name} without units")
