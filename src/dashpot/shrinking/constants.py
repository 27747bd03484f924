"""What leaves although it is no zero: constants go into biases, or into the weights of a constant that stays."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dashpot.shrinking.plan import Plan


def fold_constants(small: nn.Module, plan: Plan, folds: Mapping[str, tuple[str | None, Tensor]]) -> None:
    """Add what left to the biases."""
    tensors = tensors_of(small)
    for weight, (bias, constant) in folds.items():
        layer = weight.rpartition(".")[0]
        name = bias or (f"{layer}.bias" if layer else "bias")
        # The numbers are of all outputs; those that stay are those of the bias, or of the weight's outputs.
        places = plan.kept.get(plan.shared.get(weight, weight), {}) if bias is None else plan.kept.get(bias, {})
        axis = 0 if bias is not None or not _is_transposed(small, layer) else 1
        own = constant if axis not in places else constant[places[axis]]
        with torch.no_grad():
            tensors[name].add_(own.to(tensors[name]))


def carry(small: nn.Module, carried: Mapping[str, tuple[int, int, Tensor]]) -> None:
    """Add the weights of constants that leave to those of the one that carries them, before the cut."""
    tensors = tensors_of(small)
    for weight, (axis, carrier, shares) in carried.items():
        with torch.no_grad():
            w = tensors[weight]
            moved = torch.tensordot(w.double(), shares.to(w.device), dims=([axis], [0]))
            w.select(axis, carrier).add_(moved.to(w))


def _is_transposed(model: nn.Module, layer: str) -> bool:
    return type(model.get_submodule(layer)).__name__.startswith("ConvTranspose")


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return dict(named)
