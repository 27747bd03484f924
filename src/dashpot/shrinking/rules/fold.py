"""``Fold``: where a layer reads constants, and how its bias takes them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dashpot.shrinking.value import Value


@dataclass(frozen=True)
class Fold:
    """Where a layer reads, and how its bias takes what is the same for all inputs.

    Attributes:
        source: what it reads.
        weight, bias: names; the bias None where there is none.
        axis: of the source, and its ``labels`` there.
        inputs: the axis of the weight that is inputs.
        matrix: [outputs, inputs], the sum over places of the kernel.
        padded: zeros are put around what it reads, so that a constant is none at the border.
        where: the module.
        refuses: why it takes no constant but zero; "": it does.
    """

    source: Value
    weight: str
    bias: str | None
    axis: int
    labels: Tensor
    matrix: Tensor
    padded: bool
    inputs: int
    where: str
    refuses: str = ""
