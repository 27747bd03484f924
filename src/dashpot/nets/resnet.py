"""A small residual network for images: the default before there was :class:`~dashpot.nets.convnet.ConvNet`, and what
runs from then are read with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dashpot.core.fields.domains import check_whole
from dashpot.nets.branch import Branch
from dashpot.nets.standardize import Standardize


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalization and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.branch = Branch()
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.branch(self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x))))))
        result: Tensor = self.act2(h + self.shortcut(x))
        return result


class ResNet(nn.Module):
    """A small residual network for images of at least 8 x 8: a stem, three stages that halve the size, mean over
    positions, Dropout (at rate 0 until a recipe sets it; after the last batch normalization, where it does no harm),
    Linear.

    Args:
        channels, outputs: of the image, and of logits.
        width: channels of the first stage; the others have twice and four times as many.
        mean, std: of each channel, over pixels in [0, 1]: the network then takes raw pixels, and its first stage
            (:class:`~dashpot.nets.standardize.Standardize`) standardizes them. Without them it takes standardized
            images.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        width: int = 16,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        channels, outputs, width = (
            check_whole(name, value) for name, value in (("channels", channels), ("outputs", outputs), ("width", width))
        )
        self.options: dict[str, Any] = {"channels": channels, "outputs": outputs, "width": width}
        self.standardize: nn.Module = nn.Identity()
        if mean is not None or std is not None:
            self.standardize = Standardize(mean or (), std or ())
            self.options |= {"mean": list(mean or ()), "std": list(std or ())}
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stages = nn.Sequential(
            _Block(width, width, 1), _Block(width, 2 * width, 2), _Block(2 * width, 4 * width, 2)
        )
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(4 * width, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to [batch, outputs]."""
        result: Tensor = self.head(self.dropout(self.stages(self.stem(self.standardize(x))).mean(dim=(-2, -1))))
        return result
