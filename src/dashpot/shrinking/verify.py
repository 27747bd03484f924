"""Whether a small network does what the large one does, on the example and on inputs like it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.shrinking.analysis import INPUT
from dashpot.shrinking.needs import WAY_OUT, SizesError, said
from dashpot.shrinking.value import flat, mapped

TOLERANCE: Mapping[torch.dtype, float] = {torch.float64: 1e-6, torch.float32: 1e-5}
"""How far outputs may be apart, as a share of the largest one; of shorter types 2e-2."""


def sliced(args: Any, kwargs: Any, names: Any, columns: Mapping[str, Tensor]) -> tuple[Any, Any]:
    """The inputs that the small network takes."""
    there = iter(names)

    def change(leaf: Any) -> Any:
        places = columns.get(f"{INPUT}{next(there)}")
        return leaf if places is None else leaf.index_select(1, places.to(leaf.device))

    found: tuple[Any, Any] = mapped((args, kwargs), change)
    return found


def verified(
    model: nn.Module, small: nn.Module, args: Any, kwargs: Any, names: Any, columns: Mapping[str, Tensor]
) -> float:
    """The largest difference of outputs, as a share of the largest output.

    Raises:
        ConflictError: they differ, or the small network cannot be called.
    """
    modes = [(module, module.training) for net in (model, small) for module in net.modules()]
    worst = 0.0
    try:
        for net in (model, small):
            net.eval()
        for number in range(3):
            given = mapped((args, kwargs), functools.partial(_like, number))
            with torch.no_grad():
                wanted = flat(_outputs(model(*given[0], **given[1])))
                try:
                    cut = sliced(given[0], given[1], names, columns)
                    got = flat(_outputs(small(*cut[0], **cut[1])))
                except Exception as error:  # whatever a forward raises where its sizes do not fit
                    lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
                    what = (str(error).strip().splitlines() or [type(error).__name__])[0]
                    raise SizesError(
                        f"{type(model).__name__} cannot be shrunk: its forward, or a module of it, has sizes of its"
                        f" own, and fails with fewer units at {said(lines)}: {what}. In your own code, {WAY_OUT}.",
                        lines,
                    ) from error
            for one, other in zip(wanted, got, strict=True):
                if isinstance(one, Tensor):
                    worst = max(worst, _apart(one, other, type(model).__name__))
    finally:
        for module, mode in modes:
            module.training = mode
    return worst


def _outputs(out: Any) -> Any:
    """Of an output of a class of its own the values."""
    if isinstance(out, Mapping):
        return list(out.values())
    return out


def _like(number: int, leaf: Any) -> Any:
    """An input like the example's; the first is the example."""
    if number == 0 or not isinstance(leaf, Tensor) or not leaf.is_floating_point():
        return leaf if number == 0 or not isinstance(leaf, Tensor) or leaf.ndim == 0 else leaf.flip(0)
    spread = float(leaf.detach().double().std()) if leaf.numel() > 1 else 1.0
    return torch.randn_like(leaf) * max(spread, 1e-3) * number


def _apart(one: Tensor, other: Tensor, name: str) -> float:
    if one.shape != other.shape:
        raise ConflictError(
            f"{name} cannot be shrunk: its outputs would be {list(other.shape)} in place of {list(one.shape)}."
        )
    if not one.is_floating_point():
        return 0.0
    finite = one.isfinite()
    scale = float(one[finite].abs().max()) if bool(finite.any()) else 0.0
    difference = float((one - other)[finite].abs().max()) / max(scale, 1e-30) if bool(finite.any()) else 0.0
    if not difference <= TOLERANCE.get(one.dtype, 2e-2) or not bool((finite == other.isfinite()).all()):
        raise ConflictError(
            f"{name} cannot be shrunk: outputs would differ by {difference:.1e} of the largest one. Please report it."
        )
    return difference
