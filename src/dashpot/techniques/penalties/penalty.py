"""``Penalty``: techniques with a proximal map and a strength."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import field, replace
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.domains import Domain, Range, Selection
from dashpot.core.fields.schedule import Moment, Schedule
from dashpot.core.fields.select import Where, weights
from dashpot.techniques.penalties.proximal import Proximal as Proximal
from dashpot.techniques.penalties.proximal import Scalar as Scalar
from dashpot.techniques.penalties.proximal import Scaling as Scaling

DECOUPLED_SEARCH = (1e-2, 1.0)
"""Where ``scaling="decoupled"`` strengths are searched: their scale is about a thousand times that of the adaptive
ones.
"""
DEFAULT_STRENGTH = 1e-4
STRENGTH = Range(0.0, math.inf, search=(1e-6, 1e-1), log=True, off=0.0, optional=True)


class Penalty(Proximal):
    """The base class of penalties with a strength. The maths of a subclass is three methods that take the strength
    last, as a number or a 0-d tensor.
    """

    replaced = Proximal.replaced | dict.fromkeys(
        ("warmup", "ramp", "ramp_shape"),
        "The strength itself follows the steps: strength=0to1e-4@from=100steps@until=500steps.",
    )

    # None only until a relative strength is resolved.
    strength: Annotated[float, STRENGTH] = field(default=None, kw_only=False)  # type: ignore[assignment]
    relative: Annotated[float | None, Range(0.0, math.inf, off=0.0, optional=True)] = None
    scaling: Scaling = "adaptive"
    on: Annotated[Where, Selection()] = weights

    def __post_init__(self) -> None:
        if self.relative is None and self.strength is None:
            object.__setattr__(self, "strength", DEFAULT_STRENGTH)
        super().__post_init__()

    def validate(self) -> None:
        if self.relative is not None and self.strength is not None:
            raise ConfigError(
                f"{type(self).__name__}.relative",
                f"None where strength is given ({self.strength:g})",
                self.relative,
                "Give one of the two.",
            )

    @classmethod
    def upgrade(cls, version: int, values: dict[str, Any]) -> dict[str, Any]:
        """Version 1 had ``warmup`` steps without the penalty, then ``ramp`` steps to the full strength, of which the
        first had its share already.
        """
        values = super().upgrade(version, values)
        count = Range(0, math.inf, integer=True)
        warmup, ramp = (int(count.number(f"{cls.__name__}.{n}", values.pop(n, 0)) or 0) for n in ("warmup", "ramp"))
        cosine = values.pop("ramp_shape", "linear") == "cosine"
        if not warmup and ramp <= 1:
            return values
        field = "relative" if values.get("relative", "none") != "none" else "strength"
        given = values.get(field, "none")
        full = float(DEFAULT_STRENGTH if given == "none" else given)
        last = Moment(warmup + ramp - 1, "steps")
        if ramp <= 1:
            schedule = Schedule(full, full, begin=Moment(warmup, "steps"))
        elif warmup:
            schedule = Schedule(0.0, full, "cosine" if cosine else "linear", Moment(warmup - 1, "steps"), last)
        elif not cosine:
            schedule = Schedule(full / ramp, full, until=last)
        else:
            raise ConfigError(
                f"{cls.__name__}.ramp_shape",
                "linear where ramp is given without warmup, in a recipe of version 1",
                "cosine",
                f"Write strength=0to{full:g}@cosine@until={ramp}steps.",
            )
        # A strength of 0 stays one.
        return {**values, field: str(schedule) if full else 0.0}

    def demand_usable(self, optimizer: Any) -> None:
        super().demand_usable(optimizer)
        if self.relative is not None:
            raise ConflictError(
                f"{type(self).__name__}(relative={self.relative:g}) must first be turned into a strength. dashpot.fit"
                " does so with its data; in a loop of your own call dashpot.resolve_strengths(recipe, model, (x, y))"
                " before attaching."
            )

    @abstractmethod
    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        """``strength`` times the penalty."""

    @abstractmethod
    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        """The proximal map."""

    def penalty_stationarity(
        self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        """As :meth:`stationarity`."""
        return (w - self.penalty_prox(w - grad, 1.0, strength)).abs()

    def value(self, w: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return self.penalty_value(w, self.strength)

    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        return self.penalty_prox(w, step, self.strength)

    def stationarity(self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.penalty_stationarity(w, grad, self.strength)

    def with_strength(self, strength: float) -> Penalty:
        """The same penalty at another strength."""
        stronger = replace(self, strength=strength, relative=None)
        object.__setattr__(stronger, "axes", self.axes)
        return stronger

    def max_strength(self, grad: Float[Tensor, "*shape"]) -> float:
        """The smallest strength at which zero is stationary, given the loss's gradient at zero: everything is zeroed
        from there on.

        Raises:
            ConfigError: for a penalty that is stationary at zero at any strength (L0).
        """
        zero = torch.zeros_like(grad)
        largest = float(grad.abs().max()) if grad.numel() else 0.0
        if largest == 0:
            return 0.0

        def moves(strength: float) -> bool:
            return bool(self.penalty_stationarity(zero, grad, strength).max() > largest * 1e-12)

        low, high = 0.0, largest
        if not moves(largest * 1e-9):
            remedy = "This one leaves zeros alone at any strength: give strength= instead."
            raise ConfigError(
                f"{type(self).__name__}.relative",
                "used with a penalty that has a largest strength",
                self.relative,
                remedy,
            )
        for _ in range(200):
            if not moves(high):
                break
            low, high = high, high * 2
        else:
            raise ConfigError(
                f"{type(self).__name__}.relative",
                "used with a penalty that can zero everything",
                self.relative,
                "With l1_ratio=0 nothing does.",
            )
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if moves(middle) else (low, middle)
        return high

    def space(self) -> dict[str, Domain]:
        space = super().space()
        if self.relative is not None:  # it takes the strength's place
            space.pop("strength", None)
        elif self.scaling == "decoupled":
            space["strength"] = Range(0.0, math.inf, search=DECOUPLED_SEARCH, log=True, off=0.0)
        return space
