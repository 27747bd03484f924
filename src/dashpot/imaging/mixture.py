"""A weighted mean of an image and of several versions of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dashpot.imaging import kernels
from dashpot.imaging.execute import execute
from dashpot.imaging.operations import Operation


@dataclass(frozen=True, eq=False)
class Mixture(Operation):
    """The weighted mean of each image as it is and of what chains of operations make of it.

    Attributes:
        weights: of the image itself and of each chain, float64 [n, 1 + chains], with a sum of 1; where the first is 1
            the image stays as it is.
        chains: operations that keep the size of images.
    """

    weights: Tensor
    chains: tuple[tuple[Operation, ...], ...]

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return weighted([x, *(execute(x, chain) for chain in self.chains)], self.weights, unit=unit, owned=owned)

    def signature(self) -> tuple[Any, ...]:
        return (type(self), *(tuple(operation.signature() for operation in chain) for chain in self.chains))

    @classmethod
    def concatenated(cls, operations: Sequence[Any]) -> Any:
        chains = []
        for own in zip(*(operation.chains for operation in operations), strict=True):
            steps = zip(*own, strict=True)
            chains.append(tuple(type(step[0]).concatenated(step) for step in steps))
        return cls(torch.cat([operation.weights for operation in operations]), tuple(chains))


def weighted(images: Sequence[Tensor], weights: Tensor, *, unit: bool = False, owned: bool = False) -> Tensor:
    """The weighted mean of several batches of images, sample by sample.

    Args:
        images: of one shape and type, [n, c, h, w] each.
        weights: [n, batches] on the CPU. What has the weight 0 is not read, and where the first has the weight 1 the
            image is that one's, bit for bit.
        unit: of bytes make float32 in [0, 1].
        owned: the first batch may be written over.
    """
    x = images[0]
    memory = torch.channels_last if kernels.is_channels_last(x) else torch.contiguous_format
    others = [image.contiguous(memory_format=memory) for image in (x, *images[1:])]
    places = weights
    if x.device.type == "cpu":
        places = torch.tensor([image.data_ptr() for image in others], device="cpu")
    found = kernels.run("colour", "mixture", others[0], unit, owned, places, len(others), weights.float())
    if found is not None:
        return found
    out = torch.zeros_like(kernels.values(x))
    for image, weight in zip(images, weights.T, strict=True):
        share = kernels.wide(weight, out)
        out = out + torch.where(share == 0, 0, kernels.values(image) * share)
    return kernels.finished(out, x, unit, weights[:, 0] == 1)
