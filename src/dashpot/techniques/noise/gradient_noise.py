"""Gradient noise: add Gaussian noise to the gradient, less with every step."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where
from dashpot.core.rng import Draws, derive, stream
from dashpot.core.running.context import Context
from dashpot.core.running.sharded import replicated
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique


def annealed(std: float, decay: float, step: int) -> float:
    """``std / (1 + step) ** (decay / 2)``: the variance falls with the power ``decay`` of the steps."""
    return float(std / (1 + step) ** (decay / 2))


def gradient_noise(
    gradient: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], std: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``gradient + std * noise``."""
    return gradient + std * noise


def _noise(key: int, step: int, name: str, like: Tensor) -> Tensor:
    """Of a parameter at a step, by its name: others shift no draw, and all ranks draw the same."""
    return Draws(derive(stream(key, name), step)).normal(like.shape, like.device, like.dtype)


class StackedGradientNoise(StackedTechnique):
    """Each member's noise, as it draws it alone."""

    def read(self) -> None:
        self.places = [[] if t is None or t.std == 0 else self.selected(k) for k, t in enumerate(self.techniques)]

    def on_gradient(self, grads: list[Tensor]) -> None:
        names, step = [segment.name for segment in self.stack.block.segments], self.stack.step
        for k, technique in enumerate(self.techniques):
            if technique is not None:
                std = annealed(technique.std, technique.decay, step)
                for i in self.places[k]:
                    own = grads[i][k]
                    own.copy_(gradient_noise(own, _noise(int(self.keys[k]), step, names[i], own), std))


class GradientNoise(Technique):
    r"""Add Gaussian noise to the gradient, less with every step.

    .. math:: g \leftarrow g + N(0, \sigma_t^2), \quad \sigma_t = \sigma\, (1+t)^{-\gamma/2}

    It acts once per optimizer step t, on the accumulated and unscaled gradient; all ranks add the same noise.

    Args:
        std: σ >= 0, at the first step, in the units of the gradient. 0 is off; 0.001 to 0.1 is usual: compare it with
            the size of the gradient's own values.
        decay: γ >= 0, the power with which the variance falls. 0 keeps it; the paper has 0.55.
        on: which parameters; all by default.

    Raises:
        ConflictError: complex parameters, or sparse gradients.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> with dashpot.noise.GradientNoise(0.1).attach(model, optimizer):
        ...     before = model.weight.detach().clone()
        ...     (0 * model(torch.ones(1, 2))).sum().backward(); _ = optimizer.step()
        >>> bool((model.weight != before).all())
        True

    Paper: Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks", 2015, arXiv 1511.06807.

    When not to use it: with small batches, whose gradients are noisy already; with exact zeros, which it moves unless a
    proximal step takes them back.
    """

    summary = "adds Gaussian noise to the gradient, less with every step"
    stacked = StackedGradientNoise

    std: Annotated[float, Range(0.0, float("inf"), search=(1e-3, 1.0), log=True, off=0.0)] = field(
        default=0.01, kw_only=False
    )
    decay: Annotated[float, Range(0.0, float("inf"), search=(0.2, 1.0))] = 0.55
    on: Annotated[Where, Selection()] = Where.role("everything")

    def check(self, view: ModelView, ctx: Context) -> None:
        whole = [name for name in view.names(self.on) if view.parameters[name].is_complex()]
        if whole:
            raise ConflictError(
                f"GradientNoise adds real numbers, and {', '.join(whole)} is complex. Leave it out of on."
            )

    def on_gradient(self, params: Params, ctx: Context) -> None:
        if self.std == 0:
            return
        std = annealed(self.std, self.decay, ctx.step)
        for name, g in zip(params.names, params.grads, strict=True):
            g.copy_(gradient_noise(g, replicated(_noise(ctx.key, ctx.step, name, g), g), std))
