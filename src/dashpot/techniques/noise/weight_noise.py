"""Weight noise: each pass of the network sees weights with noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.rng import normal_of, uniform_at
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.hook import place_key
from dashpot.techniques.penalties.selected import refuse_computed


def weight_noise(
    w: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], std: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``w + std * noise``."""
    return w + (std * noise).to(w.dtype)


class WeightNoise(Technique):
    r"""Let each pass of the network see weights with Gaussian noise; train the weights without.

    .. math:: L(w) \to \mathbb{E}_\varepsilon\, L(w + \sigma \varepsilon), \quad \varepsilon \sim N(0, 1)

    While a module is called in training mode, its weights have the noise; gradients go to the weights themselves. Each
    call draws afresh, for the whole batch. So flat minima are preferred, as SAM does at twice the cost. In evaluation
    mode there is no noise. Attention of ``nn.MultiheadAttention`` is one module with its output projection.

    Args:
        std: σ >= 0, in the units of the weights, which are about 1 / sqrt(inputs) at first. 0 is off; 0.001 to 0.05 is
            usual.
        on: which parameters; weights by default: no biases, norms or embeddings.

    Raises:
        ConflictError: no parameter matches ``on``; a compiled model; parameters of ``nn.LSTM`` and its like, which keep
            them in a list of their own; complex ones; weights that are computed from others; a model that FSDP2 shards.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> with dashpot.noise.WeightNoise(0.1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     one, other = model(torch.ones(1, 4)), model(torch.ones(1, 4))
        >>> bool(one != other)
        True

    Paper: Graves, "Practical Variational Inference for Neural Networks", NeurIPS 2011; Jim, Giles and Horne, "An
    Analysis of Noise in Recurrent Neural Networks", IEEE Transactions on Neural Networks 1996.

    When not to use it: in front of a normalization, where weights may grow until the noise is small, unless a decay
    holds them; modules whose code reads the weights of another module, which see them without noise.
    """

    summary = "adds Gaussian noise to weights in each pass"
    exclusive = ("noise of weights",)

    std: Annotated[float, Range(0.0, float("inf"), search=(1e-3, 0.1), log=True, off=0.0)] = field(
        default=0.01, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return view.names(self.on)

    def check(self, view: ModelView, ctx: Context) -> None:
        if view.sharded:
            raise ConflictError("WeightNoise cannot act on weights that FSDP2 shards. Leave it out.")
        refuse_computed("WeightNoise", self.on, view)
        for name in view.names(self.on):
            owner = view.modules[name.rpartition(".")[0]]
            if isinstance(owner, nn.RNNBase):
                raise ConflictError(
                    f"WeightNoise cannot act on {name!r}: {type(owner).__name__} keeps its weights in a list of its"
                    f" own. Leave it out, with on='{self.on} & ~type:{type(owner).__name__}'."
                )
            if view.parameters[name].is_complex():
                raise ConflictError(f"WeightNoise adds real numbers, and {name!r} is complex. Leave it out of on.")

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        chosen = {id(view.parameters[name]) for name in view.names(self.on)}
        places: dict[str, list[tuple[nn.Module, str, int]]] = {}
        for prefix, module in view.modules.items():  # of a shared parameter each place
            for leaf, p in module._parameters.items():
                if p is not None and id(p) in chosen:
                    key = place_key(ctx.key, f"{prefix}.{leaf}", ctx.rank)
                    places.setdefault(_called(prefix, view), []).append((module, leaf, key))
        return [
            _Hooked(view.modules[called], _Swap(found, ctx.clock(), ctx.scalar("std")))
            for called, found in places.items()
        ]


def _called(prefix: str, view: ModelView) -> str:
    """The module whose call reads a module's weights: attention reads those of its output projection."""
    above = prefix.rpartition(".")[0]
    return above if prefix and isinstance(view.modules[above], nn.MultiheadAttention) else prefix


class _Swap:
    """Puts weights with noise in the place of a module's own while it is called."""

    def __init__(self, places: list[tuple[nn.Module, str, int]], clock: Tensor, std: Tensor) -> None:
        self.places, self.clock, self.std = places, clock, std
        self.held: list[list[tuple[nn.Module, str, Any]]] = []

    def before(self, module: nn.Module, args: Any) -> None:
        self.held.append([])
        if not module.training or not float(self.std):
            return
        if torch._C._current_graph_task_id() != -1:
            raise UsageError(
                "WeightNoise cannot act inside activation checkpointing: the noise of the second forward pass would"
                " differ. Choose other parameters with on=."
            )
        for owner, leaf, key in self.places:
            own: Any = owner._parameters[leaf]
            noise = normal_of(uniform_at(key, self.clock, own.shape, own.device))
            self.held[-1].append((owner, leaf, own))
            noisy = weight_noise(own, noise, float(self.std))
            owner._parameters[leaf] = noisy  # type: ignore[assignment]  # for a call
        self.clock.add_(torch.tensor([0, 1], device="cpu"))

    def after(self, module: nn.Module, args: Any, out: Any) -> None:
        for owner, leaf, own in self.held.pop() if self.held else ():
            owner._parameters[leaf] = own


class _Hooked:
    """The hooks before and after a module, until they are removed."""

    def __init__(self, module: nn.Module, swap: _Swap) -> None:
        eager: Any = torch.compiler.disable  # only here is the compiler imported, which takes seconds
        self._handles = [
            module.register_forward_pre_hook(eager(swap.before)),
            module.register_forward_hook(eager(swap.after), always_call=True),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
