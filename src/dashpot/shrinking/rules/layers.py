"""Layers with weights: what they read is of the units of their inputs, what they give of their outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dashpot.shrinking.rules import grouped
from dashpot.shrinking.rules.fold import Fold
from dashpot.shrinking.rules.registry import joined, pinned, rule, unknown
from dashpot.shrinking.units import distinct, spread
from dashpot.shrinking.value import Flow, Step, Value

__all__ = ["Fold", "batched"]
Call = Callable[..., Any]


def _linear(step: Step, x: Value, w: Value, bias: Value | None, outputs: int, inputs: int) -> None:
    """``x @ W``, where the axes of w that are outputs and inputs are given."""
    out_labels, in_labels = step.axis(w, outputs), step.axis(w, inputs)
    if out_labels is None or in_labels is None:
        unknown(step, f"{step.operation} with a part of {w.name} that is of no single axis")
        return
    matrix = w.value if outputs == 0 else w.value.t()
    here = distinct(x.label.reshape(-1, x.label.shape[-1]), dim=0)
    step.units.join(here, in_labels)
    if not joined(step, out_labels, [bias], "a bias that is"):
        return
    used = (matrix != 0).float()
    step.give(lambda mask: mask @ used.T, spread(out_labels, step.out.shape, -1), [x])
    name = None if bias is None else bias.name
    refuses = step.takes_no_constant(w, bias)
    step.fold = Fold(x, str(w.name), name, -1, in_labels, matrix, False, inputs, step.where, refuses)


def _computed(step: Step, outputs: int, axis: int, flow: Flow) -> None:
    """A layer whose weight is made of parameters, such as by weight standardization: units that give one number stay,
    and are told; without them, or without what it reads, the weight would be another.
    """
    reason = f"its weight is computed (in {step.where or step.operation})"
    for value in step.tensors():
        step.pin(value, reason)
    labels = step.units.of_axis(f"computed {step.where} {len(step.units.axes)}", 0, outputs)
    step.units.pin(labels, reason)
    step.give(flow, spread(labels, step.out.shape, axis), [step.arg(0, "input")])


def computed(step: Step, w: Value) -> bool:
    """Whether the weight is made of parameters, and with all but the input the same for all inputs."""
    return w.name is None and not any(bool(value.varies.any()) for value in step.tensors()[1:])


@rule("linear")
def linear(step: Step) -> None:
    """``x @ W.T + b``."""
    x, w, bias = step.arg(0, "input"), step.arg(1, "weight"), step.arg(2, "bias")
    if computed(step, w) and w.value.ndim == 2 and x.name is None:
        used = (w.value != 0).float()
        _computed(step, len(used), -1, lambda mask: mask @ used.T)
        return
    if w.name is None or w.value.ndim != 2 or x.name is not None:
        unknown(step)
        return
    _linear(step, x, w, bias, 0, 1)


@rule("matmul", "mm", "addmm")
def product(step: Step) -> None:
    """With a parameter on the right it is a linear layer."""
    bias, x, w = (None, *step.args[:2]) if step.operation != "addmm" else step.args[:3]
    if w.name is None or w.value.ndim != 2 or x.name is not None or (bias is not None and bias.name is None):
        batched(step)
        return
    _linear(step, x, w, bias, 1, 0)


@rule("bmm", "baddbmm", "einsum")
def batched(step: Step) -> None:
    """Products of values with values: their units stay."""
    values = step.tensors()
    if step.operation not in ("matmul", "bmm", "mm") or any(value.value.ndim < 2 for value in values):
        unknown(step)
        return
    for value in values:
        step.pin(value, f"{step.operation} of two values")
    a, b = values
    into = (~a.zero).float(), (~b.zero).float()
    step.give(lambda one, other: (one @ into[1] + into[0] @ other).expand(step.out.shape), pinned(step.out), values)


CONVOLUTIONS: dict[str, Call] = {"conv1d": functional.conv1d, "conv2d": functional.conv2d, "conv3d": functional.conv3d}
TRANSPOSED: dict[str, Call] = {
    "conv_transpose1d": functional.conv_transpose1d,
    "conv_transpose2d": functional.conv_transpose2d,
    "conv_transpose3d": functional.conv_transpose3d,
}


@rule(*CONVOLUTIONS, *TRANSPOSED)
def convolution(step: Step) -> None:
    """Plain and depthwise ones here; others in groups elsewhere."""
    x, w, bias = step.arg(0, "input"), step.arg(1, "weight"), step.arg(2, "bias")
    moved = step.operation in TRANSPOSED
    groups = step.arg(6, "groups", 1)
    used = (w.value != 0).float()
    call = {**CONVOLUTIONS, **TRANSPOSED}[step.operation]
    options = step.args[3:]
    rest = {key: value for key, value in step.kwargs.items() if key not in ("input", "weight", "bias")}

    def flow(mask: Tensor) -> Any:
        return call(mask, used, None, *options, **rest)

    if computed(step, w) and x.name is None and x.value.ndim == w.value.ndim:
        _computed(step, step.out.shape[1], 1, flow)
        return
    if w.name is None or w.index is not None or x.name is not None or x.value.ndim != w.value.ndim:
        unknown(step)
        return
    channels, count = x.value.shape[1], step.out.shape[1]
    if groups > 1 and not groups == channels == count:
        grouped.convolution(step, x, w, bias, moved)
        return
    out_axis, in_axis = (1, 0) if moved and groups == 1 else (0, 1)
    out_labels = step.units.of_axis(w.name, out_axis, w.value.shape[out_axis])
    if not joined(step, out_labels, [bias], "a bias that is"):
        return
    here = distinct(x.label.movedim(1, -1).reshape(-1, channels), dim=0)
    step.units.join(here, out_labels if groups > 1 else step.units.of_axis(w.name, in_axis, channels))
    step.give(flow, spread(out_labels, step.out.shape, 1), [x])
    if groups == 1:
        padding = step.arg(4, "padding", 0)
        padded = padding != "valid" and (isinstance(padding, str) or any(flat_numbers(padding)))
        matrix = w.value.flatten(2).sum(-1)
        bias_name = None if bias is None else bias.name
        labels = step.units.of_axis(w.name, in_axis, channels)
        matrix = matrix.t() if moved else matrix
        # Borders of a transposed convolution see fewer places of the kernel.
        refuses = "" if padded or moved else step.takes_no_constant(w, bias)
        step.fold = Fold(x, w.name, bias_name, 1, labels, matrix, padded or moved, in_axis, step.where, refuses)


def flat_numbers(padding: Any) -> list[int]:
    """One number, or one for each axis."""
    return list(padding) if isinstance(padding, tuple | list) else [padding]


@rule("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
def batch_norm(step: Step) -> None:
    """By the statistics of training: each channel by itself."""
    x, rest = step.arg(0, "input"), list(step.args[1:5])
    if step.operation != "batch_norm" or bool(step.arg(5, "training", False)) or rest[2] is None:
        unknown(step)
        return
    channels = x.value.shape[1]
    here = distinct(x.label.movedim(1, -1).reshape(-1, channels), dim=0)
    if not joined(step, here, rest):
        return
    scale = rest[0]
    used = torch.ones(channels) if scale is None else (scale.value != 0).float()
    shape = [1, -1, *[1] * (x.value.ndim - 2)]
    step.give(lambda mask: mask * used.reshape(shape), x.label, [x])


@rule("embedding")
def embedding(step: Step) -> None:
    """A row for each whole number; its columns are units."""
    w, places = step.arg(0, "weight"), step.arg(1, "indices")
    if w.name is None or w.index is not None:
        unknown(step)
        return
    labels = step.units.of_axis(w.name, 1, w.value.shape[1])
    differs = (w.value != w.value[:1]).any(0).float()
    step.give(lambda mask: mask.unsqueeze(-1) * differs, spread(labels, step.out.shape, -1), [places])
