"""``Penalty``: a technique with a value, a proximal map and an optimality condition."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor

from dashpot.core.conflicts import PROXIMAL
from dashpot.core.context import Context
from dashpot.core.select import Where, weights
from dashpot.core.space import Choice, Domain, Range, Selection
from dashpot.core.technique import Technique
from dashpot.core.view import ModelView, Params
from dashpot.techniques.penalties.metric import adaptive_step, demand_known

DECOUPLED_SEARCH = (1e-2, 1.0)
"""Where ``metric="decoupled"`` strengths are searched: their scale is about a thousand times that of the adaptive ones."""


class Penalty(Technique):
    """The base of penalties that act by their proximal map, after the optimizer's update, so that zeros are exact.

    It acts once per optimizer step, on parameters that have a gradient, with a threshold of step x strength; a step that a GradScaler skips is skipped here too.
    """

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-6, 1e-1), log=True, off=0.0)] = 1e-4
    metric: Annotated[Literal["adaptive", "decoupled"], Choice(("adaptive", "decoupled"))] = "adaptive"
    on: Annotated[Where, Selection()] = weights

    @abstractmethod
    def value(self, w: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """The penalty, strength included."""

    @abstractmethod
    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        """``argmin_u  |u - w|^2 / 2 + step * value(u)``, for a diagonal metric with one step per weight where ``step`` is a tensor."""

    @abstractmethod
    def stationarity(self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Distance of ``-grad`` from the subdifferential at ``w``, weight by weight; all 0 at an optimum of loss + penalty."""

    def claims(self, view: ModelView) -> Iterable[tuple[str, str]]:
        return [(PROXIMAL, name) for name in view.names(self.on)]

    def check(self, view: ModelView, ctx: Context) -> None:
        if self.metric == "adaptive":
            demand_known(type(self).__name__, view.optimizer)

    def on_step(self, params: Params, ctx: Context) -> None:
        for _, w, group in params:
            step = adaptive_step(ctx.optimizer, w, group) if self.metric == "adaptive" else group["lr"]
            w.copy_(self.prox(w, step))

    def space(self) -> dict[str, Domain]:
        space = super().space()
        if self.metric == "decoupled":
            space["strength"] = Range(0.0, float("inf"), search=DECOUPLED_SEARCH, log=True, off=0.0)
        return space
