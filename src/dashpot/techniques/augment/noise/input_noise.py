"""Input noise: add Gaussian noise to the inputs while training."""

from dataclasses import field
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.core.requires import Requires
from dashpot.core.running.batch import Batch, float_input
from dashpot.core.running.context import Context
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique


def input_noise(
    x: Float[Tensor, "batch *shape"], noise: Float[Tensor, "batch *shape"], std: float | Float[Tensor, ""]
) -> Float[Tensor, "batch *shape"]:
    """``x + std * noise``."""
    return x + std * noise


class StackedInputNoise(StackedTechnique):
    """Each member's noise, as it draws it alone."""

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        for k, technique in enumerate(self.techniques):
            if technique is not None and technique.std > 0:
                x[k] = input_noise(x[k], self.draws(k).normal(x.shape[1:], x.device, x.dtype), technique.std)
        return x, y


class InputNoise(Technique):
    r"""Add Gaussian noise to the inputs while training.

    .. math:: \tilde x = x + \sigma \varepsilon, \quad \varepsilon \sim N(0, 1)

    For small σ this penalizes the squared gradient of the output with respect to the input, σ²/2 of it for a squared
    loss.

    Args:
        std: σ >= 0, in the units of the input; 0 is off. Features of a table are standardized: 0.05 to 0.3 is usual.
            Pixels lie in [0, 1], and only the network standardizes them: 0.02 to 0.1 of that range is usual; sums may
            leave it, and are not clipped.

    Raises:
        UsageError: inputs that are not floating point.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.InputNoise(std=0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x = torch.zeros(8, 4)
        >>> bool((session.batch(x, x[:, 0]).x != x).all())
        True

    Paper: Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation 1995.

    When not to use it: features on different scales (standardize first), one-hot or count features, inputs whose small
    differences carry the label.
    """

    requires = Requires(float_input=True)
    summary = "adds Gaussian noise to the inputs"
    stacked = StackedInputNoise
    preset = Preset("std=0.01..0.3", modalities=("table", "signal"), order=30)

    std: Annotated[float, Range(0.0, float("inf"), search=(0.01, 0.5), log=True, off=0.0)] = field(
        default=0.1, kw_only=False
    )

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        x = float_input(batch.x, type(self).__name__)
        noise = ctx.draws().normal(x.shape, x.device, x.dtype)
        return batch.replace(x=input_noise(x, noise, self.std))
