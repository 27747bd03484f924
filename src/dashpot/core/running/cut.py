"""``Cut``: a model's tensors become smaller by index, in place; what a session keeps for them follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dashpot.core.errors import ConflictError


@dataclass(frozen=True)
class Cut:
    """What stays of a model's tensors.

    Attributes:
        shapes: of those that become smaller, by name, as they were.
        keep: of such a name and a tensor of that shape what stays.
        zeros: of parameters, by name, true where a value leaves that is zero in the model.

    Example:
        >>> import torch
        >>> cut = Cut({"w": torch.Size([3])}, lambda name, t: t[:2], {})
        >>> cut.tree({"average": {"w": torch.arange(3), "b": torch.ones(1)}, "count": 4})
        {'average': {'w': tensor([0, 1]), 'b': tensor([1.])}, 'count': 4}
    """

    shapes: Mapping[str, torch.Size]
    keep: Callable[[str, Tensor], Tensor]
    zeros: Mapping[str, Tensor]

    def of(self, name: str, value: Tensor, whose: str) -> Tensor:
        """What stays of a tensor that is kept for the model's of this name.

        Raises:
            ConflictError: it has another shape, so that nobody knows what of it belongs to what leaves.
        """
        if name not in self.shapes or value.numel() <= 1 != self.shapes[name].numel():
            return value
        if value.shape != self.shapes[name]:
            raise ConflictError(
                f"{whose} keeps a tensor of shape {list(value.shape)} for {name!r} of shape"
                f" {list(self.shapes[name])}, and what of it leaves with the units of {name!r} is not known."
            )
        return self.keep(name, value).clone()

    def tree(self, state: Any, whose: str = "the state") -> Any:
        """A tree of named tensors and numbers, with what stays of those that stand under the names of the model's.

        Raises:
            ConflictError: as for :meth:`of`.
        """
        if isinstance(state, Mapping):
            return {
                key: self.of(key, value, whose)
                if isinstance(value, Tensor) and isinstance(key, str)
                else self.tree(value, whose)
                for key, value in state.items()
            }
        return [self.tree(part, whose) for part in state] if isinstance(state, list) else state

    def fits(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether other weights of the model lose nothing by it: they are zero where the model's are."""
        return all(
            not bool(tensor[self.zeros[name].to(tensor.device)].count_nonzero())
            for name, tensor in weights.items()
            if name in self.zeros
        )
