"""How the weights of a layer are distributed, and how strongly each input reaches the output."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dashpot.core.running.modes import evaluating
from dashpot.core.running.view import unwrap

LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the quantiles."""
BINS = 61
NEAR = 0.01
"""What is nearer to zero than this share of the root mean square of the values that are not zero is nearly zero."""
_PASSES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Dropout, nn.AlphaDropout),
)


@dataclass(frozen=True)
class Spread:
    """The distribution of the values of a tensor.

    Attributes:
        near_zeros: the share that is nearly zero (below 1 % of the root mean square of the others) and not exactly.
        quantiles: at 0, 5, 25, 50, 75, 95 and 100 %.
        kurtosis: the fourth moment over the square of the second, about 0: 3 of a normal distribution, which L2 leaves
            about as it is but narrower; L1 raises it, since it takes many to zero and leaves few large; 0 where all are
            zero.
        counts: of the values in 61 equal bins from ``-edge`` to ``edge``, exact zeros left out.
        edge: the largest size.
    """

    near_zeros: float
    quantiles: tuple[float, ...]
    kurtosis: float
    counts: tuple[int, ...]
    edge: float


def spread_of(w: Tensor) -> Spread:
    """Of all values of a weight; those that are not finite are left out.

    >>> spread_of(torch.tensor([0.0, 0.0, -1.0, 3.0])).quantiles[3], spread_of(torch.tensor([1.0, -1.0])).kurtosis
    (0.0, 1.0)
    """
    values = (w.detach().abs() if w.is_complex() else w.detach()).double().cpu().reshape(-1)
    values = values[values.isfinite()]
    if not len(values):
        return Spread(0.0, (0.0,) * len(LEVELS), 0.0, (0,) * BINS, 0.0)
    there = values[values != 0]
    near = there.abs() < NEAR * there.square().mean().sqrt() if len(there) else there.bool()
    square = values.square().mean()
    ordered = values.sort().values
    places = torch.tensor(LEVELS, dtype=torch.float64) * (len(ordered) - 1)
    low, high = ordered[places.floor().long()], ordered[places.ceil().long()]
    quantiles = low + (high - low) * (places - places.floor())
    edge = float(values.abs().max())
    counts = torch.histc(there, BINS, -edge, edge) if len(there) else torch.zeros(BINS)
    return Spread(
        near_zeros=int(near.sum()) / len(values),
        quantiles=tuple(quantiles.tolist()),
        kurtosis=float(values.pow(4).mean() / square.square()) if square > 0 else 0.0,
        counts=tuple(int(count) for count in counts.tolist()),
        edge=edge,
    )


@torch.no_grad()
def path_strengths(model: nn.Module) -> tuple[float, ...] | None:
    r"""How strongly each input column reaches the outputs: the sum over all paths of the products of absolute weights,
    :math:`\mathbf 1^\top |W_L| \cdots |W_1|`, as shares that add up to 1.

    The network is run with its weights replaced by their sizes, biases by 0 and activations by the identity: it is then
    linear, and its answer to each unit vector is that sum, residual connections and the factors of batch normalizations
    included. For activations that shrink distances it bounds how far an output can move, and it is exactly 0 where no
    path is left. It says nothing of data: scale the columns alike.

    Args:
        model: from [n, columns] to outputs.

    Returns:
        One share per column; None where the network is not of this kind (convolutions, attention, layer normalization,
        embeddings), or no path is left at all.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, -2.0, 0.0], [1.0, 0.0, 0.0]]))
        >>> _ = model[2].weight.data.copy_(torch.tensor([[1.0, -1.0]]))
        >>> path_strengths(model)  # 1 + 1, 2 and 0 of 4
        (0.5, 0.5, 0.0)

    Paper: Neyshabur, Salakhutdinov and Srebro, "Path-SGD", NeurIPS 2015, for the sum over paths.
    """
    try:
        sizes = _of_sizes(copy.deepcopy(unwrap(model)).cpu().double())
        width = next(module.in_features for module in sizes.modules() if isinstance(module, nn.Linear))
        with evaluating(sizes):
            zero = sizes(torch.zeros(1, width, dtype=torch.float64)).reshape(1, -1)
            out = sizes(torch.eye(width, dtype=torch.float64)).reshape(width, -1)
            twice = sizes(2.0 * torch.ones(1, width, dtype=torch.float64)).reshape(1, -1)
    except (StopIteration, RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return None  # no layer, or it takes no table, or cannot be copied
    if bool(zero.any()) or not torch.allclose(twice, 2 * out.sum(dim=0, keepdim=True), rtol=1e-9):
        return None  # something in it is not linear
    total = out.abs().sum(dim=1)
    if not bool(total.isfinite().all()) or not float(total.sum()) > 0:
        return None
    shares: list[float] = (total / total.sum()).tolist()
    return tuple(shares)


def _of_sizes(model: nn.Module) -> nn.Module:
    if isinstance(model, _PASSES):
        return nn.Identity()
    for name, module in model.named_children():
        setattr(model, name, _of_sizes(module))
    for name, parameter in model.named_parameters(recurse=False):
        parameter.copy_(torch.zeros_like(parameter) if name.endswith("bias") else parameter.abs())
    if isinstance(model, _BatchNorm) and model.running_mean is not None:
        model.running_mean.zero_()
    return model
