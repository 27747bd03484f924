"""What all dropouts of activations share: where they act, what they refuse, and their form on a stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Annotated

import numpy as np
from torch import Tensor

from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.rng import derive_all, stream
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.hook import After, DropHook, place_key
from dashpot.techniques.dropout.places import BEFORE_NORM, refuse_nowhere, shown, warn_before_norm, warn_single_epoch


class StackedActivationDropout(StackedTechnique):
    """The same modules as in one network, each member with its own rates and draws. A subclass says in :meth:`drop`
    what passes.

    Attributes:
        rates: of each place, float32 [member].
        place_keys: of the random stream of each place, uint64 [member].
    """

    def sites(self) -> Sequence[str]:
        return list(self.rates)

    def read(self) -> None:
        members = len(self.techniques)
        rates: dict[str, np.ndarray] = {}
        for k, (technique, now) in enumerate(zip(self.declared, self.techniques, strict=True)):
            if technique is not None and technique.p != 0:  # a schedule may be 0 now and then
                for name in self.stack.places(technique.on):
                    rates.setdefault(name, np.zeros(members, dtype=np.float32))[k] = now.p
        self.rates = rates
        self.place_keys = {
            name: np.array([stream(int(key), name) for key in self.keys], dtype=np.uint64) for name in rates
        }

    def on_activation(self, site: str, x: Tensor, call: int) -> Tensor:
        return self.drop(x, derive_all(self.place_keys[site], self.stack.step, call), self.rates[site])

    def drop(self, x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor:
        """What passes of [member, batch, ...], by the key and the rate of each member."""
        raise NotImplementedError  # each form says it


class ActivationDropout(Technique):
    """A dropout that acts after modules, by a hook that ``hook`` makes."""

    exclusive = ("dropout",)
    rules = (BEFORE_NORM,)

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.6), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = hidden

    def hook(self, key: int, clock: Tensor, rate: Tensor) -> DropHook:
        """What stands after a module."""
        raise NotImplementedError  # each technique says it

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return view.places(self.on)

    def check(self, view: ModelView, ctx: Context) -> None:
        places = view.places(self.on)
        if not places:
            refuse_nowhere(
                self,
                view,
                "Name modules by type or glob, such as on='type:Conv2d'; the model has"
                f" {', '.join(sorted({type(m).__name__ for m in view.modules.values()}))}.",
            )
        warn_before_norm(self, view, list(places))
        warn_single_epoch(self, ctx)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            After(module, self.hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("p")), ctx)
            for name, module in view.places(self.on).items()
        ]

    def describe(self, view: ModelView) -> str:
        places = view.places(self.on)
        return f"{self.summary} with p={self.p:g} after {len(places)} modules: {shown(places)}"
