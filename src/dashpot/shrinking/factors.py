"""``Factors``: a layer whose weight is of low rank, as two smaller ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dashpot.shrinking.heads import become, is_attention
from dashpot.shrinking.trace import sharing

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""What becomes two; of classes that inherit from them nobody knows what they do with the weight."""
NOISE = 16
"""Singular values below so many roundings of the largest one are none."""


class Factors(nn.Sequential):
    r"""Two layers in place of one: :math:`W x + b = A (B x) + b` with :math:`W = A B` of rank r. The first has no bias;
    of a convolution it has the kernel, stride and padding, and the second one is of size 1. ``weight`` and ``bias`` are
    those of the whole, for code that reads them.

    Args:
        layer: a linear layer or a convolution that is not in groups.
        rank: at least 1.

    Example:
        >>> import torch
        >>> layer = Factors(torch.nn.Linear(6, 5), 2)
        >>> [tuple(p.shape) for p in layer.parameters()], tuple(layer(torch.ones(3, 6)).shape)
        ([(2, 6), (5, 2), (5,)], (3, 5))
    """

    def __init__(self, layer: nn.Module, rank: int) -> None:
        weight, bias = layer.get_parameter("weight"), layer._parameters.get("bias")
        like: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
        outputs, inputs = weight.shape[:2]
        kind: Any = type(layer)
        if isinstance(layer, _ConvNd):
            options: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            options |= {"padding_mode": layer.padding_mode}
            first = kind(inputs, rank, layer.kernel_size, bias=False, **options, **like)
            second = kind(rank, outputs, 1, bias=bias is not None, **like)
        else:
            first = kind(inputs, rank, bias=False, **like)
            second = kind(rank, outputs, bias=bias is not None, **like)
        super().__init__(first, second)
        for part in self.parameters():
            part.requires_grad_(weight.requires_grad)
        if bias is not None:
            second.bias.requires_grad_(bias.requires_grad)
        self.train(layer.training)

    @property
    def weight(self) -> Tensor:
        """[outputs, inputs, ...], of the whole."""
        first, second = (part.get_parameter("weight") for part in self)
        made: Tensor = second.flatten(1) @ first.flatten(1)
        return made.reshape(len(made), *first.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        """Of the outputs."""
        return self[1]._parameters["bias"]


def replaced(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Put :class:`Factors` in the place of layers, in place."""
    modules = dict(model.named_modules())
    for name, rank in ranks.items():
        above, _, own = name.rpartition(".")
        parent = modules[above]
        parent._modules[own] = Factors(modules[name], rank)
        if isinstance(parent, nn.TransformerEncoderLayer) and is_attention(parent.self_attn):
            become(parent.self_attn)  # or torch computes the whole layer itself in evaluation, with the product


@torch.no_grad()
def factor(model: nn.Module) -> tuple[dict[str, int], dict[str, str]]:
    """Make two layers of each whose weight is of low rank, where they are smaller, in place.

    Returns:
        The ranks by name, and of layers of low rank that stay as they are, why.
    """
    ranks: dict[str, int] = {}
    stay: dict[str, str] = {}
    places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    tied = sharing(model)
    tied = {**tied, **dict.fromkeys(tied.values(), "")}
    halves = {}
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")
        if not isinstance(module, (*KINDS, nn.modules.conv._ConvTransposeNd)) and type(module).__name__ != "Conv1D":
            continue
        if weight is None or weight.ndim < 2 or weight.dtype not in (torch.float32, torch.float64):
            continue
        matrix = weight.flatten(1).double()
        values = torch.linalg.svdvals(matrix)
        rank = max(int((values > NOISE * torch.finfo(weight.dtype).eps * values[0]).sum()), 1)
        if rank * sum(matrix.shape) >= matrix.numel():
            continue
        why = _why_not(module, name, places[id(module)] > 1 or (f"{name}.weight" if name else "weight") in tied)
        if why:
            stay[name or "the network"] = f"{why}; its rank is {rank}"
            continue
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        root = values[:rank].sqrt()
        halves[name] = root[:, None] * right[:rank], left[:, :rank] * root
        ranks[name] = rank
    layers = {name: module for name, module in model.named_modules() if name in ranks}
    replaced(model, ranks)
    for name, (first, second) in halves.items():
        made, old = model.get_submodule(name), layers[name]
        assert isinstance(made, Factors)
        for part, values in ((made[0], first), (made[1], second)):
            weight = part.get_parameter("weight")
            weight.copy_(values.reshape(weight.shape))
        if made.bias is not None:
            made.bias.copy_(old.get_parameter("bias"))
    return ranks, stay


def _why_not(module: nn.Module, name: str, shared: bool) -> str:
    if type(module) not in KINDS:
        return f"a {type(module).__name__} does not become two layers"
    if isinstance(module, _ConvNd) and module.groups > 1:
        return "a convolution in groups does not become two layers"
    return why_it_stays(module, name, shared)


def why_it_stays(module: nn.Module, name: str, shared: bool) -> str:
    """Why another module may not take a layer's place; "" where it may.

    Args:
        shared: its weight is used elsewhere, too.
    """
    if shared:
        return "its weight is used in several places"
    if not name:
        return "it is the whole network"
    if any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)):
        return "hooks are registered on it"
    return ""
