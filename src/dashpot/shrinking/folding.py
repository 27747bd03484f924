"""``fold_batch_norm``: batch normalization computed into the layers in front of it."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

CONSTANT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Modules that give back their input in evaluation mode."""


@torch.no_grad()
def fold_batch_norm(model: nn.Module) -> nn.Module:
    r"""A copy of a trained model in evaluation mode whose batch normalizations are part of the layers in front of them.

    .. math:: W' = s\,W, \qquad b' = s\,(b - \mu) + \beta, \qquad s = \gamma / \sqrt{\sigma^2 + \epsilon}

    for each linear layer or (transposed) convolution whose outputs go into a batch normalization and nowhere else; an
    identity stands in the normalization's place. Outputs are equal to rounding (1e-6 in float64), and each
    normalization's pass over memory is saved. Others stay as they are: those behind something else (an activation, a
    sum), without running statistics, or behind a layer with a computed weight (``weight_norm``) or that is used twice.
    What stands where is read from the model by ``torch.fx``; of a model that it cannot trace, neighbours in
    ``nn.Sequential`` are folded.

    Args:
        model: in any mode; it is not changed. Batch normalization behind a linear layer is taken to act on the layer's
            outputs, as it does for inputs [batch, features].

    Returns:
        The copy.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU()).eval()
        >>> folded, x = dashpot.fold_batch_norm(model), torch.randn(8, 3)
        >>> folded[1], bool(torch.allclose(folded(x), model(x), atol=1e-6))
        (Identity(), True)

    When not to use it: for a model that is trained on, since the normalization is gone.
    """
    folded = copy.deepcopy(model).eval()
    fold(folded)
    return folded


@torch.no_grad()
def fold(model: nn.Module) -> list[tuple[str, str]]:
    """Fold batch normalizations in place; the names of the layers and of their normalizations."""
    modules, found = dict(model.named_modules()), []
    for first, second in _pairs(model):
        layer, norm = modules[first], modules[second]
        if _fits(layer, norm):
            assert isinstance(norm, _BatchNorm)
            _fold(layer, norm)
            _pass(modules, second)
            found.append((first, second))
    return found


def emptied(model: nn.Module, pairs: Sequence[tuple[str, str]]) -> None:
    """Make a network of the shapes that :func:`fold` made, in place: layers with biases, and no normalizations."""
    modules = dict(model.named_modules())
    for first, second in pairs:
        layer = modules[first]
        if layer._parameters.get("bias") is None:
            weight = layer.get_parameter("weight")
            count = weight.shape[1] * layer.groups if isinstance(layer, _ConvTransposeNd) else len(weight)
            layer.register_parameter("bias", nn.Parameter(weight.detach().new_zeros(count)))
        _pass(modules, second)


def _pass(modules: Mapping[str, nn.Module], name: str) -> None:
    """An identity in the place of a module."""
    home, _, leaf = name.rpartition(".")
    setattr(modules[home], leaf, nn.Identity().train(modules[name].training))


class _Tracer(fx.Tracer):
    """Torch's, which looks into our attention otherwise."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.MultiheadAttention) or super().is_leaf_module(m, module_qualified_name)


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    """The names of (layer, batch normalization) where the second alone takes what the first gives, each called once."""
    try:
        graph = _Tracer().trace(model)
    except Exception:  # tracing runs the model's own code on stand-ins, which may raise anything
        return _neighbours(model)
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = []
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[str(node.target)], _BatchNorm):
            continue
        source = node.args[0] if node.args else None
        alone = calls[node.target] == 1
        while isinstance(source, fx.Node) and source.op == "call_module" and alone:
            alone = len(source.users) == 1
            module = modules[str(source.target)]
            if isinstance(module, CONSTANT):
                source = source.args[0] if source.args else None
                continue
            if alone and calls[source.target] == 1:
                found.append((str(source.target), str(node.target)))
            break
    return _only_once(model, found)


def _neighbours(model: nn.Module) -> list[tuple[str, str]]:
    found = []
    for name, module in model.named_modules():
        parts = list(module.named_children()) if type(module) is nn.Sequential else []
        dot = f"{name}." if name else ""
        found += [(dot + a, dot + b) for (a, _), (b, _) in itertools.pairwise(parts)]
    return _only_once(model, found)


def _only_once(model: nn.Module, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without modules, and parameters, that have several places in the model."""
    modules = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    weights = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    named = dict(model.named_modules())

    def single(name: str) -> bool:
        module = named.get(name)
        own = () if module is None else module.parameters(recurse=False)
        return module is not None and modules[id(module)] == 1 and all(weights[id(p)] == 1 for p in own)

    return [pair for pair in pairs if all(map(single, pair))]


def _fits(layer: nn.Module, norm: nn.Module) -> bool:
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    if not isinstance(layer, nn.Linear | _ConvNd) or parametrize.is_parametrized(layer) or layer._forward_pre_hooks:
        return False
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    return bool(outputs == norm.num_features)


def _fold(layer: nn.Module, norm: _BatchNorm) -> None:
    """The layer with the normalization in it; sums are taken in float64."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = (variance + norm.eps).rsqrt()
    shift = -mean * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double()
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    bias = layer.bias
    if isinstance(bias, Tensor):
        shift = shift + scale * bias.double()
    if isinstance(layer, _ConvTransposeNd):  # [inputs, outputs / groups, ...], with the inputs of a group in a row
        split = weight.double().reshape(layer.groups, -1, *weight.shape[1:])
        made = (split * scale.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    else:
        made = weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter(made.to(weight.dtype), requires_grad=weight.requires_grad)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=weight.requires_grad)
