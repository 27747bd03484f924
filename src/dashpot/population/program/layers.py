"""The layers that the C++ program knows, each with the function that writes its step.

A new layer needs its arithmetic in ``program.cpp``, a function and a row here, and its stacked twin in ``twins.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from dashpot.nets.layers import NominalEmbedding, Scaling
from dashpot.nets.numeric import Periodic, PiecewiseLinear
from dashpot.population.program.steps import Steps
from dashpot.population.program.tracer import UnknownStepError
from dashpot.population.twins import StackedLinear

LINEAR, BATCH_NORM, LAYER_NORM, ACTIVATION, DROPOUT, SCALING, ADD, COPY, PIECEWISE, PERIODIC, NOMINAL = range(11)
"""``enum Kind`` of program.cpp."""
Write = Callable[[Steps, str, Any, int], int]
"""From the steps, a layer's name, the layer and the slot that it reads to the slot that it fills."""
WriteAtInput = Callable[[Steps, str, Any, int, int], int]
"""From the steps, a layer's name, the layer and its first and last column of the input to the slot that it fills."""


def linear(steps: Steps, name: str, module: nn.Linear, source: int) -> int:
    _demand(module.in_features == steps.widths[source])
    twin = steps.twin(name)
    low = isinstance(twin, StackedLinear) and twin.in_bfloat16
    low = low and min(module.in_features, module.out_features) >= StackedLinear.WIDE
    return steps.add(LINEAR, source, module.out_features, **_affine(name, module), low=low)


def batch_norm(steps: Steps, name: str, module: nn.BatchNorm1d, source: int) -> int:
    width = steps.widths[source]
    _demand(module.num_features == width)
    fields = {"norm": steps.norm(name), "eps": module.eps, "momentum": module.momentum}
    return steps.add(BATCH_NORM, source, width, **_affine(name, module), **fields)


def layer_norm(steps: Steps, name: str, module: nn.LayerNorm, source: int) -> int:
    width = steps.widths[source]
    _demand(tuple(module.normalized_shape) == (width,))
    return steps.add(LAYER_NORM, source, width, **_affine(name, module), norm=steps.norm(name), eps=module.eps)


def scaling(steps: Steps, name: str, module: Scaling, source: int) -> int:
    return steps.add(SCALING, source, steps.widths[source], weight=_leaf(name, "theta"), speed=module.speed)


def piecewise(steps: Steps, name: str, module: PiecewiseLinear, start: int, stop: int) -> int:
    features, bins, size = module.weight.shape
    _demand(features == stop - start)
    fields = {"ins": features, "begin": start, "count": bins, "table": steps.table(_leaf(name, "edges"))}
    return steps.add(PIECEWISE, 0, features * (size + 1), **_affine(name, module), **fields)


def periodic(steps: Steps, name: str, module: Periodic, start: int, stop: int) -> int:
    features, waves, size = module.weight.shape
    _demand(features == stop - start)
    leaves = {leaf: _leaf(name, leaf) for leaf in ("weight", "bias", "frequency", "phase")}
    return steps.add(PERIODIC, 0, features * (size + 1), ins=features, begin=start, count=waves, **leaves)


def nominal(steps: Steps, name: str, module: NominalEmbedding, start: int, stop: int) -> int:
    levels, size = module.weight.shape
    _demand(levels == stop - start)
    return steps.add(NOMINAL, 0, size, ins=levels, begin=start, weight=_leaf(name, "weight"))


def same(steps: Steps, name: str, module: nn.Identity, start: int, stop: int) -> int:
    return steps.add(COPY, 0, stop - start, ins=stop - start, begin=start)


LAYERS: dict[type[nn.Module], Write] = {
    nn.Linear: linear,
    nn.BatchNorm1d: batch_norm,
    nn.LayerNorm: layer_norm,
    Scaling: scaling,
}
EMBEDDINGS: dict[type[nn.Module], WriteAtInput] = {
    PiecewiseLinear: piecewise,
    Periodic: periodic,
    NominalEmbedding: nominal,
}
"""They stand at the input, whose gradient is not needed."""
AT_INPUT: dict[type[nn.Module], WriteAtInput] = {**EMBEDDINGS, nn.Identity: same}
ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 1, nn.SiLU: 2, nn.SELU: 3, nn.Mish: 4, nn.Tanh: 5}
"""With their numbers in pointwise.h."""


def _demand(fits: bool) -> None:
    if not fits:
        raise UnknownStepError


def _leaf(name: str, leaf: str) -> str:
    return f"{name}.{leaf}" if name else leaf


def _affine(name: str, module: nn.Module) -> dict[str, Any]:
    """Weight and bias by name, where the layer has them."""
    return {leaf: getattr(module, leaf) is not None and _leaf(name, leaf) for leaf in ("weight", "bias")}
