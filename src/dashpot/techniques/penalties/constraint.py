"""``Constraint``: a set that weights must stay in; its proximal map is the projection in the optimizer's metric."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.running.context import Context
from dashpot.techniques.penalties.proximal import Proximal, Scaling


class Constraint(Proximal):
    """The base class of constraints. Subclasses give the projection as ``prox``."""

    scaling: Scaling = "adaptive"
    on: Annotated[Where, Selection()] = weights

    def penalty_now(self, ctx: Context) -> Tensor | None:
        """A set to stay in is no penalty."""
        return None

    def value(self, w: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """0 where the constraint holds to rounding, else infinity."""
        outside = (self.prox(w, 1.0) - w).abs().amax() > 1e-6 * w.abs().amax()
        return w.new_zeros(()).masked_fill(outside, float("inf"))
