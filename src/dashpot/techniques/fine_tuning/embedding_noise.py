"""Embedding noise (NEFTune): uniform noise on the vectors of a text's tokens while training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, embeddings
from dashpot.core.requires import Requires
from dashpot.core.rng import uniform_at
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.hook import DropHook, place_key
from dashpot.techniques.noise.hooked import Hooked


def embedding_noise(
    x: Float[Tensor, "*batch dim"],
    uniform: Float[Tensor, "*batch dim"],
    length: Float[Tensor, "*#batch 1"],
    alpha: float | Float[Tensor, ""],
) -> Float[Tensor, "*batch dim"]:
    """``x`` and noise in [-1, 1) times ``alpha / sqrt(length * dim)``."""
    bound = alpha / (length * x.shape[-1]).sqrt()
    return x + ((2 * uniform - 1) * bound).to(x.dtype)


class EmbeddingNoise(Technique):
    r"""Add uniform noise to the vectors of tokens while training, as NEFTune does.

    .. math:: \tilde x = x + \frac{\alpha}{\sqrt{L d}}\, u, \quad u \sim \mathrm{Uniform}(-1, 1)

    with L the tokens of a text and d the length of a vector, so that the noise of a whole text has a length that does
    not depend on either. Where a table has a ``padding_idx``, padding is not counted and gets no noise. Each step and
    micro-batch has its own noise. In evaluation mode there is none.

    Args:
        alpha: α >= 0; 0 is off. The paper has 5, 10 and 15, with vectors whose values are about 1; of smaller ones
            take less.
        on: which tables, by role, type or name. Where it speaks of roles only (the default), the first
            ``nn.Embedding`` of the network, that of tokens, and not those of positions and segments.

    Raises:
        ConflictError: no ``nn.Embedding`` matches ``on``.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Embedding(10, 4)
        >>> with dashpot.fine_tuning.EmbeddingNoise(1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     away = model(torch.tensor([[1, 2, 3]])) - model.weight[1:4]
        >>> bool((away.abs() <= 1 / 12**0.5 + 1e-6).all()), bool((away != 0).any())
        (True, True)

    Paper: Jain et al., "NEFTune: Noisy Embeddings Improve Instruction Finetuning", ICLR 2024, arXiv 2310.05914.

    When not to use it: on texts of a few tokens, whose noise is large; where vectors are trained from random ones and
    may grow until the noise is small.
    """

    summary = "adds uniform noise to the vectors of tokens"
    requires = Requires(modality=("text",))
    exclusive = ("noise of embeddings",)

    alpha: Annotated[float, Range(0.0, float("inf"), search=(0.1, 15.0), log=True, off=0.0)] = field(
        default=5.0, kw_only=False
    )
    on: Annotated[Where, Selection()] = embeddings

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return _tables(self.on, view)

    def check(self, view: ModelView, ctx: Context) -> None:
        if not _tables(self.on, view):
            raise ConflictError(
                f"EmbeddingNoise.on ({self.on}) matches no nn.Embedding of {type(view.model).__name__}. Name some by"
                " glob or type, or leave EmbeddingNoise out."
            )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            Hooked(module, _Hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("alpha")))
            for name, module in _tables(self.on, view).items()
        ]

    def describe(self, view: ModelView) -> str:
        return f"{self.summary} with alpha={self.alpha:g}: {', '.join(_tables(self.on, view))}"


def _tables(on: Where, view: ModelView) -> dict[str, nn.Module]:
    """The tables that are selected; a model may be one itself, which has no name."""
    if isinstance(view.model, nn.Embedding):
        return {"": view.model}
    found: dict[str, nn.Module] = {
        name: module for name, module in view.places(on).items() if isinstance(module, nn.Embedding)
    }
    return found if on.names_parts() else dict(list(found.items())[:1])


class _Hook(DropHook):
    technique = "EmbeddingNoise"

    def passed(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        uniform = uniform_at(self.key, self.clock, out.shape, out.device)
        places = out.shape[-2] if out.ndim > 1 else 1
        length = torch.full((1,) * out.ndim, float(places), device=out.device)
        padding = getattr(module, "padding_idx", None)
        if padding is not None and args and args[0].ndim:
            real = (args[0] != padding).unsqueeze(-1)
            length = real.sum(dim=-2, keepdim=True).clamp_min(1).float()
            uniform = torch.where(real, uniform, 0.5)  # the middle: no noise
        return embedding_noise(out, uniform, length, self.rate)
