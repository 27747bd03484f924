"""A network as operations of torch, with the names of its parameters and modules."""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.core.tracing import known_reason, quiet
from dashpot.shrinking.heads import TracedAttention, become, is_attention


@dataclass(frozen=True)
class Traced:
    """A network's graph.

    Attributes:
        nodes: of ``torch.fx``, in order.
        state: for placeholders of parameters, buffers and constants their names and tensors.
        inputs: placeholders of the example, in order.
        shared: for names of tensors that are another's too, that other's name.
        vacant: names of biases that layers could have and have not.
    """

    nodes: Sequence[Any]
    state: Mapping[str, tuple[str, Tensor]]
    inputs: Sequence[str]
    shared: Mapping[str, str]
    vacant: frozenset[str] = frozenset()


def trace(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traced:
    """The graph of a copy in evaluation mode.

    Raises:
        ConflictError: its forward cannot be exported, such as one whose control flow depends on values.
    """
    twin = copy.deepcopy(model).eval()
    for module in twin.modules():
        if is_attention(module):
            become(module, TracedAttention)
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(twin, args, dict(kwargs), strict=False)
    except Exception as error:  # whatever a forward does that torch.export does not take
        if why := known_reason(model):
            raise ConflictError(f"{type(model).__name__} cannot be shrunk: {why}") from error
        told = str(error).strip().splitlines()
        raise ConflictError(
            f"{type(model).__name__} cannot be shrunk, as torch.export cannot trace its forward:"
            f" {told[0] if told else type(error).__name__}"
        ) from error
    program.graph.eliminate_dead_code()  # such as weights of attention that nobody reads
    signature, state = program.graph_signature, dict(program.state_dict)
    shared = sharing(twin)
    known: dict[str, tuple[str, Tensor]] = {}
    for names in (signature.inputs_to_parameters, signature.inputs_to_buffers):
        for place, name in names.items():
            tensor = state[name] if name in state else program.constants[name]
            known[place] = (shared.get(name, name), tensor.detach())
    for place, name in signature.inputs_to_lifted_tensor_constants.items():
        known[place] = (f"constant {name}", program.constants[name].detach())
    vacant = frozenset(
        f"{name}.bias" if name else "bias"
        for name, module in twin.named_modules()
        if "weight" in module._parameters and module._parameters.get("bias", module) is None
    )
    return Traced(list(program.graph.nodes), known, list(signature.user_inputs), shared, vacant)


def sharing(model: nn.Module) -> dict[str, str]:
    """For each further name of a parameter or buffer its first one."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        if first.setdefault(id(tensor), name) != name:
            found[name] = first[id(tensor)]
    return found


def module_of(node: Any) -> str:
    """The name of the module that a node is of; "" for the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(path) for path, _ in stack.values()]
    return names[-1] if names else ""


def kind_of(node: Any) -> str:
    """The class of the module that a node is of, such as ``"GroupNorm"``."""
    stack = node.meta.get("nn_module_stack") or {}
    kinds = [kind if isinstance(kind, str) else kind.__name__ for _, kind in stack.values()]
    return kinds[-1].rpartition(".")[2] if kinds else ""


def lines_of(node: Any) -> tuple[str, ...]:
    """Where in the code a node is called, as ``"file:number"``, the outermost call first."""
    found = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    return tuple(f"{file}:{number}" for file, number in found)


def operation_of(node: Any) -> str:
    """Such as ``"conv2d"``."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet, "__name__", node.target))
