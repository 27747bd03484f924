"""DropConnect: zero random weights while training."""

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where
from dashpot.core.running.computed import computed
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.dropout import dropout, dropped_at
from dashpot.techniques.dropout.hook import DropHook, place_key
from dashpot.techniques.dropout.places import refuse_nowhere, shown, warn_single_epoch
from dashpot.techniques.dropout.weight_hooks import LAYERS, Masked

_KINDS = (*LAYERS, nn.Bilinear, nn.RNNBase)


def drop_connect(
    w: Float[Tensor, "*shape"], uniform: Float[Tensor, "*shape"], p: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """Weights with ``uniform < p`` are zeros, the others are scaled by ``1 / (1 - p)``. ``p = 0`` is the identity."""
    return dropout(w, uniform, p)


class DropConnect(Technique):
    r"""Zero random weights of layers while training; the rest is scaled up so that the mean stays.

    .. math:: \tilde W = \frac{M}{1-p} \odot W, \quad M_{ij} \sim \mathrm{Bernoulli}(1-p)

    Goes into any model by hooks: a layer computes with masked weights, and its parameters stay whole. One mask holds
    for a whole batch; each step and micro-batch has its own. Biases stay. Of ``nn.LSTM`` and its like the recurrent
    weights are dropped, from one step of a sequence to the next the same ones (the weight drop of AWD-LSTM). In
    evaluation mode nothing happens; the paper samples there from a normal distribution instead.

    Args:
        p: probability of *dropping* a weight, in [0, 1]; 0 is off. 0.1 to 0.5 are usual.
        on: layers, by role, type or name, such as ``type:LSTM``. ``linears | convolutions`` (the default): all but the
            output layer, which is the last of them; where ``on`` has a name or type, it says which.

    Raises:
        ConflictError: no layer is selected, or a module without a weight that it could drop.

    Warns:
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> session = dashpot.dropout.DropConnect(0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> print(session.plan().partition("drop-connect       ")[2])
        zeroes random weights with p=0.5 of 1 layers: 0
        >>> x = torch.ones(2, 4)
        >>> bool((model[0](x) == model[0](x)).all()), bool((model[2](x.repeat(1, 2)) == model[2](x.repeat(1, 2))).all())
        (False, True)

    Papers: Wan et al., "Regularization of Neural Networks using DropConnect", ICML 2013; Merity, Keskar and Socher,
    "Regularizing and Optimizing LSTM Language Models", ICLR 2018, arXiv 1708.02182.

    When not to use it: beside an exact sparsity that it hides while training; where batches are small, whose rows all
    see the same mask.
    """

    summary = "zeroes random weights"
    exclusive = ("dropped weights",)
    order = 10  # what else changes weights for a pass comes first, and is masked

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.6), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = Where.role("linears") | Where.role("convolutions")

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return self._places(view)

    def check(self, view: ModelView, ctx: Context) -> None:
        chosen = self._places(view)
        if not chosen:
            refuse_nowhere(
                self,
                view,
                "The output layer, the last one, is left out unless `on` names it, such as on='type:Linear' or"
                " on='name:head'.",
            )
        wrong = next((name for name, module in chosen.items() if not isinstance(module, _KINDS)), None)
        if wrong is not None:
            raise ConflictError(
                f"DropConnect cannot act on {wrong!r} ({type(chosen[wrong]).__name__}): it drops the weights of linear,"
                " bilinear, convolutional and recurrent layers. Choose such layers with on=."
            )
        made = computed(view.modules)
        found = next(((n, c.how) for n, m in chosen.items() for c in made.values() if c.module is m), None)
        if found is not None:
            raise ConflictError(
                f"DropConnect cannot act on {found[0]!r}: {found[1]} computes its weight from other"
                " parameters. Leave it out with on=."
            )
        warn_single_epoch(self, ctx)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            Masked(module, [self._hook(ctx, name, leaf) for leaf in _leaves(module)])
            for name, module in self._places(view).items()
        ]

    def describe(self, view: ModelView) -> str:
        places = self._places(view)
        return f"{self.summary} with p={self.p:g} of {len(places)} layers: {shown(places)}"

    def _places(self, view: ModelView) -> dict[str, nn.Module]:
        """The layers, without the last of the model where only roles are named."""
        chosen: dict[str, nn.Module] = {"": view.model} if isinstance(view.model, _KINDS) else view.places(self.on)
        if not self.on.names_parts():
            last = [name for name, module in view.modules.items() if isinstance(module, _KINDS)][-1:]
            chosen = {name: module for name, module in chosen.items() if name not in last}
        return chosen

    def _hook(self, ctx: Context, name: str, leaf: str) -> tuple[str, "_Hook"]:
        key = place_key(ctx.key, f"{name}.{leaf}", ctx.rank)
        return leaf, _Hook(key, ctx.clock(), ctx.scalar("p"))


def _leaves(module: nn.Module) -> list[str]:
    """The weights that are dropped, by name."""
    if isinstance(module, nn.RNNBase):
        return [leaf for leaf, _ in module.named_parameters(recurse=False) if leaf.startswith("weight_hh")]
    return ["weight"]


class _Hook(DropHook):
    technique = "DropConnect"
    whole_batch = True

    def drop(self, out: Tensor) -> Tensor:
        return dropped_at(self, out, out.shape)
