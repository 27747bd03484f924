"""The stage at the front of a network for images: raw pixels in, standardized channels out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashpot.core.batch import unit_range
from dashpot.core.errors import ConfigError


class Standardize(nn.Module):
    """``(x - mean) / std`` for each channel, of pixels in [0, 1]; bytes (uint8, 0 to 255) are brought there first.

    It stands at the front of a network, so that all that acts on inputs while training sees pixels in their own range,
    and a saved network takes raw pixels. Mean and deviation are buffers: they are saved and moved with the network, and
    no optimizer sees them.

    Args:
        mean: one number per channel, in [0, 1] for pixels.
        std: one number per channel, > 0.

    Raises:
        ConfigError: other numbers, or not as many as each other.

    Shape: [..., batch, channels, height, width] to the same.

    Example:
        >>> stage = Standardize([0.5], [0.25])
        >>> stage(torch.tensor([[[[0.0, 1.0]]]])).tolist(), stage(torch.tensor([[[[255]]]], dtype=torch.uint8)).tolist()
        ([[[[-2.0, 2.0]]]], [[[[2.0]]]])
    """

    # Axes are counted from the end, so a leading member axis of buffers and input changes nothing.
    stackable: ClassVar[bool] = True

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        values = [torch.as_tensor(part, dtype=torch.float32).flatten() for part in (mean, std)]
        fits = len(values[0]) == len(values[1]) > 0 and all(bool(v.isfinite().all()) for v in values)
        if not fits or not bool((values[1] > 0).all()):
            raise ConfigError("mean, std", "a finite number per channel each, std above 0", (list(mean), list(std)))
        for name, value in zip(("mean", "std"), values, strict=True):
            self.register_buffer(name, value.reshape(-1, 1, 1))

    mean: Tensor
    std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Pixels to standardized channels."""
        out: Tensor = (unit_range(x) - self.mean.unsqueeze(-4)) / self.std.unsqueeze(-4)
        return out


def standardized(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """``network`` itself, with a :class:`Standardize` as ``network.standardize_input`` before its forward; the names of
    its own parts stay as they are.

    Example:
        >>> network = standardized(nn.Flatten(), [0.5], [0.5])
        >>> network(torch.zeros(1, 1, 1, 2)).tolist(), list(network.state_dict())
        ([[-1.0, -1.0]], ['standardize_input.mean', 'standardize_input.std'])
    """
    network.add_module("standardize_input", Standardize(mean, std))
    network.register_forward_pre_hook(_first)
    return network


def _first(network: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (network.standardize_input(args[0]), *args[1:])
