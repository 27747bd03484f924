"""Weight standardization: each output's weights have mean zero and a fixed variance."""

from dataclasses import field
from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.techniques.normalization.computed_weight import ComputedWeight, Rule

EPS = 1e-6
"""Added to the sum of squares of an output's weights, which at first is of order 1."""


def weight_standardization(
    w: Float[Tensor, "*shape"], gain: float | Float[Tensor, ""], dims: tuple[int, ...]
) -> Float[Tensor, "*shape"]:
    """Along ``dims`` with mean 0 and standard deviation ``gain / sqrt(n)``, where n is how many there are."""
    centred = w - w.mean(dims, keepdim=True)
    return centred * (gain * (centred.square().sum(dims, keepdim=True) + EPS).rsqrt())


class WeightStandardization(ComputedWeight):
    r"""Standardize the weights of each output: the layer computes with weights of mean zero and a fixed variance.

    .. math:: \hat w_{ij} = \frac{c}{\sqrt n} \cdot \frac{w_{ij} - \mu_i}{\sigma_i}

    with mean and standard deviation over the n weights of output i. The factor 1 / sqrt(n) lets a layer keep the
    variance of its inputs; behind a normalization, where the technique belongs, it changes nothing else. While the
    session is open each layer has w as ``parametrizations.weight.original``; ``close()`` leaves plain weights, the
    standardized ones.

    Args:
        gain: c > 0, the standard deviation times sqrt(n). 1 is usual in front of a normalization; sqrt(2) lets layers
            with ReLU keep the variance without one.
        on: layers, by role, type or name. ``linears | convolutions`` (the default): all but the output layer, which is
            the last of them; where ``on`` has a name or type, it says which.

    Raises:
        ConfigError: ``gain`` not above 0.
        ConflictError: at attach, as for :class:`WeightNorm`; an output with a single weight, which has no variance.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GroupNorm(2, 8), torch.nn.Conv2d(8, 2, 1))
        >>> technique = dashpot.normalization.WeightStandardization()
        >>> session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> rows = model[0].weight.detach().flatten(1)
        >>> bool(rows.mean(1).abs().max() < 1e-6), bool((rows.square().sum(1) - 1).abs().max() < 1e-4)
        (True, True)

    Papers: Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization", 2019, arXiv
    1903.10520; the factor: Brock et al., "Characterizing signal propagation to close the performance gap in
    unnormalized ResNets", ICLR 2021.

    When not to use it: where no normalization follows and no gain suits; in a pretrained network, whose outputs it
    changes at once.
    """

    summary = "computes with standardized weights"
    head: ClassVar[bool] = False
    waivers = {"off": "weights are standardized or they are not"}  # noqa: RUF012

    gain: Annotated[float, Range(0.0, float("inf"), open="low")] = field(default=1.0, kw_only=False)

    def rule(self, layer: nn.Module, weight: Tensor, key: int, ctx: Context) -> Rule:
        rule = _WeightStandardization(layer, weight)
        ctx.show("gain", rule.follow)
        return rule

    def refusal(self, layer: nn.Module, weight: Tensor) -> str:
        split = Rule(layer, weight)
        count = weight.numel() // split.axes.by(split.axes.outputs, weight).shape[0]
        return "each output has a single weight, which has no variance." if count == 1 else ""


class _WeightStandardization(Rule):
    gain = 1.0

    def follow(self, gain: float) -> None:
        self.gain = gain

    def forward(self, w: Tensor) -> Tensor:
        return weight_standardization(self.split(w), self.gain, self.dims).reshape(w.shape)
