"""Which axes of a weight number a layer's outputs, inputs, groups and heads: the one place that knows.

A weight is seen as its *split* shape: where a layer stacks several matrices along the first axis (the groups of a
convolution, the gates of a recurrent layer, the projections of an attention), that axis is taken apart into (parts,
rest). Setting all weights of one output to zero then makes exactly that output of the layer constant, and setting all
weights of one input to zero makes the layer ignore exactly that input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from dashpot.core.errors import ConfigError

NORMS: tuple[type, ...] = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Axes:
    """The axes of one weight, as numbers of its split shape.

    Attributes:
        parts: matrices that are stacked along the first axis.
        outputs, inputs: the axes that together number the outputs, and the inputs.
        heads: of an attention, 0 elsewhere.
        into_heads: the inputs, and not the outputs, are divided into heads, as those of an output projection.
        convolution: whether further axes are positions of a kernel; None where the layer is not known.
        entries: the axis of a lookup table's entries (an embedding's tokens), which are what is called its rows.
    """

    parts: int = 1
    outputs: tuple[int, ...] = (0,)
    inputs: tuple[int, ...] = (1,)
    heads: int = 0
    into_heads: bool = False
    convolution: bool | None = None
    entries: int | None = None

    @property
    def rows(self) -> tuple[int, ...]:
        """What groups by rows number: the outputs; of a lookup table, its entries."""
        return self.outputs if self.entries is None else (self.entries,)

    @property
    def columns(self) -> tuple[int, ...]:
        """What groups by columns number: the inputs; of a lookup table, the dimensions of its vectors."""
        return self.inputs if self.entries is None else self.outputs

    def split(self, shape: Sequence[int]) -> tuple[int, ...]:
        """``shape`` with the parts as an axis of their own, where there are any."""
        return (self.parts, shape[0] // self.parts, *shape[1:]) if self.parts > 1 else tuple(shape)

    def matrices(self, w: Float[Tensor, "*shape"]) -> Float[Tensor, "parts outputs rest"]:
        """Each part as the matrix [rows, everything else]; a tensor of less than two axes is one row."""
        if w.ndim < 2:
            return w.reshape(1, 1, -1)
        order, sizes = self.order(w.shape)
        return w.reshape(self.split(w.shape)).permute(order).reshape(sizes)

    def restored(self, matrices: Float[Tensor, "parts outputs rest"], shape: Sequence[int]) -> Float[Tensor, "*shape"]:
        """The inverse of :meth:`matrices`."""
        if len(shape) < 2:
            return matrices.reshape(shape)
        order, _ = self.order(shape)
        split = self.split(shape)
        back = sorted(range(len(order)), key=order.__getitem__)
        return matrices.reshape([split[axis] for axis in order]).permute(back).reshape(shape)

    def by(self, axes: tuple[int, ...], w: Float[Tensor, "*shape"]) -> Float[Tensor, "places rest"]:
        """The weight with a row for each place along these axes: ``by(axes.outputs, w)`` has a row per output."""
        split = w.reshape(self.split(w.shape)) if w.ndim > 1 else w.reshape(-1, 1)
        return split.movedim(axes, tuple(range(len(axes)))).reshape(math.prod(split.shape[a] for a in axes), -1)

    def order(self, shape: Sequence[int]) -> tuple[list[int], tuple[int, int, int]]:
        """The split axes as (part, outputs, everything else), and the sizes of the three."""
        split = self.split(shape)
        first = [0] if self.parts > 1 else []
        rows = [axis for axis in self.rows if axis not in first]
        rest = [axis for axis in range(len(split)) if axis not in first and axis not in rows]
        return [*first, *rows, *rest], (
            self.parts,
            math.prod(split[axis] for axis in rows),
            math.prod(split[axis] for axis in rest),
        )


STANDARD = Axes()
"""[outputs, inputs, ...], as torch's linear layers and convolutions have it."""
TRANSPOSED = Axes(outputs=(1,), inputs=(0,), convolution=False)
"""[inputs, outputs]."""
TABLE = Axes(outputs=(1,), inputs=(0,), convolution=False, entries=0)
"""[inputs, outputs] of an embedding: a row is the vector of one input, and it is used whole or not at all."""
Rule = Callable[[nn.Module, str, Tensor], Axes | None]


def _convolution(module: nn.Module, leaf: str, w: Tensor) -> Axes:
    assert isinstance(module, _ConvNd), "the table has this rule for convolutions"
    groups, transposed = module.groups, isinstance(module, _ConvTransposeNd)
    if groups == 1:
        first, second = (0,), (1,)
        return Axes(1, second, first, convolution=True) if transposed else Axes(1, first, second, convolution=True)
    within, across = (0, 1), (0, 2)
    return Axes(groups, *((across, within) if transposed else (within, across)), convolution=True)


def _linear(module: nn.Module, leaf: str, w: Tensor) -> Axes:
    return Axes(convolution=False)


def _embedding(module: nn.Module, leaf: str, w: Tensor) -> Axes:
    return TABLE


def _transposed(module: nn.Module, leaf: str, w: Tensor) -> Axes:
    return TRANSPOSED


def _recurrent(module: nn.Module, leaf: str, w: Tensor) -> Axes:
    """The gates of a unit are one output; ``weight_hr``, the projection, has none."""
    width = int(module.hidden_size)  # type: ignore[arg-type]  # torch types it as a module's attribute
    gates = 1 if leaf.startswith("weight_hr") else w.shape[0] // width
    return Axes(gates, (1,), (2,), convolution=False) if gates > 1 else _linear(module, leaf, w)


def _attention(module: nn.Module, leaf: str, w: Tensor) -> Axes | None:
    assert isinstance(module, nn.MultiheadAttention), "the table has this rule for attention"
    heads = module.num_heads
    if leaf == "in_proj_weight":
        return Axes(3, (0, 1), (2,), heads=heads, convolution=False)
    return Axes(heads=heads, convolution=False) if leaf.endswith("_proj_weight") else None


def _scale(module: nn.Module, leaf: str, w: Tensor) -> Axes:
    every = tuple(range(w.ndim))
    return Axes(outputs=every, inputs=every, convolution=False)


_RULES: dict[type | str, Rule] = {
    _ConvNd: _convolution,
    nn.Linear: _linear,
    nn.Bilinear: _linear,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _recurrent,
    nn.MultiheadAttention: _attention,
    **dict.fromkeys(NORMS, _scale),
    "transformers.pytorch_utils.Conv1D": _transposed,
}
"""By class, or by its full name where it need not be installed; subclasses follow their nearest base."""


def register_layer_axes(
    layer: type[nn.Module] | str,
    *,
    outputs: int | tuple[int, ...] = 0,
    inputs: int | tuple[int, ...] = 1,
    parameter: str = "weight",
) -> None:
    """Say which axes of a layer's weight number its outputs and its inputs, where that is not [outputs, inputs, ...].

    Groups (``rows``, ``columns``), constraints, :func:`dashpot.inspect` and :func:`dashpot.selected_features` follow.
    torch's own layers and the ``Conv1D`` of Hugging Face are known.

    Args:
        layer: its class, or its full name where it need not be imported; subclasses are included.
        outputs, inputs: an axis, or several that number them together.
        parameter: the parameter's name in the layer.

    Raises:
        ConfigError: an axis below 0, or one that is both.

    Example:
        >>> import torch, dashpot
        >>> class Backward(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = torch.nn.Parameter(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
        ...     def forward(self, x):
        ...         return x @ self.weight
        >>> register_layer_axes(Backward, outputs=1, inputs=0)
        >>> found = dashpot.inspect(Backward()).layers[0]
        >>> found.zero_rows, found.zero_columns
        (1, 0)
    """
    out, into = (axes if isinstance(axes, tuple) else (axes,) for axes in (outputs, inputs))
    for name, axes in (("outputs", out), ("inputs", into)):
        if not axes or any(not isinstance(axis, int) or axis < 0 for axis in axes):
            raise ConfigError(name, "an axis, counted from 0, or several", axes)
    if set(out) == set(into):
        raise ConfigError("inputs", f"other axes than outputs ({out})", into)
    below, found = _RULES.get(layer), Axes(outputs=out, inputs=into)

    def rule(module: nn.Module, leaf: str, w: Tensor) -> Axes | None:
        return found if leaf == parameter else below(module, leaf, w) if below is not None else None

    _RULES[layer] = rule


def layer_axes(module: nn.Module, leaf: str, w: Tensor) -> Axes:
    """The axes of ``module``'s own parameter ``leaf``; :data:`STANDARD` where the layer is not known."""
    if w.ndim < 2:
        return STANDARD
    leaf = leaf.removesuffix("_orig")  # of torch.nn.utils.prune
    for base in type(module).__mro__:
        rule = _RULES.get(base) or _RULES.get(f"{base.__module__}.{base.__qualname__}")
        found = rule(module, leaf, w) if rule is not None else None
        if found is not None:
            return found
    return STANDARD


def axes_of(modules: Mapping[str, nn.Module], name: str, w: Tensor) -> Axes:
    """The axes of the parameter of this full name among a model's named modules."""
    prefix, _, leaf = name.rpartition(".")
    above, _, own = prefix.rpartition(".")
    parent = modules.get(above) if prefix else None
    if isinstance(parent, nn.MultiheadAttention) and own == "out_proj" and leaf == "weight":
        return Axes(heads=parent.num_heads, into_heads=True, convolution=False)
    return layer_axes(modules[prefix], leaf, w)
