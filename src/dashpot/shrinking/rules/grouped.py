"""Channels in groups: convolutions, and norms over the channels of a group or over each by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dashpot.shrinking.limits import Grouped, Whole
from dashpot.shrinking.rules.fold import Fold
from dashpot.shrinking.rules.registry import joined, rule, unknown
from dashpot.shrinking.units import along, distinct, spread
from dashpot.shrinking.value import Step, Value


def channels_of(step: Step, x: Value) -> Tensor:
    """The labels [channels] of what a step reads, joined over all places."""
    here = distinct(x.label.movedim(1, -1).reshape(-1, x.value.shape[1]), dim=0)
    step.units.join(here[:1], here)
    return here[0]


def convolution(step: Step, x: Value, w: Value, bias: Value | None, moved: bool) -> None:
    """Whole groups leave; of the others equal numbers of inputs, and of outputs."""
    assert w.name is not None
    groups = int(step.arg(6, "groups", 1))
    inputs, outputs = x.value.shape[1], step.out.shape[1]
    rows = step.units.of_axis(w.name, 0, w.value.shape[0])
    there = channels_of(step, x)
    if moved:
        step.units.join(there, rows)
        out = step.units.fresh(outputs)
    else:
        out = rows
    if not joined(step, out, [bias], "a bias that is"):
        return
    first, second = (there, out) if moved else (out, there)
    step.limits.append(Grouped(w.name, step.where, first.reshape(groups, -1), second.reshape(groups, -1)))
    used = (w.value != 0).to(torch.float32)
    options = step.args[3:]
    rest = {key: value for key, value in step.kwargs.items() if key not in ("input", "weight", "bias")}

    def flow(mask: Tensor) -> Any:
        return step.target(mask, used, None, *options, **rest)

    step.give(flow, spread(out, step.out.shape, 1), [x])
    padding = step.arg(4, "padding", 0)
    padded = padding != "valid" and (isinstance(padding, str) or any(_numbers(padding)))
    matrix = torch.zeros(outputs, inputs, dtype=w.value.dtype)
    o, i = outputs // groups, inputs // groups
    for g, block in enumerate(w.value.flatten(2).sum(-1).chunk(groups)):
        matrix[g * o : (g + 1) * o, g * i : (g + 1) * i] = block.t() if moved else block
    refuses = f"its constant ends at the border of {step.where}, which pads in groups"
    refuses = refuses if padded or moved else step.takes_no_constant(w, bias)
    name = None if bias is None else bias.name
    step.fold = Fold(x, w.name, name, 1, there, matrix, False, 1, step.where, refuses)


def _numbers(padding: Any) -> list[int]:
    return list(padding) if isinstance(padding, tuple | list) else [padding]


@rule("group_norm")
def group_norm(step: Step) -> None:
    """Whole groups leave; in the others a dead channel counts in mean and variance."""
    x, groups, scale, shift = step.arg(0, "input"), int(step.arg(1, "num_groups")), *_affine(step, 2)
    if any(d >= 2 for d in along(x.label)) or x.name is not None:
        unknown(step)
        return
    if scale is None or step.kind != "GroupNorm":
        unknown(step, f"{step.where or 'group_norm'} has a number of groups that no parameter says")
        return
    channels = x.value.shape[1]
    there = channels_of(step, x)
    out = step.units.fresh(channels)
    if not joined(step, out, (scale, shift)):
        return
    step.limits.append(Whole(str(scale.name), step.where, there.reshape(groups, -1), out.reshape(groups, -1)))
    used = (scale.value != 0).float().reshape(1, channels, *[1] * (x.value.ndim - 2))

    def flow(mask: Tensor) -> Tensor:
        parts = mask.reshape(len(mask), groups, -1)
        return parts.sum(-1, keepdim=True).expand_as(parts).reshape(mask.shape) * used

    step.give(flow, spread(out, step.out.shape, 1), [x])


@rule("instance_norm")
def instance_norm(step: Step) -> None:
    """Each channel by its own mean and variance, or by those of training."""
    x, (scale, shift), rest = step.arg(0, "input"), _affine(step, 1), (step.arg(3, "r"), step.arg(4, "r"))
    if any(d >= 2 for d in along(x.label)) or x.name is not None or scale is None:
        unknown(step, None if scale is not None else "instance_norm without a scale says its channels nowhere")
        return
    if not joined(step, channels_of(step, x), (scale, shift, *rest)):
        return
    used = (scale.value != 0).float().reshape(1, -1, *[1] * (x.value.ndim - 2))
    places = list(range(2, x.value.ndim))
    by_itself = bool(step.arg(5, "use_input_stats"))

    def flow(mask: Tensor) -> Tensor:
        return (mask.sum(places, keepdim=True).expand_as(mask) if by_itself else mask) * used

    step.give(flow, x.label, [x])


def _affine(step: Step, place: int) -> tuple[Value | None, Value | None]:
    return step.arg(place, "weight"), step.arg(place + 1, "bias")
