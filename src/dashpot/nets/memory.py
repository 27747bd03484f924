"""The order of an image's numbers in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ChannelsLast(nn.Module):
    """The same images with the channels of a pixel side by side in memory: layers behind it follow, and convolution,
    normalization and pooling are faster so, on a CPU and on a GPU. Shapes and values stay as they are.

    It has no parameters. What is no tensor [batch, channels, height, width], such as a stack of members, is passed on.

    Example:
        >>> x = ChannelsLast()(torch.zeros(2, 3, 8, 8))
        >>> tuple(x.shape), x.stride()
        ((2, 3, 8, 8), (192, 1, 24, 3))
    """

    def forward(self, x: Any) -> Any:
        # Inside vmap a tensor has an axis that is not seen here, and torch does not order such ones.
        if not isinstance(x, Tensor) or x.ndim != 4 or torch._C._functorch.is_batchedtensor(x):
            return x
        return x.to(memory_format=torch.channels_last)
