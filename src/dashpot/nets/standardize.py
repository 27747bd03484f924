"""The stage at the front of a network for images: raw pixels in, standardized channels out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError
from dashpot.core.running.batch import unit_range


def standardize(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``(x - mean) / std`` of pixels in [0, 1]; bytes (uint8, 0 to 255) are brought there first.

    Args:
        x: [..., batch, channels, height, width].
        mean, std: [..., channels, 1, 1]; leading axes are those of ``x``, such as the members of a population.
    """
    # Buffers of a module are Any to mypy.
    return (unit_range(x) - mean.unsqueeze(-4)) / std.unsqueeze(-4)  # type: ignore[no-any-return]


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
        for name, value in _checked(mean, std).items():
            self.register_buffer(name, value)

    mean: Tensor
    std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Pixels to standardized channels."""
        return standardize(x, self.mean, self.std)


def standardized(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """``network`` itself, made to standardize its input first, as :class:`Standardize` does. Its parts keep their
    names; the numbers are its buffers ``pixel_mean`` and ``pixel_std``.

    Example:
        >>> network = standardized(nn.Flatten(), [0.5], [0.5])
        >>> network(torch.zeros(1, 1, 1, 2)).tolist(), list(network.state_dict())
        ([[-1.0, -1.0]], ['pixel_mean', 'pixel_std'])
    """
    # No module of its own: a Sequential would run it as one of its layers.
    for name, value in _checked(mean, std).items():
        network.register_buffer(f"pixel_{name}", value)
    network.register_forward_pre_hook(_first)
    return network


def _first(network: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (standardize(args[0], network.pixel_mean, network.pixel_std), *args[1:])


def _checked(mean: Sequence[float], std: Sequence[float]) -> dict[str, Tensor]:
    values = {
        name: torch.as_tensor(part, dtype=torch.float32).flatten() for name, part in (("mean", mean), ("std", std))
    }
    fits = len(values["mean"]) == len(values["std"]) > 0 and all(bool(v.isfinite().all()) for v in values.values())
    if not fits or not bool((values["std"] > 0).all()):
        raise ConfigError("mean, std", "a finite number per channel each, std above 0", (list(mean), list(std)))
    return {name: value.reshape(-1, 1, 1) for name, value in values.items()}
