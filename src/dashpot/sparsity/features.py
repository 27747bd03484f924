"""Which input columns a network uses: those with any non-zero weight in the layers that the input enters first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase

from dashpot.core.errors import ConfigError
from dashpot.core.running.computed import Held, held
from dashpot.core.running.selecting import refuse_lazy
from dashpot.core.running.sharded import refuse_shards
from dashpot.core.running.view import unwrap

_ELEMENTWISE = frozenset(
    (
        *("relu", "relu_", "gelu", "silu", "elu", "selu", "celu", "leaky_relu", "hardtanh", "hardswish", "mish"),
        *("softplus", "tanh", "sigmoid", "neg", "abs", "exp", "log1p", "sign", "sqrt", "square", "clamp", "nan_to_num"),
        *("add", "sub", "mul", "div", "truediv", "pow", "dropout", "dropout1d", "dropout2d", "dropout3d"),
        *("to", "float", "double", "half", "bfloat16", "type", "type_as", "clone", "detach", "contiguous"),
    )
)
_SHAPING = frozenset(
    (
        "flatten",
        "reshape",
        "view",
        "unsqueeze",
        "squeeze",
        "permute",
        "transpose",
        "movedim",
        "swapaxes",
        "t",
        "mT",
        "T",
    )
)
_ASKING = frozenset(("size", "dim", "shape", "ndim", "device", "dtype", "numel", "len", "is_floating_point"))
_MIXING = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.Softmax, nn.LogSoftmax, nn.GLU)


class _Unclear(Exception):
    """What the input reaches says nothing of columns; the text says what that is."""


def used_columns(model: nn.Module) -> Tensor:
    """Of each input column (channel of an image, token of an embedding) whether any weight that it meets first is not
    zero, as booleans.

    The layers are found by following the input through ``forward``; where that has control flow on data, or multiplies
    with parameters of its own, the first layer in the order of their definition is taken.

    Raises:
        ConflictError: parameters without a shape yet.
        ConfigError: no weights; layers of different widths; or columns that are mixed or split before any weight.
    """
    model = unwrap(model)
    refuse_lazy("selected_features", model)
    refuse_shards("selected_features", model)
    layers: dict[str, list[Held]] = {}
    for tensor in held(model):
        if tensor.role in ("weights", "embeddings") and tensor.value.ndim > 1:
            layers.setdefault(tensor.name.rpartition(".")[0], []).append(tensor)
    if not layers:
        raise ConfigError("model", "a module with a weight matrix", type(model).__name__)
    try:
        masks = list(_entered(model, layers))
    except _Unclear as unclear:
        raise ConfigError(
            "model", f"one whose columns meet weights first, and the input of {type(model).__name__} {unclear}", model
        ) from None
    if not masks:
        name = next(iter(layers))
        masks = [_mask(model.get_submodule(name), layers[name])]
    if len({len(mask) for mask in masks}) > 1:
        widths = ", ".join(str(len(mask)) for mask in masks)
        raise ConfigError("model", f"one whose first layers have one number of inputs, and they have {widths}", model)
    return torch.stack(masks).any(dim=0).cpu()


class _Tracer(fx.Tracer):
    """Modules with parameters of their own are leaves, as are torch's."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or any(p is not None for p in m._parameters.values())


def _entered(model: nn.Module, layers: dict[str, list[Held]]) -> Iterator[Tensor]:
    """The mask of each layer that the input enters first; none where ``forward`` cannot be followed."""
    if "" in layers:
        if len(layers[""]) == len([t for own in layers.values() for t in own]):
            yield _mask(model, layers[""])
        return
    try:
        graph = _Tracer().trace(model)
    except Exception:  # whatever a forward pass does with a stand-in for a tensor
        return
    if any(node.op == "get_attr" and _matrix(model, str(node.target)) for node in graph.nodes):
        return
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    # Of each node that still holds the columns as they came, which of them are not multiplied by zero.
    reached: dict[fx.Node, Tensor | None] = dict.fromkeys(inputs)
    for node in graph.nodes:
        sources = [source for source in node.all_input_nodes if source in reached]
        if not sources or node.op == "placeholder":
            continue
        scale = reached[sources[0]]
        if node.op == "call_module":
            name = str(node.target)
            module = model.get_submodule(name)
            if name in layers:
                mask = _mask(module, layers[name])
                yield mask & scale if scale is not None and len(scale) == len(mask) else mask
                continue
            reached[node] = _through(name, module, scale)
        elif node.op == "output":
            raise _Unclear("reaches the output without any weight")
        elif (called := _called(node)) not in _ASKING:
            if called not in _ELEMENTWISE | _SHAPING or len(node.all_input_nodes) > len(_constants(node)) + 1:
                raise _Unclear(f"enters {called}() before any weight")
            reached[node] = scale


def _called(node: fx.Node) -> str:
    """The name of what a node calls."""
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "getattr":
        return str(node.args[1])
    return str(node.target) if node.op == "call_method" else str(getattr(node.target, "__name__", node.target))


def _constants(node: fx.Node) -> list[fx.Node]:
    """The arguments that do not come from the input: buffers, and what is asked of a shape."""
    return [other for other in node.all_input_nodes if other.op == "get_attr" or _called(other) in _ASKING]


def _through(name: str, module: nn.Module, scale: Tensor | None) -> Tensor | None:
    """The columns behind a module without a weight matrix of its own."""
    if isinstance(module, _MIXING):
        raise _Unclear(f"enters {name} first, a {type(module).__name__}, which mixes all columns")
    if any(p.ndim > 1 for p in module.parameters()):
        raise _Unclear(f"enters {name} first, a {type(module).__name__}, which hides where columns go")
    own = module.weight if isinstance(module, _NormBase) else None
    if own is None:
        return scale
    kept = own.detach() != 0  # behind a scale of zero a column is a constant
    return kept if scale is None or len(scale) != len(kept) else scale & kept


def _mask(module: nn.Module, tensors: list[Held]) -> Tensor:
    """Of each input of a layer whether any of its weights is not zero."""
    if isinstance(module, nn.Bilinear):
        raise _Unclear("is a pair, of a Bilinear layer")
    first = tensors
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        own = [(t, t.name.rpartition(".")[2]) for t in tensors]
        first = [t for t, leaf in own if leaf.startswith("weight_ih") and "_l" not in leaf.replace("_l0", "")]
    elif isinstance(module, nn.MultiheadAttention):
        first = [t for t in tensors if t.name.endswith("_proj_weight")]
    masks = [t.axes.by(t.axes.inputs, t.value.detach() != 0).any(dim=1) for t in first]
    if len({len(mask) for mask in masks}) > 1:
        raise _Unclear("is several, of different widths")
    return torch.stack(masks).any(dim=0)


def _matrix(model: nn.Module, path: str) -> bool:
    """Whether a path leads to a parameter of two or more axes."""
    held: Any = model
    for part in path.split("."):
        held = getattr(held, part)
    return isinstance(held, nn.Parameter) and held.ndim > 1
