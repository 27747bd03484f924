"""``Value``: what an operation gives, element by element, on an example; and the step that made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dashpot.shrinking.units import Units

Flow = Callable[..., Any]
"""Linear: from masks (floats >= 0) of what a step reads to those of what it gives, 1 or more where something counts."""


@dataclass
class Value:
    """A tensor of the network.

    Attributes:
        value: on the example.
        varies: bool, of its shape: not known to be the same for all inputs.
        label: int64, of its shape: the unit of each element.
        name: the parameter or buffer that it is, or of which it is a part that was only moved.
        index: of a moved one, the place of each element in the flat parameter; None: it is the parameter itself.
        live: bool, of its shape: an output depends on it.
    """

    value: Tensor
    varies: Tensor
    label: Tensor
    name: str | None = None
    index: Tensor | None = None
    live: Tensor | None = None

    @property
    def zero(self) -> Tensor:
        """Where it is 0 for all inputs."""
        return ~self.varies & (self.value == 0)


@dataclass
class Step:
    """A call of an operation.

    Attributes:
        operation: its name, such as ``"conv2d"``; ``target`` is the function.
        args, kwargs: with :class:`Value` where there are tensors.
        out: what it gives on the example: a tensor, or several.
        units: all labels.
        shapes: of each parameter and buffer, by name.
        where: the module's name, for messages.
        sources: what it reads, in the order in which ``flow`` takes masks.
        made: what it gives.
        flow: see :data:`Flow`.
        fold: where removed constants are put: None, or what says how.
        inside: of a recurrent layer, [units, units], which unit depends on which from step to step.
        limits: what it asks of the units that leave, see ``limits.py``.
        kind: the class of the module, such as ``"GroupNorm"``.
        lines: where in the code it is called, the outermost call first.
        vacant: names of biases that layers could have and have not.
    """

    operation: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    units: Units
    shapes: dict[str, torch.Size]
    where: str
    sources: list[Value] = field(default_factory=list)
    made: list[Value] = field(default_factory=list)
    flow: Flow | None = None
    fold: Any = None
    inside: Tensor | None = None
    limits: list[Any] = field(default_factory=list)
    kind: str = ""
    lines: tuple[str, ...] = ()
    vacant: frozenset[str] = frozenset()

    def arg(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place or name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)

    def tensors(self) -> list[Value]:
        """All values among its arguments."""
        return [part for part in flat((self.args, self.kwargs)) if isinstance(part, Value)]

    def takes_no_constant(self, w: Value, bias: Value | None) -> str:
        """Why nothing can be added to the bias of a layer with this weight; "": it can."""
        where, place = self.where or self.operation, f"{str(w.name).rpartition('.')[0]}.bias".lstrip(".")
        if w.index is not None and w.index.numel() < self.shapes[str(w.name)].numel():
            return f"{where} takes a part of {w.name}, whose bias takes no constant"
        if bias is None and (place not in self.vacant or not str(w.name).endswith("weight")):
            return f"{where} has no bias that would take its constant"
        return ""

    def axis(self, value: Value, axis: int) -> Tensor | None:
        """The labels of an axis of a parameter, or of a part of one; None where it is of no single axis."""
        assert value.name is not None
        shape = self.shapes[value.name]
        axis %= value.value.ndim
        if value.index is None:
            return self.units.of_axis(value.name, axis, shape[axis])
        places = torch.unravel_index(value.index, shape)
        found = None
        for old, place in enumerate(places):
            first = place
            for d in range(place.ndim):
                if d != axis:
                    first = first.narrow(d, 0, 1)
            line = first.reshape(-1)
            if len(line) > 1 and bool((line != line[0]).any()):
                if found is not None or not bool((place == first).all()):
                    return None
                found = self.units.of_axis(value.name, old, shape[old])[line]
        return found

    def pin(self, value: Value, reason: str) -> None:
        """All of it stays."""
        self.units.pin(value.label, reason)
        if value.name is not None:
            shape = self.shapes[value.name]
            for axis, size in enumerate(shape):
                self.units.pin(self.units.of_axis(value.name, axis, size), reason)

    def give(self, flow: Flow, label: Any, sources: Sequence[Value] | None = None) -> None:
        """Say what comes of it: how masks go through, and the labels of what it gives."""
        self.flow, self.sources = flow, list(self.tensors() if sources is None else sources)
        outs = list(self.out) if isinstance(self.out, tuple | list) else [self.out]
        labels = list(label) if isinstance(label, tuple | list) else [label]
        masks = flow(*(source.varies.float() for source in self.sources))
        masks = list(masks) if isinstance(masks, tuple | list) else [masks]
        for out, own, mask in zip(outs, labels, masks, strict=True):
            self.made.append(Value(out, mask.expand(out.shape) > 0.5, own.expand(out.shape)))


def flat(tree: Any) -> list[Any]:
    """The leaves of tuples, lists and dicts."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [leaf for part in tree for leaf in flat(part)] if isinstance(tree, tuple | list) else [tree]


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same tree with other leaves."""
    if isinstance(tree, dict):
        return {key: mapped(part, change) for key, part in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(part, change) for part in tree)
    return change(tree)
