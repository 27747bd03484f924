"""A network for tables that is monotone in chosen inputs, by its construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import check_whole

DIRECTIONS = (-1, 0, 1)


class MonotoneNet(nn.Module):
    r"""A network whose answer never falls (or never rises) as one of its chosen inputs rises, whatever the others are.

    .. math:: h_1 = \rho(|W_1|\, (s \odot x_m) + V f(x_o) + b_1), \quad h_k = \rho(|W_k|\, h_{k-1} + b_k), \quad
        z = |w|^\top h_K + |u|^\top (s \odot x_m) + v^\top f(x_o) + c

    with x_m the chosen inputs times their directions s, x_o the others, f hidden layers on these, and ρ a third each
    of ReLU, of its mirror image -ReLU(-x), and of x held between -1 and 1. All that follows a chosen input has weights
    that count by their size, and activations that rise; convex and concave ones together approximate any monotone
    function. So the property holds for all inputs and at all weights, during and after training: it is certified, not
    checked. An average of such networks has it, too. In floating-point numbers it holds to rounding.

    Args:
        inputs: numbers of columns.
        outputs: 1 for a value, or 2 for two classes: the directions are then those of the second one's probability.
        signs: of each input 1 (the answer rises with it), -1 (it falls) or 0 (free); shorter ones are filled with 0.
        width: units per hidden layer.
        depth: hidden layers behind the chosen inputs, and as many behind the others; 0 is linear in the chosen ones,
            and has one hidden layer behind the others.

    Raises:
        ConfigError: no direction at all, one that is none of these, more of them than inputs, or more than two classes.

    Example:
        >>> import torch
        >>> net = MonotoneNet(3, 1, signs=(1, -1, 0))
        >>> x = torch.randn(100, 3)
        >>> bool((net(x + torch.tensor([1.0, -1.0, 0.0])) >= net(x)).all())
        True

    Paper: Runje and Shankaranarayana, "Constrained Monotonic Neural Networks", ICML 2023, arXiv 2205.11775.
    """

    def __init__(
        self, inputs: int, outputs: int, *, signs: Sequence[int] = (), width: int = 128, depth: int = 2
    ) -> None:
        super().__init__()
        inputs, outputs, width = (
            check_whole("inputs", inputs),
            check_whole("outputs", outputs),
            check_whole("width", width),
        )
        depth = check_whole("depth", depth, low=0)
        if outputs > 2:
            raise ConfigError("classes", "two with monotone columns", outputs, "Of more none is the positive one.")
        if len(signs) > inputs or any(sign not in DIRECTIONS for sign in signs) or not any(signs):
            rule = f"1, -1 or 0 for each of at most {inputs} inputs, and not 0 for all"
            raise ConfigError("signs", rule, tuple(signs), "Name a column with monotone=.")
        signs = (*map(int, signs), *[0] * (inputs - len(signs)))
        self.options: dict[str, Any] = {
            "inputs": inputs,
            "outputs": outputs,
            "signs": list(signs),
            "width": width,
            "depth": depth,
        }
        self.outputs = outputs
        chosen, others = ([i for i, sign in enumerate(signs) if bool(sign) == own] for own in (True, False))
        self.chosen: Tensor
        self.others: Tensor
        self.signs: Tensor
        self.register_buffer("chosen", torch.tensor(chosen), persistent=False)
        self.register_buffer("others", torch.tensor(others, dtype=torch.int64), persistent=False)
        self.register_buffer("signs", torch.tensor([float(signs[i]) for i in chosen]), persistent=False)
        hidden = [(len(others) if i == 0 else width, width) for i in range(max(depth, 1))] if others else []
        parts = [part for size in hidden for part in (nn.Linear(*size), nn.ReLU(), nn.Dropout(0.0))]
        self.free = nn.Sequential(*parts) if others else None
        self.first = Increasing(len(chosen), width) if depth else None
        self.join = nn.Linear(width, width, bias=False) if others and depth else None
        self.body = nn.ModuleList(Increasing(width, width) for _ in range(depth - 1))
        self.acts = nn.ModuleList(nn.Sequential(ThreeWays(), nn.Dropout(0.0)) for _ in range(depth))
        self.head = Increasing(width, 1) if depth else None
        self.direct = Increasing(len(chosen), 1, bias=False)
        self.rest = nn.Linear(width, 1) if others else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch, inputs] to [..., batch, outputs]."""
        chosen = x[..., self.chosen] * self.signs
        z: Tensor = self.direct(chosen)
        free = None if self.free is None else self.free(x[..., self.others])
        if self.rest is not None:
            z = z + self.rest(free)
        if self.first is not None and self.head is not None:
            h = self.first(chosen)
            if self.join is not None:
                h = h + self.join(free)
            h = self.acts[0](h)
            for layer, act in zip(self.body, self.acts[1:], strict=True):
                h = act(layer(h))
            z = z + self.head(h)
        return z if self.outputs == 1 else torch.cat([-z / 2, z / 2], dim=-1)


class Increasing(nn.Module):
    """A linear layer whose weights count by their size, so that no output falls as an input rises."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        # A few inputs of each unit are large and most are small, and all add up to about one: with weights of equal
        # size all units would see nearly the same, since none cancels another.
        start = torch.randn(outputs, inputs).abs() ** 3
        self.weight = nn.Parameter(start / start.sum(dim=1, keepdim=True).clamp_min(1e-6))
        self.bias = nn.Parameter(torch.randn(outputs) / 2) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        return functional.linear(x, self.weight.abs(), self.bias)


class ThreeWays(nn.Module):
    """A third of the units each: convex, concave and bounded; all of them rise."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        third = (x.shape[-1] + 2) // 3
        convex, concave, bounded = x[..., :third], x[..., third : 2 * third], x[..., 2 * third :]
        return torch.cat([convex.clamp_min(0), concave.clamp_max(0), bounded.clamp(-1, 1)], dim=-1)
