"""``ComputedWeight``: techniques under which a layer computes its weight from what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dashpot.core.axes import layer_axes
from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Selection
from dashpot.core.fields.select import Where
from dashpot.core.running.computed import computed
from dashpot.core.running.context import Context
from dashpot.core.running.selecting import refuse_lazy
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Technique
from dashpot.techniques.dropout.hook import place_key
from dashpot.techniques.dropout.places import refuse_nowhere, shown

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Rule(nn.Module):
    """How a layer's weight is made: a parametrization of torch's.

    Args:
        layer: whose weight it is.
        weight: as it is at attach.

    Attributes:
        axes: of the weight.
        dims: of its split shape, those over which the weights of one output lie.
    """

    def __init__(self, layer: nn.Module, weight: Tensor) -> None:
        super().__init__()
        self.axes = layer_axes(layer, "weight", weight)
        self._split = self.axes.split(weight.shape)
        self.dims = tuple(axis for axis in range(len(self._split)) if axis not in self.axes.outputs)

    def split(self, weight: Tensor) -> Tensor:
        """The weight in its split shape."""
        return weight.reshape(self._split)

    def sources(self, weight: Tensor) -> tuple[Tensor, ...]:
        """What a weight is computed from at first."""
        return (weight,)


class ComputedWeight(Technique):
    """A base for techniques that train something else than the weight of a layer.

    While the session is open each layer is a copy of itself with a parametrization of ``torch.nn.utils.parametrize``
    on its weight: what it is computed from joins the optimizer in the weight's place, and is saved with the model.
    ``close()`` puts the layers back, with the weights that they computed; where nothing was trained, with their own.
    """

    exclusive = ("computed weights",)
    head: ClassVar[bool] = True
    on: Annotated[Where, Selection()] = Where.role("linears") | Where.role("convolutions")

    def rule(self, layer: nn.Module, weight: Tensor, key: int, ctx: Context) -> Rule:
        """The parametrization for one layer; random numbers come from ``key``."""
        raise NotImplementedError  # each subclass has one

    def refusal(self, layer: nn.Module, weight: Tensor) -> str:
        """Why this weight cannot be made so, or nothing."""
        return ""

    def acts_on(self, view: ModelView) -> list[str]:
        return list(self.places(view))

    def places(self, view: ModelView) -> dict[str, nn.Module]:
        """The layers; without the last of the model where only roles are named and the head is left out."""
        chosen = view.places(self.on)
        if not self.head and not self.on.names_parts():
            last = [name for name, module in view.modules.items() if isinstance(module, LAYERS)][-1:]
            chosen = {name: module for name, module in chosen.items() if name not in last}
        return chosen

    def on_build(self, view: ModelView, ctx: Context) -> Mapping[str, nn.Module]:
        own = type(self).__name__
        chosen = self.places(view)
        if not chosen:
            refuse_nowhere(
                self,
                view,
                "It acts on linear layers and convolutions inside a model"
                + ("" if self.head else ", the last one left out unless `on` names it")
                + "; a model that is one layer stands in an nn.Sequential.",
            )
        if view.sharded:
            raise ConflictError(f"{own} cannot act on weights that FSDP2 shards. Leave it out.")
        refuse_lazy(own, view.model)
        self._refuse(view, chosen)
        return {name: self._made(name, layer, ctx) for name, layer in chosen.items()}

    def _refuse(self, view: ModelView, chosen: Mapping[str, nn.Module]) -> None:
        own, made, penalties = type(self).__name__, computed(view.modules), view.penalties()
        for name, layer in chosen.items():
            way = f"Leave it out with on='{self.on & ~Where.name(name)}'."
            if not isinstance(layer, LAYERS):
                kinds = "it computes the weights of linear layers and of (transposed) convolutions"
                raise ConflictError(f"{own} cannot act on {name!r} ({type(layer).__name__}): {kinds}. {way}")
            leaf = f"{name}.weight"
            if leaf in made:
                raise ConflictError(
                    f"{own} cannot act on {name!r}: {made[leaf].how} computes its weight already. {way}"
                )
            weight = layer.weight
            assert isinstance(weight, nn.Parameter), "others are computed"
            shared = [
                other
                for other, module in view.modules.items()
                if module is not layer and any(p is weight for p in module._parameters.values())
            ]
            if shared:
                raise ConflictError(f"{own} cannot act on {leaf!r}: {shared[0]!r} has the same tensor. {way}")
            if weight.is_complex():
                raise ConflictError(f"{own} computes real weights, and {leaf!r} is complex. {way}")
            if leaf in penalties:
                penalty = type(penalties[leaf]).__name__
                raise ConflictError(
                    f"{own} computes {leaf!r} from other parameters, and the optimizer's penalty {penalty} acts on it:"
                    f" on these it would be none on the weight. Leave out one of them, or give both disjoint `on`."
                )
            if told := self.refusal(layer, weight.detach()):
                raise ConflictError(f"{own} cannot act on {leaf!r}: {told} {way}")

    def _made(self, name: str, layer: nn.Module, ctx: Context) -> nn.Module:
        """The layer with a weight that is computed; its bias, buffers and hooks are its own."""
        new: Any = type(layer).__new__(type(layer))
        new.__dict__ = layer.__dict__.copy()
        new._parameters, new._buffers, new._modules = dict(layer._parameters), dict(layer._buffers), {}
        old: Any = layer.weight
        new._parameters["weight"] = nn.Parameter(old.detach().clone(), requires_grad=old.requires_grad)
        rule = self.rule(layer, old.detach(), place_key(ctx.key, name, 0), ctx)
        parametrize.register_parametrization(new, "weight", rule, unsafe=True)
        for source in new.parametrizations.weight.parameters(recurse=False):
            source.requires_grad_(old.requires_grad)
        assert isinstance(new, nn.Module)
        return new

    @torch.no_grad()
    def settle(self, original: nn.Module, new: nn.Module) -> None:
        steps: Any = new.parametrizations["weight"]  # type: ignore[index]  # torch's dict of them
        weight: Any = original.weight
        sources = list(steps.parameters(recurse=False))
        if not all(map(torch.equal, sources, steps[0].sources(weight))):
            made: Any = new.weight
            weight.copy_(made)

    def describe(self, view: ModelView) -> str:
        places = self.acts_on(view)
        return f"{self.summary} of {len(places)} layers: {shown(places)}"


def rules(technique: ComputedWeight, view: ModelView) -> list[tuple[Any, Tensor]]:
    """The parametrizations of a technique in an attached model, each with what its weight is computed from."""
    found = []
    for module in technique.places(view).values():
        steps: Any = module.parametrizations["weight"]  # type: ignore[index]  # torch's dict of them
        found.append((steps[0], steps.original))
    return found
