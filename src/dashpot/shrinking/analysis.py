"""Which units can leave: forwards what is the same for all inputs, backwards what is read."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dashpot.shrinking.decide import OUTPUT, Analysis, Graph, decide
from dashpot.shrinking.heads import READ, TracedAttention
from dashpot.shrinking.needs import Needs
from dashpot.shrinking.rules import elementwise, features, layers, moving, over, recurrent
from dashpot.shrinking.rules.registry import RULES, pinned, unknown
from dashpot.shrinking.trace import Traced, kind_of, lines_of, module_of, operation_of
from dashpot.shrinking.units import Units, spread
from dashpot.shrinking.value import Step, Value, flat, mapped

__all__ = ["Analysis", "analyse", "elementwise", "features", "layers", "moving", "over", "recurrent"]
"""The files of rules are imported so that they register theirs."""
INPUT = "input "
"""In front of the name of an input, of whose columns those that nobody reads may leave."""


def analyse(
    traced: Traced, example: list[Any], *, drop: bool = False, heads: bool = True, needs: Needs | None = None
) -> Analysis:
    """What leaves a network, by its graph and the example's inputs in order.

    Args:
        drop: columns of inputs may leave, too; ``heads``: so may heads of attention.
        needs: what lines of code with sizes of their own ask for.
    """
    with torch.no_grad():
        graph = _forward(traced, example, drop, heads, needs or Needs())
    with torch.enable_grad():  # also where the caller wants none
        _backward(graph)
    return decide(graph)


def graph_of(traced: Traced, example: list[Any]) -> Graph:
    """Every operation on the example, with its labels: which units there are, whatever the weights."""
    with torch.no_grad():
        return _forward(traced, example, drop=False, heads=True, needs=Needs())


def _forward(traced: Traced, example: list[Any], drop: bool, heads: bool, needs: Needs) -> Graph:
    """Every operation on the example, with labels and what varies."""
    graph, known = Graph(Units(heads)), {}
    shapes = {name: tensor.shape for name, tensor in traced.state.values()}
    inputs = dict(zip(traced.inputs, example, strict=True))
    for node in traced.nodes:
        if node.op == "placeholder":
            known[node] = _placeholder(traced, inputs, node.name, graph.units if drop else None)
        elif node.op == "output":
            graph.outputs = [leaf for leaf in flat(_read(node.args, known)) if isinstance(leaf, Value)]
        elif node.op == "call_function":
            known[node] = _call(graph, node, known, shapes, needs, traced.vacant)
        else:
            raise NotImplementedError(node.op)  # torch.export gives no other
        graph.values += [leaf for leaf in flat([known.get(node)]) if isinstance(leaf, Value)]
    for value in graph.outputs:
        graph.units.pin(value.label, OUTPUT)
    return graph


def _placeholder(traced: Traced, inputs: Mapping[str, Any], name: str, units: Units | None) -> Any:
    if name in traced.state:
        own, tensor = traced.state[name]
        return Value(tensor, torch.zeros(tensor.shape, dtype=torch.bool), pinned(tensor), own)
    given = inputs[name]
    if not isinstance(given, Tensor):
        return given
    label = pinned(given)
    if units is not None and given.ndim == 2 and given.is_floating_point():
        label = spread(units.of_axis(INPUT + name, 1, given.shape[1]), given.shape, 1)
    return Value(given, torch.ones(given.shape, dtype=torch.bool), label)


def _read(args: Any, known: Mapping[Any, Any]) -> Any:
    """The arguments of a node, with values in place of nodes."""
    if isinstance(args, slice):
        return args
    return mapped(_plain(args), lambda leaf: known[leaf] if isinstance(leaf, torch.fx.Node) else leaf)


def _plain(args: Any) -> Any:
    """fx's own lists and dicts as Python's."""
    if isinstance(args, dict):
        return {key: _plain(part) for key, part in args.items()}
    if isinstance(args, tuple):
        return tuple(_plain(part) for part in args)
    return [_plain(part) for part in args] if isinstance(args, list) else args


def _call(
    graph: Graph,
    node: Any,
    known: Mapping[Any, Any],
    shapes: Mapping[str, torch.Size],
    needs: Needs,
    vacant: frozenset[str],
) -> Any:
    args, kwargs = _read(node.args, known), _read(node.kwargs, known)
    if node.target is operator.getitem:
        return args[0][args[1]]
    plain = lambda leaf: leaf.value if isinstance(leaf, Value) else leaf  # noqa: E731
    out = node.target(*mapped(args, plain), **mapped(kwargs, plain))
    if not any(isinstance(leaf, Tensor) for leaf in flat([out])):
        return out
    step = Step(operation_of(node), node.target, args, kwargs, out, graph.units, dict(shapes), module_of(node))
    step.kind, step.lines, step.vacant = kind_of(node), lines_of(node), vacant
    values = step.tensors()
    if not values:  # made from nothing, such as torch.arange
        made = [Value(leaf, torch.zeros(leaf.shape, dtype=torch.bool), pinned(leaf)) for leaf in flat([out])]
        return made if isinstance(out, tuple | list) else made[0]
    if step.kind == TracedAttention.__name__ and step.operation == "matmul":
        for value in step.tensors():
            step.units.pin(value.label, f"{READ} (in {step.where or 'nn.MultiheadAttention'})")
    RULES.get(step.operation, unknown)(step)
    needs.ask(step)
    graph.steps.append(step)
    return step.made if isinstance(out, tuple | list) else step.made[0]


def _read_inside(made: list[Value], inside: Tensor) -> None:
    """What only other units of a recurrent layer read is read, too."""
    lines = [value.live.reshape(-1, len(inside)).any(0) for value in made if value.live is not None]
    also = (inside.T @ torch.stack(lines).any(0).float()) > 0
    for value in made:
        if value.live is not None:
            value.live = value.live | also


def _backward(graph: Graph) -> None:
    """What the outputs depend on."""
    for value in graph.values:
        value.live = torch.zeros(value.value.shape, dtype=torch.bool)
    for value in graph.outputs:
        value.live = torch.ones(value.value.shape, dtype=torch.bool)
    for step in reversed(graph.steps):
        if step.inside is not None:
            _read_inside(step.made, step.inside)
        given = [made for made in step.made if made.live is not None and bool(made.live.any())]
        if not given or not step.sources:
            continue
        assert step.flow is not None
        masks = [torch.zeros(source.value.shape, requires_grad=True) for source in step.sources]
        outs = step.flow(*masks)
        outs = list(outs) if isinstance(outs, tuple | list) else [outs]
        wanted = [
            (out.expand(made.value.shape), made.live.float())
            for out, made in zip(outs, step.made, strict=True)
            if made.live is not None and out.requires_grad
        ]
        if not wanted:
            continue
        found = torch.autograd.grad([out for out, _ in wanted], masks, [live for _, live in wanted], allow_unused=True)
        for source, gradient in zip(step.sources, found, strict=True):
            if gradient is not None and source.live is not None:
                source.live |= gradient > 0.5
            elif gradient is not None:
                source.live = gradient > 0.5
