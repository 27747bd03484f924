"""Implicit members: several networks that share their matrices and differ by factors (TabM; Gorishniy et al., ICLR
2025).

Between :class:`MemberInput` and :class:`MemberHeads` activations are [..., batch * members, features], the members of a
row side by side, so that any layer made for [batch, features] can stand between them. See ``layers`` for ``stackable``.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from dashpot.core.axes import register_layer_axes
from dashpot.core.fields.domains import check_whole


def random_signs(*shape: int) -> Tensor:
    """-1.0 or 1.0, equally often."""
    return torch.randint(0, 2, shape).float() * 2 - 1


class MemberInput(nn.Module):
    """One row becomes ``members`` rows, each times its own factors, which start as random signs: what makes the members
    differ.

    Example:
        >>> import torch
        >>> MemberInput(8, 3)(torch.ones(5, 3)).abs().sum().item()
        120.0
    """

    stackable: ClassVar[bool] = True
    parameter_role: ClassVar[str] = "scales"

    def __init__(self, members: int, features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(random_signs(check_whole("members", members), check_whole("features", features)))

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch, features] to [..., batch * members, features]."""
        return (x.unsqueeze(-2) * self.scale.unsqueeze(-3)).flatten(-3, -2)


class MemberScale(nn.Module):
    """Each member's own factors, which start at 1, and, where asked for, its own shift, which starts at 0.

    Example:
        >>> import torch
        >>> MemberScale(2, 3)(torch.ones(4, 3)).sum().item()
        12.0
    """

    stackable: ClassVar[bool] = True
    parameter_role: ClassVar[str] = "scales"

    def __init__(self, members: int, features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.members = check_whole("members", members)
        self.scale = nn.Parameter(torch.ones(members, check_whole("features", features)))
        self.bias = nn.Parameter(torch.zeros(members, features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch * members, features] to the same."""
        out = _split(x, self.members) * self.scale.unsqueeze(-3)
        if self.bias is not None:
            out = out + self.bias.unsqueeze(-3)
        return out.flatten(-3, -2)


class MemberHeads(nn.Module):
    """An own linear layer for each member, initialized as :class:`torch.nn.Linear`.

    Example:
        >>> import torch
        >>> MemberHeads(4, 8, 3)(torch.ones(5 * 4, 8)).shape
        torch.Size([5, 3, 4])
    """

    stackable: ClassVar[bool] = True
    parameter_role: ClassVar[str] = "weights"

    def __init__(self, members: int, features: int, outputs: int) -> None:
        super().__init__()
        self.members = check_whole("members", members)
        bound = check_whole("features", features) ** -0.5
        self.weight = nn.Parameter(
            torch.empty(members, features, check_whole("outputs", outputs)).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch * members, features] to [..., batch, outputs, members]."""
        out = torch.einsum("...bkf,...kfo->...bko", _split(x, self.members), self.weight) + self.bias.unsqueeze(-3)
        return out.transpose(-1, -2)


register_layer_axes(MemberHeads, outputs=(0, 2), inputs=1)


def _split(x: Tensor, members: int) -> Tensor:
    """[..., batch * members, features] to [..., batch, members, features]."""
    return x.reshape(*x.shape[:-2], x.shape[-2] // members, members, x.shape[-1])


def mean_prediction(out: Tensor) -> Tensor:
    """The members' common prediction: [..., outputs, members] to [..., outputs].

    One output: the mean. Several are logits of classes: the logarithm of the mean probability, which is again a vector
    of logits.
    """
    if out.shape[-2] == 1:
        return out.mean(dim=-1)
    return torch.log_softmax(out, dim=-2).logsumexp(dim=-1) - math.log(out.shape[-1])
