"""Groupings: which weights a group penalty treats as one group. They can be combined with any penalty.

A grouping turns a tensor into a view whose axes ``dims`` run inside a group, so that a group norm is a sum over
``dims`` and spreading it back is broadcasting: no copies, and one formula for rows, columns, filters, heads and blocks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.axes import STANDARD, Axes
from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Domain

_PLAIN = {
    "element": "every weight by itself",
    "rows": "all weights of one output: a neuron, a filter, a unit with its gates; of an embedding, a token's vector",
    "columns": "all weights of one input: a feature, an input channel; of an embedding, a dimension",
    "filters": "rows, of convolutions only",
    "input-channels": "columns, of convolutions only",
    "layer": "the whole tensor",
}
_RULE = (
    "one of element, rows, columns, filters, input-channels, layer, heads:N, heads:NxP, block:B, block:RxC, or"
    " index:i,j,... written as index:i/j/..."
)


@dataclass(frozen=True)
class Layout:
    """A grouping of one shape.

    Attributes:
        shape: the view with a group's members along ``dims``.
        dims: the axes inside a group.
        size: members of each group, a number, or a tensor [groups, 1] where they differ.
        places: for an index map, int64 [groups, most members]: flat positions, ``numel`` for padding.
        order: for blocks of a weight that is not stored as [outputs, everything else], its axes.
    """

    shape: tuple[int, ...]
    dims: tuple[int, ...]
    size: float | Tensor
    places: Tensor | None = None
    order: Axes | None = None
    _elsewhere: dict[torch.device, Layout] = field(default_factory=dict, compare=False, repr=False)

    def fold(self, x: Float[Tensor, "*shape"], padding: float = 0.0) -> Float[Tensor, "*folded"]:
        """The view of ``x`` (a copy for an index map)."""
        if self.places is None:
            return (x if self.order is None else self.order.matrices(x)).reshape(self.shape)
        places = self.on(x.device).places
        return torch.cat([x.reshape(-1), x.new_full((1,), padding)])[places]

    def unfold(self, y: Float[Tensor, "*folded"], shape: Sequence[int]) -> Float[Tensor, "*shape"]:
        """Back to ``shape``."""
        if self.order is not None:
            return self.order.restored(y, shape)
        if self.places is None:
            return y.reshape(shape)
        numel = math.prod(shape)
        places = self.on(y.device).places
        assert places is not None, "a layout keeps its places on every device"
        flat = y.new_zeros(numel + 1).index_copy(0, places.reshape(-1), y.reshape(-1))
        return flat[:numel].reshape(shape)

    def on(self, device: torch.device) -> Layout:
        """The same with its tensors there: copied once, since a copy at each step would wait for a GPU."""
        if self.places is None or self.places.device == device:
            return self
        if (found := self._elsewhere.get(device)) is None:
            size = self.size.to(device) if isinstance(self.size, Tensor) else self.size
            found = Layout(self.shape, self.dims, size, self.places.to(device))
            if type(found.places) is Tensor:  # a fake one, of a tracing mode, is of no use to others
                self._elsewhere[device] = found
        return found


@dataclass(frozen=True)
class Grouping:
    """A rule that groups the weights of a tensor, by its text.

    ``element``, ``rows`` (all weights of one output), ``columns`` (all weights of one input), ``filters``,
    ``input-channels``, ``layer``; ``heads:8`` (8 equal blocks of rows; in an ``nn.MultiheadAttention`` a head's query,
    key and value rows together, and the columns of its output projection), ``heads:8x3`` (the same where another layer
    stacks 3 matrices); ``block:4`` or ``block:4x8`` (rows x columns of the matrix [outputs, everything else]);
    ``index:0/0/1/1`` (the group of each weight, flattened).

    Which axes are outputs and inputs is the layer's: known for torch's layers, told for others by
    :func:`dashpot.register_layer_axes`, and [outputs, inputs, ...] elsewhere.

    Raises:
        ConfigError: another text, where a technique is given it; at attach, a grouping that does not divide a
            parameter's shape.

    Example:
        >>> import torch, dashpot
        >>> w = torch.tensor([[3.0, 0.3], [4.0, 0.4]])
        >>> dashpot.GroupLasso(strength=1.0, groups=dashpot.Grouping("columns"), size_weights=False).prox(w, step=1.0)
        tensor([[2.4000, 0.0000],
                [3.2000, 0.0000]])
        >>> str(dashpot.Grouping.index(torch.tensor([[0, 1], [0, 1]])))
        'index:0/1/0/1'
    """

    text: str

    @staticmethod
    def index(groups: Any) -> Grouping:
        """From an integer tensor of the parameter's shape: equal numbers are one group."""
        flat = torch.as_tensor(groups).reshape(-1)
        if (
            flat.is_floating_point()
            or flat.is_complex()
            or flat.dtype == torch.bool
            or not flat.numel()
            or bool((flat < 0).any())
        ):
            raise ConfigError("groups", "whole numbers >= 0, one for each weight", groups)
        return Grouping("index:" + "/".join(map(str, flat.tolist())))

    def layout(self, shape: Sequence[int], name: str = "the parameter", axes: Axes = STANDARD) -> Layout:
        """How it groups a tensor of this shape, whose axes are these.

        Raises:
            ConfigError: it does not divide the shape, naming parameter, shape and group size.
        """
        return _layout(self.text, tuple(shape), name, axes)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=4096)
def _layout(text: str, shape: tuple[int, ...], name: str, axes: Axes) -> Layout:
    def refuse(rule: str) -> ConfigError:
        return ConfigError(
            f"groups of {name}",
            rule,
            text,
            f"The shape of {name} is {list(shape)}; choose other groups, or leave it out with `on`.",
        )

    kind, _, rest = text.partition(":")
    ndim, numel = len(shape), math.prod(shape)
    if kind == "layer":
        return Layout(shape or (1,), tuple(range(max(ndim, 1))), float(max(numel, 1)))
    if kind in ("filters", "input-channels") and not (ndim >= 3 if axes.convolution is None else axes.convolution):
        raise refuse(f"of a convolution for groups={kind!r}")
    if kind in ("element", "rows", "filters"):
        return _numbered(shape, axes, () if kind == "element" else axes.rows)
    if kind in ("columns", "input-channels"):
        if ndim < 2:
            raise refuse("a matrix or a convolution for groups='columns'")
        return _numbered(shape, axes, axes.columns)
    numbers = [int(part) for part in re.split("[x/]", rest)]
    if kind == "heads":
        return _heads(shape, axes, numbers, refuse)
    if kind == "block":
        return _blocks(shape, axes, numbers, refuse)
    if len(numbers) != numel:
        raise refuse(f"one group for each of its {numel} weights ({len(numbers)} are given)")
    _, group = torch.unique(torch.tensor(numbers, device="cpu"), return_inverse=True)
    counts = torch.bincount(group)
    places = torch.full((len(counts), int(counts.max())), numel, device="cpu")
    order = torch.argsort(group, stable=True)
    column = torch.arange(numel, device="cpu") - (counts.cumsum(0) - counts)[group[order]]
    places[group[order], column] = order
    return Layout(tuple(places.shape), (1,), counts[:, None].double(), places)


def _numbered(shape: tuple[int, ...], axes: Axes, by: tuple[int, ...]) -> Layout:
    """A group for each place along the axes ``by`` of the split shape; for each weight where nothing is inside one."""
    split = axes.split(shape)
    inside = tuple(axis for axis in range(len(split)) if axis not in by)
    if not by or not inside or len(shape) < 2:
        return Layout((*shape, 1), (len(shape),), 1.0)
    return Layout(split, inside, float(max(math.prod(split[axis] for axis in inside), 1)))


def _heads(shape: tuple[int, ...], axes: Axes, numbers: list[int], refuse: Callable[[str], ConfigError]) -> Layout:
    """Equal blocks of outputs, or of inputs where heads come in."""
    heads = numbers[0]
    parts = numbers[1] if len(numbers) > 1 else axes.parts if axes.heads else 1
    rule = f"{heads} heads x {parts}, which must divide the {shape[0] if shape else 0} rows"
    split, outer, axis = axes.split(shape), axes.outputs[:-1], axes.outputs[-1]
    if axes.into_heads:
        outer, axis = (), axes.inputs[-1]
        rule = f"{heads} heads, which must divide the {shape[-1]} columns"
    elif parts > 1 or axes.outputs == tuple(range(len(axes.outputs))):
        # In the order of their rows, whatever else divides them.
        if not shape or shape[0] % parts:
            raise refuse(rule)
        split, outer, axis = (parts, shape[0] // parts, *shape[1:]), (), 1
    each, rest = divmod(heads, math.prod(split[a] for a in outer))
    if rest or not each or split[axis] % each:
        raise refuse(rule)
    view = (*split[:axis], each, split[axis] // each, *split[axis + 1 :])
    inside = tuple(a for a in range(len(view)) if a != axis and a not in outer)
    return Layout(view, inside, float(max(math.prod(view[a] for a in inside), 1)))


def _blocks(shape: tuple[int, ...], axes: Axes, numbers: list[int], refuse: Callable[[str], ConfigError]) -> Layout:
    """Blocks of the matrix [outputs, everything else]."""
    high, wide = numbers[0], numbers[-1]
    if len(shape) < 2:
        raise refuse(f"blocks of {high} x {wide} of a matrix")
    order, (parts, rows, columns) = axes.order(shape)
    if parts * rows % high or columns % wide:
        raise refuse(f"blocks of {high} x {wide}, which must divide the matrix {parts * rows} x {columns}")
    view = (parts * rows // high, high, columns // wide, wide)
    return Layout(view, (1, 3), float(high * wide), order=axes if order != sorted(order) else None)


def as_grouping(value: Any) -> Grouping:
    """What a field of domain :class:`Groups` holds: it is a Grouping, in whatever form it was given."""
    assert isinstance(value, Grouping)
    return value


@dataclass(frozen=True)
class Groups(Domain):
    """A :class:`Grouping`, or its text, or an integer tensor (an index map)."""

    @property
    def rule(self) -> str:
        return _RULE

    def check(self, parameter: str, value: Any) -> Grouping:
        if isinstance(value, Grouping):
            value = value.text
        if isinstance(value, Tensor):
            return Grouping.index(value)
        if not isinstance(value, str):
            raise ConfigError(parameter, self.rule, value)
        return self.parse(parameter, value)

    def parse(self, parameter: str, text: str) -> Grouping:
        known = (
            text in _PLAIN
            or re.fullmatch(r"(heads|block):[1-9]\d*(x[1-9]\d*)?", text)
            or re.fullmatch(r"index:\d+(/\d+)*", text)
        )
        if not known:
            raise ConfigError(parameter, self.rule, text)
        return Grouping(text)
