"""The default network for signals: a family by length, width and depth."""

from __future__ import annotations

import itertools
from typing import Any

from torch import Tensor, nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import check_whole
from dashpot.nets.convnet import ACTIVATIONS, WIDEST

SHORT, MEDIUM = 128, 512
"""Steps up to which the stem keeps the length, and halves it once; above, it halves it twice."""
LAST, MOST_STAGES = 12, 5
"""Stages halve the length until it is at most this; there are at least two of them and at most five."""
SHORTEST = 8


def stages_for(steps: int) -> int:
    """How many stages signals of this length pass, each of which halves what the stem leaves.

    >>> [stages_for(steps) for steps in (8, 40, 128, 500, 5000)]
    [2, 2, 4, 5, 5]
    """
    left, count = steps // stem_stride(steps), 0
    while left > LAST:
        left, count = left // 2, count + 1
    return min(max(count, 2), MOST_STAGES)


def stem_stride(steps: int) -> int:
    """By how much the stem makes signals of this length shorter.

    >>> [stem_stride(steps) for steps in (8, 40, 128, 500, 5000)]
    [1, 1, 1, 2, 4]
    """
    return 1 if steps <= SHORT else 2 if steps <= MEDIUM else 4


class ConvNet1d(nn.Module):
    """A convolutional network for signals of 8 steps and more, of any number of channels.

    A stem, stages, mean over time, Dropout (at rate 0 until a recipe sets it), Linear. A stage is a convolution, a
    pooling to half the length, and ``depth`` further convolutions; each convolution has batch normalization and an
    activation behind it. Channels double from stage to stage, up to eight times the stem's.

    Args:
        channels, outputs: of the signal, and of logits.
        steps: of the signals: of it follow stem and number of stages. Other lengths pass, too.
        width: channels behind the stem.
        depth: convolutions of a stage behind its pooling; 0 is none.
        kernel: steps that a convolution sees, an odd number.
        activation: relu, silu or gelu.

    Raises:
        ConfigError: a value that the above does not allow.

    Example:
        >>> import torch
        >>> net = ConvNet1d(2, 10, steps=40, width=16)
        >>> net(torch.zeros(3, 2, 40)).shape
        torch.Size([3, 10])

    Paper: Wang, Yan and Oates, "Time Series Classification from Scratch with Deep Neural Networks: A Strong Baseline",
    IJCNN 2017, for convolutions with batch normalization and a mean over time.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        steps: int = 128,
        width: int = 32,
        depth: int = 1,
        kernel: int = 5,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        channels, outputs, width, kernel = (
            check_whole(name, value)
            for name, value in (("channels", channels), ("outputs", outputs), ("width", width), ("kernel", kernel))
        )
        steps, depth = check_whole("steps", steps, low=SHORTEST), check_whole("depth", depth, low=0)
        if kernel % 2 == 0:
            raise ConfigError("kernel", "an odd number, so that a convolution has a middle", kernel)
        if activation not in ACTIVATIONS:
            raise UnknownNameError("activation", str(activation), ACTIVATIONS)
        self.options: dict[str, Any] = {
            "channels": channels,
            "outputs": outputs,
            "steps": steps,
            "width": width,
            "depth": depth,
            "kernel": kernel,
            "activation": activation,
        }
        act = ACTIVATIONS[activation]
        layers = _convolution(channels, width, kernel, act, stride=stem_stride(steps))
        widths = [width * min(2**k, WIDEST) for k in range(stages_for(steps) + 1)]
        for inputs, channels_here in itertools.pairwise(widths):
            layers += _convolution(inputs, channels_here, kernel, act, pool=True)
            for _ in range(depth):
                layers += _convolution(channels_here, channels_here, kernel, act)
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(widths[-1], outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, steps] to [batch, outputs]."""
        result: Tensor = self.head(self.dropout(self.body(x).mean(dim=-1)))
        return result


def _convolution(
    inputs: int, outputs: int, kernel: int, act: type[nn.Module], *, stride: int = 1, pool: bool = False
) -> list[nn.Module]:
    """A convolution, pooled where asked for, with batch normalization and an activation."""
    first = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    pooled = [nn.MaxPool1d(2, ceil_mode=True)] if pool else []
    return [first, *pooled, nn.BatchNorm1d(outputs), act()]
