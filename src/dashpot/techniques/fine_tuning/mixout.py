"""Mixout: random weights are those of the start for a pass, the others go further to make up for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where
from dashpot.core.rng import uniform_at
from dashpot.core.running.computed import computed
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.stages import head_or_none
from dashpot.core.technique import Handle, State, Technique
from dashpot.techniques.dropout.hook import DropHook, place_key
from dashpot.techniques.dropout.places import refuse_nowhere, shown
from dashpot.techniques.dropout.weight_hooks import LAYERS, Masked
from dashpot.techniques.fine_tuning.start import begun, begun_without

_KINDS = (*LAYERS, nn.Bilinear, nn.RNNBase)


def mixout(
    w: Float[Tensor, "*shape"],
    start: Float[Tensor, "*shape"],
    uniform: Float[Tensor, "*shape"],
    p: float | Float[Tensor, ""],
) -> Float[Tensor, "*shape"]:
    """``start`` where ``uniform < p``, else ``start + (w - start) / (1 - p)``. ``p = 0`` is the identity."""
    further = w + ((w - start) * (p / (1 - p))).to(w.dtype)
    return torch.where(uniform < p, start, further)


class Mixout(Technique):
    r"""Replace random weights of layers by those at attach while training; the others go as much further away as keeps
    the mean.

    .. math:: \tilde W = W^0 + \frac{M}{1-p} \odot (W - W^0), \quad M_{ij} \sim \mathrm{Bernoulli}(1-p)

    It is dropout that drops to the pre-trained weights in place of zero, and so regularizes towards them. A layer
    computes with mixed weights, and its parameters stay whole. One mask holds for a whole batch; each step and
    micro-batch has its own. Biases stay. The weights at attach are kept once, in the state of the session. A layer
    that is put in later has no start and is left alone. In evaluation mode nothing happens.

    Args:
        p: probability that a weight is the one of the start, in [0, 1); 0 is off. The paper has 0.7 to 0.9.
        on: layers, by role, type or name, such as ``type:LSTM``. ``linears | convolutions`` (the default): all but the
            output layer; where ``on`` has a name or type, it says which.

    Raises:
        ConflictError: no layer is selected, or a module without a weight that it could mix.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> x, start = torch.ones(2, 4), model[0].weight.detach().clone()
        >>> with dashpot.fine_tuning.Mixout(0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     same = bool((model[0](x) == model[0](x)).all())
        ...     _ = model[0].weight.data.add_(1.0)
        ...     other = bool((model[0](x) == model[0](x)).all())
        >>> same, other
        (True, False)

    Paper: Lee, Cho and Kang, "Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models",
    ICLR 2020, arXiv 1909.11299.

    When not to use it: on a network with initial weights; beside an exact sparsity that it hides while training; with
    large steps and a p near 1, where few weights carry all of the way.
    """

    summary = "replaces random weights by those at attach"
    shards = False
    exclusive = ("dropped weights",)
    order = 10  # what else changes weights for a pass comes first

    p: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.95), off=0.0, open="high")] = field(default=0.7, kw_only=False)
    on: Annotated[Where, Selection()] = Where.role("linears") | Where.role("convolutions")

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return self._places(view)

    def check(self, view: ModelView, ctx: Context) -> None:
        chosen = self._places(view)
        if not chosen:
            way = "The output layer is left out unless `on` names it, such as on='type:Linear' or on='name:head'."
            refuse_nowhere(self, view, way)
        wrong = next((name for name, module in chosen.items() if not isinstance(module, _KINDS)), None)
        if wrong is not None:
            raise ConflictError(
                f"Mixout cannot act on {wrong!r} ({type(chosen[wrong]).__name__}): it mixes the weights of linear,"
                " bilinear, convolutional and recurrent layers. Choose such layers with on=."
            )
        for weight, how in ((name, found.how) for name, found in computed(view.modules).items()):
            if (layer := weight.rpartition(".")[0]) in chosen:
                raise ConflictError(
                    f"Mixout cannot act on {layer!r}: {how} computes its weight from other parameters. Leave it out"
                    " with on=."
                )

    def init(self, view: ModelView, ctx: Context) -> State:
        return begun(
            {
                _full(name, leaf): module.get_parameter(leaf)
                for name, module in self._places(view).items()
                for leaf in _leaves(module)
            }
        )

    def forget(self, gone: frozenset[str], ctx: Context) -> None:
        ctx.state = begun_without(ctx.state, gone)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            Masked(module, [(leaf, _Hook(ctx, _full(name, leaf))) for leaf in leaves])
            for name, module in self._places(view).items()
            if (leaves := [leaf for leaf in _leaves(module) if _full(name, leaf) in ctx.state["start"]])
        ]

    def describe(self, view: ModelView) -> str:
        places = self._places(view)
        return f"{self.summary} with p={self.p:g} in {len(places)} layers: {shown(places)}"

    def _places(self, view: ModelView) -> dict[str, nn.Module]:
        """The layers, without the output layer where only roles are named."""
        if isinstance(view.model, _KINDS):
            return {"": view.model}
        chosen = view.places(self.on)
        if not self.on.names_parts():
            chosen.pop(head_or_none(view.model), None)
        return chosen


def _full(name: str, leaf: str) -> str:
    return f"{name}.{leaf}" if name else leaf


def _leaves(module: nn.Module) -> list[str]:
    """The weights that are mixed, by name."""
    if isinstance(module, nn.RNNBase):
        return [leaf for leaf, _ in module.named_parameters(recurse=False) if leaf.startswith("weight")]
    return ["weight"]


class _Hook(DropHook):
    technique = "Mixout"
    whole_batch = True

    def __init__(self, ctx: Context, name: str) -> None:
        super().__init__(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("p"))
        self._ctx, self._name = ctx, name

    def drop(self, out: Tensor) -> Tensor:
        start: Tensor = self._ctx.state["start"][self._name]
        uniform = uniform_at(self.key, self.clock, out.shape, out.device)
        return mixout(out, start, uniform, self.rate)
