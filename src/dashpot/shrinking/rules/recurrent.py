"""Recurrent layers: hidden units that are always zero, or that nobody reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dashpot.shrinking.rules.fold import Fold
from dashpot.shrinking.rules.registry import rule, unknown
from dashpot.shrinking.units import distinct, spread
from dashpot.shrinking.value import Step, Value

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
CANDIDATE = {"lstm": 2, "gru": 2, "rnn_tanh": 0, "rnn_relu": 0}
"""Which gate's rows propose what is remembered: where it is zero, and the unit began so, the unit stays zero."""


@rule(*GATES)
def recurrent(step: Step) -> None:
    """A hidden unit leaves where it is zero at every step, or where nobody reads it.

    Zero: it begins at zero, and of its candidate (an LSTM's gate ``g``, a GRU's ``n``) the rows of both weights are
    zero, but for columns of inputs and units that are zero themselves, and so are the biases: their sum, of a GRU each.
    Other gates may be anything. Unread: the outputs do not depend on it, nor on any unit whose rows read its column.
    """
    if not isinstance(step.args[2], list | tuple) or isinstance(step.args[3], list | tuple):
        unknown(step, "a recurrent layer of packed sequences")
        return
    x, parameters = step.args[0], step.args[2]
    weights = [part for part in parameters if part.value.ndim == 2]
    initial = step.args[1] if isinstance(step.args[1], list | tuple) else [step.args[1]]
    biases, layers, both_ways = bool(step.args[3]), int(step.args[4]), bool(step.args[7])
    if any(part.name is None or part.index is not None for part in parameters) or x.name is not None:
        unknown(step, f"{step.operation} with weights that are computed")
        return
    first = [part for part in weights if part.name and "weight_ih_l0" in part.name]
    _inputs(step, x, first, {str(p.name): p for p in parameters} if biases else {})
    why = "several layers" if layers > 1 else "two directions" if both_ways else "a projection"
    if layers > 1 or both_ways or len(weights) > 2:
        _whole(step, x, initial, first, f"{step.where or step.operation} is a recurrent layer of {why}")
        return
    _units(step, x, list(initial), list(parameters), biases)


def _inputs(step: Step, x: Value, weights: list[Value], parameters: dict[str, Value]) -> None:
    """Columns of inputs, which leave in every layer; what is the same at all steps goes into the biases."""
    here = distinct(x.label.reshape(-1, x.value.shape[-1]), dim=0)
    for w in weights:
        step.units.join(here, step.axis(w, 1))  # type: ignore[arg-type]  # a whole parameter has axes
    w = weights[0]
    bias = str(w.name).replace("weight_ih", "bias_ih")
    plain = bias in parameters and len(weights) == 1
    refuses = "" if plain else f"{step.where or step.operation} has no bias for it, or several"
    own = step.axis(w, 1)
    assert own is not None
    step.fold = Fold(x, str(w.name), bias if plain else None, -1, own, w.value, False, 1, step.where, refuses)


def _whole(step: Step, x: Value, initial: Any, weights: list[Value], reason: str) -> None:
    """All hidden units stay."""
    for value in step.tensors():
        if any(value is w for w in weights):
            step.units.pin(step.units.of_axis(str(value.name), 0, value.value.shape[0]), reason)
        elif value is not x:
            step.pin(value, reason)
    used = torch.stack([(w.value != 0).any(0) for w in weights]).any(0).float()

    def flow(mask: Tensor, *begin: Tensor) -> Any:
        total = (mask * used).sum() + sum((one.sum() for one in begin), torch.zeros(()))
        return [total.expand(out.shape) for out in step.out]

    labels = [step.units.fresh(out.shape[-1]) for out in step.out]
    for label in labels:
        step.units.pin(label, reason)
    step.give(flow, [spread(own, out.shape, -1) for own, out in zip(labels, step.out, strict=True)], [x, *initial])


def _units(step: Step, x: Value, initial: list[Value], parameters: list[Value], biases: bool) -> None:
    w, u = parameters[:2]
    gates, size, candidate = GATES[step.operation], u.value.shape[1], CANDIDATE[step.operation]
    own = step.units.of_axis(str(u.name), 1, size)
    for part in parameters:
        rows = step.units.of_axis(str(part.name), 0, part.value.shape[0])
        step.units.join(own.repeat(gates), rows)
    zero = _always_zero(step, x, initial, parameters, biases, candidate)
    begins = [value for value in initial if not bool(value.zero.all())]
    if begins:
        step.units.pin(own, f"{step.where or step.operation} begins at states that are given")
        for value in initial:
            step.pin(value, "an initial state")
    # What a unit reads of inputs and of units, where it is not always zero.
    reads = (w.value != 0).reshape(gates, size, -1).any(0).float() * (~zero).float().unsqueeze(1)
    among = _closure((u.value != 0).reshape(gates, size, size).any(0), zero)
    step.inside = among
    varies = x.varies.reshape(-1, x.value.shape[-1]).any(0).float()
    still = (among @ (reads @ varies) == 0) & ~zero
    where = step.where or step.operation
    step.units.told.update(dict.fromkeys(own[still].tolist(), f"its constant differs by step (in {where})"))
    # Biases move a unit even where no input does: it differs by step, and so by the length of the sequence.
    moves = (~zero).float()

    def flow(mask: Tensor, *begin: Tensor) -> Any:
        steps = list(range(mask.ndim - 1))
        got = reads @ mask.sum(steps)
        for one in begin:
            got = got + one.reshape(-1, size).sum(0)
        got = (among @ got) * moves
        if not mask.requires_grad:
            got = got + moves
        return [got.expand(out.shape) for out in step.out]

    step.give(flow, [spread(own, out.shape, -1) for out in step.out], [x, *initial])


def _always_zero(
    step: Step, x: Value, initial: list[Value], parameters: list[Value], biases: bool, candidate: int
) -> Tensor:
    """Units that are zero at every step, by induction: those that are so while all others of them are."""
    w, u = parameters[:2]
    size = u.value.shape[1]
    at = slice(candidate * size, (candidate + 1) * size)
    nothing = x.zero.reshape(-1, x.value.shape[-1]).all(0)
    zero = torch.stack([value.zero.reshape(-1, size).all(0) for value in initial]).all(0)
    zero &= ((w.value[at] == 0) | nothing).all(1)
    if biases:
        one, other = (part.value[at] for part in parameters[2:])
        zero &= (one == 0) & (other == 0) if step.operation == "gru" else one + other == 0
    while True:
        fewer = zero & ((u.value[at] == 0) | zero).all(1)
        if bool((fewer == zero).all()):
            return zero
        zero = fewer


def _closure(reads: Tensor, zero: Tensor) -> Tensor:
    """[units, units]: which one depends on which, over any number of steps."""
    size = len(zero)
    found = (reads & ~zero.unsqueeze(1)).float() + torch.eye(size)
    for _ in range(max(size - 1, 1).bit_length()):
        found = (found @ found > 0).float()
    return found
