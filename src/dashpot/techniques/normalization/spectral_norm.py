"""Spectral normalization: the largest singular value of each layer's weights is fixed."""

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from dashpot.core.fields.domains import Range
from dashpot.core.rng import Draws
from dashpot.core.running.context import Context
from dashpot.core.running.view import Params
from dashpot.techniques.normalization.computed_weight import ComputedWeight, Rule, rules

FIRST = 15
"""Iterations at attach, from random vectors."""


def singular_value(
    w: Float[Tensor, "outputs inputs"], u: Float[Tensor, " outputs"], v: Float[Tensor, " inputs"]
) -> Float[Tensor, ""]:
    """``u w v`` for vectors of any length, scaled to length 1: averages of them are shorter."""
    value: Tensor = torch.dot(u, torch.mv(w, v)) / (u.norm() * v.norm())
    return value


def power_iteration(
    w: Float[Tensor, "outputs inputs"], v: Float[Tensor, " inputs"], eps: float = 1e-12
) -> tuple[Float[Tensor, " outputs"], Float[Tensor, " inputs"]]:
    """Better estimates (u, v) of the first singular vectors from v."""
    u = normalize(w @ v, dim=0, eps=eps)
    return u, normalize(w.mT @ u, dim=0, eps=eps)


class SpectralNorm(ComputedWeight):
    r"""Divide each layer's weights by their largest singular value: no layer stretches any input further than asked.

    .. math:: \hat W = c \, W / \sigma(W), \qquad \sigma(W) \approx u^\top W v

    with u and v from power iteration, one iteration after each optimizer step; W is the matrix [outputs, everything
    else] of a linear layer or (transposed) convolution. Gradients pass through the division. Every pass of a step sees
    the same u and v, and evaluation changes nothing. While the session is open each layer has W as
    ``parametrizations.weight.original`` and the vectors as buffers; ``close()`` leaves plain weights, the divided ones.

    Args:
        norm: c > 0, the largest singular value that a layer has. 1 is usual.
        iterations: after each step, at least 1; more follow fast weights better.
        on: layers, by role, type or name; all linear layers and convolutions by default.

    Raises:
        ConfigError: ``norm`` not above 0, or ``iterations`` below 1.
        ConflictError: at attach, as for :class:`WeightNorm`; weights that are all zero.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.normalization.SpectralNorm().attach(model, optimizer):
        ...     for _ in range(20):
        ...         optimizer.zero_grad(); model(torch.randn(16, 4)).square().mean().backward(); _ = optimizer.step()
        >>> bool((torch.linalg.matrix_norm(model[0].weight, 2) - 1).abs() < 0.01)
        True

    Paper: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, arXiv 1802.05957.

    When not to use it: where the scale of the outputs is needed, as by a head that must be sure of its classes (leave
    it out with ``on``); where the exact norm of a convolution is meant, which lies between that of this matrix divided
    and multiplied by a power of the kernel's size.
    """

    summary = "fixes the largest singular value"
    waivers = {"off": "weights are divided by their norm or they are not"}  # noqa: RUF012

    norm: Annotated[float, Range(0.0, float("inf"), open="low")] = field(default=1.0, kw_only=False)
    iterations: Annotated[int, Range(1, float("inf"), integer=True)] = 1

    def rule(self, layer: nn.Module, weight: Tensor, key: int, ctx: Context) -> Rule:
        rule = _SpectralNorm(layer, weight, key)
        ctx.show("norm", rule.follow)
        return rule

    def refusal(self, layer: nn.Module, weight: Tensor) -> str:
        return "" if bool(weight.any()) else "its weights are all zero and have no largest singular value."

    def on_step(self, params: Params, ctx: Context) -> None:
        for rule, weight in rules(self, ctx.view):
            rule.iterate(weight, self.iterations)


class _SpectralNorm(Rule):
    u: Tensor
    v: Tensor
    norm = 1.0

    def __init__(self, layer: nn.Module, weight: Tensor, key: int) -> None:
        super().__init__(layer, weight)
        outputs, inputs = self.matrix(weight).shape
        drawn = Draws(key).normal((inputs,), dtype=torch.float64).to(weight.device, weight.dtype)
        self.register_buffer("u", weight.new_zeros(outputs))
        self.register_buffer("v", drawn)
        self.iterate(weight, FIRST)

    def follow(self, norm: float) -> None:
        self.norm = norm

    def matrix(self, weight: Tensor) -> Tensor:
        return self.axes.by(self.axes.outputs, weight)

    @torch.no_grad()
    def iterate(self, weight: Tensor, times: int) -> None:
        w, v = self.matrix(weight), self.v
        for _ in range(times):
            u, v = power_iteration(w, v)
        self.u.copy_(u)
        self.v.copy_(v)

    def forward(self, w: Tensor) -> Tensor:
        return w * (self.norm / singular_value(self.matrix(w), self.u, self.v))
