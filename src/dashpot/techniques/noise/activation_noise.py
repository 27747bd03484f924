"""Activation noise: add Gaussian noise to hidden values while training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Annotated

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, activations
from dashpot.core.rng import derive_all, normal_of, stream, uniform_at
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.hook import DropHook, place_key
from dashpot.techniques.noise.hooked import Hooked


def activation_noise(
    h: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], std: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """``h + std * noise``."""
    return h + (std * noise).to(h.dtype)


class StackedActivationNoise(StackedTechnique):
    """The noise after each module, as each member draws it alone."""

    def sites(self) -> Sequence[str]:
        return list(self.stds)

    def read(self) -> None:
        stds: dict[str, np.ndarray] = {}
        for k, (technique, now) in enumerate(zip(self.declared, self.techniques, strict=True)):
            if technique is not None and technique.std != 0:  # a schedule may be 0 now and then
                for name in self.stack.places(technique.on):
                    stds.setdefault(name, np.zeros(len(self.techniques), dtype=np.float32))[k] = now.std
        self.stds = stds
        self.place_keys = {
            name: np.array([stream(int(key), name) for key in self.keys], dtype=np.uint64) for name in stds
        }

    def on_activation(self, site: str, x: Tensor, call: int) -> Tensor:
        keys = derive_all(self.place_keys[site], self.stack.step, call)
        noise = normal_of(uniform_by(keys, x[0].numel(), x.device).view(x.shape))
        return activation_noise(x, noise, self.wide(self.stds[site], x.ndim))


class ActivationNoise(Technique):
    r"""Add Gaussian noise to hidden values while training.

    .. math:: \tilde h = h + \sigma \varepsilon, \quad \varepsilon \sim N(0, 1)

    Goes into any model by forward hooks. The noise depends on seed, step, micro-batch and module only, the same in
    eager and compiled code; in evaluation mode there is none. Each further call of a module in a pass draws afresh.

    Args:
        std: σ >= 0, in the units of the hidden values. 0 is off; 0.05 to 0.5 is usual behind a normalization.
        on: after which modules, by role, type or name; activations by default.

    Raises:
        ConflictError: no module matches ``on`` (a model with functional activations only: name its modules), or a
            compiled model.
        UsageError: a module that returns no tensor.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.noise.ActivationNoise(0.1).attach(model, optimizer):
        ...     a, b = model(torch.ones(2, 4))
        >>> bool(a != b)
        True

    Paper: Poole, Sohl-Dickstein and Ganguli, "Analyzing Noise in Autoencoders and Deep Networks", 2014, arXiv
    1406.1831.

    When not to use it: where nothing bounds the scale of the hidden values, which grow until the noise is small: put a
    normalization or a penalty on weights beside it, or use :class:`Dropout`, whose noise grows with them.
    """

    summary = "adds Gaussian noise to hidden values"
    stacked = StackedActivationNoise

    std: Annotated[float, Range(0.0, float("inf"), search=(0.01, 1.0), log=True, off=0.0)] = field(
        default=0.1, kw_only=False
    )
    on: Annotated[Where, Selection()] = activations

    def check(self, view: ModelView, ctx: Context) -> None:
        if not view.places(self.on):
            raise ConflictError(
                f"ActivationNoise.on ({self.on}) matches no module of {type(view.model).__name__}. Name modules by type"
                " or glob, such as on='name:layer?'."
            )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            Hooked(module, _Hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("std")))
            for name, module in view.places(self.on).items()
        ]

    def describe(self, view: ModelView) -> str:
        return f"{self.summary} with std={self.std:g}: {', '.join(view.places(self.on))}"


class _Hook(DropHook):
    technique = "ActivationNoise"
    first = True

    def drop(self, out: Tensor) -> Tensor:
        uniform = uniform_at(self.key, self.clock, out.shape, out.device)
        return activation_noise(out, normal_of(uniform), self.rate)
