"""The default network for images: a family by size, width and depth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import check_whole
from dashpot.nets.branch import Branch
from dashpot.nets.memory import ChannelsLast
from dashpot.nets.standardize import Standardize

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
SMALL, MEDIUM = 20, 64
"""Pixels of the smaller side up to which the stem keeps the size, and halves it once; above, it halves it twice."""
LAST, MOST_STAGES = 4, 4
"""Stages halve the size until it is at most this; there are at least two of them and at most four."""
WIDEST = 8
"""Channels of a stage, in multiples of the stem's, at most."""


def stem_stride(size: int) -> int:
    """By how much the stem makes images of this size smaller: most of a network's time is its first layers, and a
    pixel of a large photo tells little.

    >>> [stem_stride(size) for size in (8, 16, 28, 32, 64, 96, 224)]
    [1, 1, 2, 2, 2, 4, 4]
    """
    return 1 if size <= SMALL else 2 if size <= MEDIUM else 4


def stages_for(size: int) -> int:
    """How many stages images of this size pass, each of which halves what the stem leaves.

    >>> [stages_for(size) for size in (8, 16, 28, 32, 64, 96, 224)]
    [2, 2, 2, 2, 3, 3, 4]
    """
    left, count = size // stem_stride(size), 0
    while left > LAST:
        left, count = left // 2, count + 1
    return min(max(count, 2), MOST_STAGES)


class ConvNet(nn.Module):
    """A convolutional network for images from 8 x 8 to about 256 x 256, of any number of channels.

    A stem (3x3 convolutions of stride 2 until the image is small enough, :func:`stem_stride`), stages, mean over
    positions, Dropout (at rate 0 until a recipe sets it; behind the last batch normalization, where it does no harm),
    Linear. A stage is a 3x3 convolution, a pooling to half the size, and ``depth`` further 3x3 convolutions; each
    convolution has batch normalization and an activation behind it. Channels double from stage to stage, up to eight
    times the stem's. Where there are weights to choose by (``se``), each stage scales its channels by their means
    (squeeze and excitation).

    Args:
        channels, outputs: of the image, and of logits.
        size: pixels of the smaller side: of it follow stem and number of stages. Other images pass, too, as long as
            they are not far smaller.
        width: channels behind the stem.
        depth: convolutions of a stage behind its pooling; 0 is none.
        residual: whether those are added to what they get, as branches that
            :class:`~dashpot.dropout.StochasticDepth` leaves out at random.
        se: squeeze and excitation.
        activation: relu, silu or gelu.
        mean, std: of each channel, over pixels in [0, 1]: the network then takes raw pixels, and its first stage
            (:class:`~dashpot.nets.standardize.Standardize`) standardizes them. Without them it takes standardized
            images.

    Raises:
        ConfigError: a value that the above does not allow.

    Example:
        >>> net = ConvNet(3, 10, size=32, width=16)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Memory is channels last inside (:class:`~dashpot.nets.memory.ChannelsLast`).

    Papers: Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018; a stage is like those of Page, "How to Train
    Your ResNet", 2019, and Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024.
    """

    branches_by = " The built-in network has branches with residual=True (--net residual=true)."
    """What is said to who asks for residual branches where there are none."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        size: int = 32,
        width: int = 32,
        depth: int = 1,
        residual: bool = False,
        se: bool = False,
        activation: str = "relu",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        channels, outputs, width = (
            check_whole(name, value) for name, value in (("channels", channels), ("outputs", outputs), ("width", width))
        )
        size, depth = check_whole("size", size, low=8), check_whole("depth", depth, low=0)
        if activation not in ACTIVATIONS:
            raise UnknownNameError("activation", str(activation), ACTIVATIONS)
        for name, value in (("residual", residual), ("se", se)):
            if value not in (True, False):
                raise ConfigError(name, "True or False", value)
        self.options: dict[str, Any] = {
            "channels": channels,
            "outputs": outputs,
            "size": size,
            "width": width,
            "depth": depth,
            "residual": bool(residual),
            "se": bool(se),
            "activation": activation,
        }
        self.standardize: nn.Module = nn.Identity()
        if mean is not None or std is not None:
            self.standardize = Standardize(mean or (), std or ())
            self.options |= {"mean": list(mean or ()), "std": list(std or ())}
        self.memory = ChannelsLast()
        act, stride = ACTIVATIONS[activation], stem_stride(size)
        first = (
            [(channels, width, stride)]
            if stride < 4
            else [(channels, max(width // 2, 1), 2), (max(width // 2, 1), width, 2)]
        )
        self.stem = nn.Sequential(*(_Conv(i, o, act, stride=s) for i, o, s in first))
        widths = [width * min(2**k, WIDEST) for k in range(stages_for(size) + 1)]
        self.stages = nn.Sequential(
            *(_Stage(i, o, depth, act, residual=bool(residual), se=bool(se)) for i, o in itertools.pairwise(widths))
        )
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(widths[-1], outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types do not know it alone

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to [batch, outputs]."""
        h = self.stages(self.stem(self.memory(self.standardize(x))))
        result: Tensor = self.head(self.dropout(h.mean(dim=(-2, -1))))
        return result


class _Conv(nn.Module):
    """A 3x3 convolution, pooled where asked for, with batch normalization and an activation."""

    def __init__(self, inputs: int, outputs: int, act: type[nn.Module], *, stride: int = 1, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pool else nn.Identity()
        self.norm, self.act = nn.BatchNorm2d(outputs), act()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.norm(self.pool(self.conv(x))))
        return result


class _Stage(nn.Module):
    """Half the size, other channels; then ``depth`` convolutions."""

    def __init__(
        self, inputs: int, outputs: int, depth: int, act: type[nn.Module], *, residual: bool, se: bool
    ) -> None:
        super().__init__()
        self.first = _Conv(inputs, outputs, act, pool=True)
        self.more = nn.Sequential(*(_Conv(outputs, outputs, act) for _ in range(depth)))
        self.excite = _Excite(outputs) if se else nn.Identity()
        self.residual = residual and depth > 0
        if self.residual:
            self.branch = Branch()

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        more = self.excite(self.more(h))
        result: Tensor = h + self.branch(more) if self.residual else more
        return result


class _Excite(nn.Module):
    """Channels times a number in (0, 2), 1 at first, by the means of all channels."""

    def __init__(self, channels: int, share: int = 8) -> None:
        super().__init__()
        hidden = max(channels // share, 4)
        self.squeeze, self.act, self.scale = nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def forward(self, x: Tensor) -> Tensor:
        factor = 2 * torch.sigmoid(self.scale(self.act(self.squeeze(x.mean(dim=(-2, -1))))))
        return x * factor.unsqueeze(-1).unsqueeze(-1)
