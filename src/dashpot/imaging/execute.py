"""The executor: operations of several techniques on one batch of images, with as few passes over it as they allow."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dashpot.core.running.batch import unit_range
from dashpot.imaging.operations import Operation


def joined(operations: Sequence[Operation]) -> list[Operation]:
    """The same with neighbours that are one operation as one."""
    stages: list[Operation] = []
    for operation in operations:
        both = stages[-1].join(operation) if stages else None
        if both is None:
            stages.append(operation)
        else:
            stages[-1] = both
    return stages


def execute(x: Tensor, operations: Sequence[Operation], unit: bool = False) -> Tensor:
    """Do all operations in turn to images [n, c, h, w]; ``x`` stays as it is.

    Args:
        x: uint8 or floating point, contiguous or channels-last memory.
        unit: of bytes float32 in [0, 1] is wanted: the last operation writes them so.

    Returns:
        Images of the type and memory format of ``x``; ``x`` itself where there is no operation.
    """
    stages, given = joined(operations), x
    for number, stage in enumerate(stages, 1):
        owned = x is not given and x.untyped_storage().data_ptr() != given.untyped_storage().data_ptr()
        x = stage.apply(x, unit and number == len(stages), owned=owned)
    found: Tensor = unit_range(x) if unit else x
    return found
