"""Operations that only move elements: labels, masks and places of parameters are moved by the operation itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dashpot.shrinking.rules.registry import rule, unknown
from dashpot.shrinking.units import along, spread
from dashpot.shrinking.value import Step, Value, flat, mapped

MOVES = (
    *("view", "reshape", "_unsafe_view", "permute", "transpose", "t", "flatten", "unflatten", "squeeze", "unsqueeze"),
    *(
        "expand",
        "expand_as",
        "slice",
        "select",
        "split",
        "split_with_sizes",
        "chunk",
        "tensor_split",
        "narrow",
        "unbind",
    ),
    *(
        "repeat",
        "flip",
        "roll",
        "movedim",
        "swapaxes",
        "swapdims",
        "numpy_T",
        "mT",
        "index_select",
        "repeat_interleave",
    ),
    *("channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "diagonal", "tile", "view_as", "reshape_as", "index"),
)


@rule(*MOVES)
def move(step: Step) -> None:
    """Of one tensor; others say where, and must be the same for all inputs."""
    values = step.tensors()
    first, rest = values[0], values[1:]
    if step.operation in ("expand_as", "view_as", "reshape_as"):
        rest = []
    if any(bool(value.varies.any()) for value in rest):
        unknown(step, f"{step.operation} by places that depend on the inputs")
        return

    def moved(tensor: Tensor) -> Any:
        if step.operation in ("view", "_unsafe_view"):
            tensor = tensor.contiguous()  # masks and labels may be repeated numbers, which have other strides
        change = lambda leaf: tensor if leaf is first else leaf.value if isinstance(leaf, Value) else leaf  # noqa: E731
        return step.target(*mapped(step.args, change), **mapped(step.kwargs, change))

    step.give(moved, _whole(moved(_whole(first.label))), [first])
    if first.name is not None:
        index = first.index
        if index is None:
            index = torch.arange(first.value.numel()).reshape(first.value.shape)
        for made, place in zip(step.made, flat(moved(index)), strict=True):
            made.name, made.index = first.name, place


def _whole(label: Any) -> Any:
    """Labels as such: integer tensors that an operation may give as a tuple."""
    return list(label) if isinstance(label, tuple) else label


@rule("cat", "stack", "hstack", "vstack", "concatenate")
def join(step: Step) -> None:
    """Side by side: along the other axes they are of the same units."""
    values = step.tensors()

    def joined(*tensors: Tensor) -> Tensor:
        there = iter(tensors)
        change = lambda leaf: next(there) if isinstance(leaf, Value) else leaf  # noqa: E731
        found: Tensor = step.target(*mapped(step.args, change), **mapped(step.kwargs, change))
        return found

    for value in values:
        if value.name is not None and len(_long(value)) > 1:
            step.pin(value, f"{step.operation} with {value.name}")
    label = joined(*(_own(step, value) for value in values))
    axis = step.arg(1, "dim", 0) % step.out.ndim
    first = values[0].label
    if step.operation == "cat" and (along(first) != [axis] or len(values) > 1):
        for value in values[1:]:
            for d in range(step.out.ndim):
                if d == axis or value.value.shape[axis] == 0:
                    continue
                a, b = _line(label, d, axis, 0), _line(label, d, axis, _start(values, value, axis))
                if any(bool((line != line[0]).any()) for line in (a, b)):  # units lie along it
                    step.units.join(a, b)
    elif step.operation != "cat":
        for value in values[1:]:
            step.units.join(values[0].label, value.label)
    step.give(joined, label, values)


def _own(step: Step, value: Value) -> Tensor:
    """The labels of a value; of a parameter with one long axis those of that axis."""
    if value.name is None:
        return value.label
    long = _long(value)
    if len(long) != 1:
        return value.label
    own = step.axis(value, long[0])
    return value.label if own is None else spread(own, value.value.shape, long[0])


def _long(value: Value) -> list[int]:
    """Its axes but for those of one place, and those along which it is repeated."""
    return [
        d
        for d, size in enumerate(value.value.shape)
        if size > 1 and (value.index is None or bool((value.index != value.index.narrow(d, 0, 1)).any()))
    ]


def _line(label: Tensor, axis: int, joined: int, start: int) -> Tensor:
    """The labels along an axis, at one place of the others: at a part's first of those along which parts are joined."""
    # Along the axis of joining the first element of a part stands for it: the units differ along this axis only.
    for d in range(label.ndim):
        if d != axis:
            label = label.narrow(d, start if d == joined else 0, 1)
    return label.reshape(-1)


def _start(values: list[Value], value: Value, axis: int) -> int:
    """Where a part begins."""
    total = 0
    for other in values:
        if other is value:
            break
        total += other.value.shape[axis]
    return total


@rule("pad", "constant_pad_nd")
def pad(step: Step) -> None:
    """Zeros, or copies of the border, around."""
    values = step.tensors()
    sizes = step.arg(1, "pad")
    if any(size < 0 for size in sizes) or len(values) != 1:
        unknown(step)
        return
    value = values[0]
    padded = [value.value.ndim - 1 - k // 2 for k, size in enumerate(sizes) if size]
    units = along(value.label)
    if any(axis in units for axis in padded):
        unknown(step, "channels are padded")
        return
    out = step.out.shape
    label = value.label
    for axis in padded:
        label = label.narrow(axis, 0, 1)

    def flow(mask: Tensor) -> Tensor:
        found: Tensor = step.target(mask, *step.args[1:], **step.kwargs)
        return found

    if step.operation == "pad" and step.arg(2, "mode", "constant") != "constant":
        step.give(flow, label.expand(out), values)
        return
    # What is around is the same for all inputs, whatever the number is.
    step.give(lambda mask: functional.pad(mask, list(sizes)), label.expand(out), values)
