"""``Proximal`` and ``Penalty``: techniques with a proximal map, applied after the optimizer's update so that zeros are
exact.
"""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.conflicts import PROXIMAL
from dashpot.core.context import Context
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.schedule import Moment, Schedule
from dashpot.core.select import Where, weights
from dashpot.core.space import Choice, Domain, Range, Selection
from dashpot.core.technique import Technique
from dashpot.core.view import ModelView, Params
from dashpot.techniques.penalties.fast import KernelTerms, map_by_kernel
from dashpot.techniques.penalties.step_rules import Step, adam_scales, adaptive_step, demand_known, steps_by_one_number

Scalar = float | Float[Tensor, ""]
Scaling = Annotated[Literal["adaptive", "decoupled"], Choice(("adaptive", "decoupled"))]
DECOUPLED_SEARCH = (1e-2, 1.0)
"""Where ``scaling="decoupled"`` strengths are searched: their scale is about a thousand times that of the adaptive
ones.
"""
DEFAULT_STRENGTH = 1e-4
STRENGTH = Range(0.0, math.inf, search=(1e-6, 1e-1), log=True, off=0.0, optional=True)
CHUNK = 1 << 17
"""Weights at a time in the post-hook: their temporaries stay in the cache, and no second copy of a tensor is made."""


class Proximal(Technique):
    """The base of whatever acts by a proximal map: penalties, and constraints (whose map is a projection).

    The map acts once per optimizer step, on parameters that have a gradient; a step that a GradScaler skips is skipped
    here too.

    Class attributes:
        separable: the map treats each weight by itself, so that tensors may be mapped piece by piece.
        scalar_only: the map knows one step per tensor only, not one per weight.
        convex: the penalty is convex, so that the map is non-expansive.
    """

    separable: ClassVar[bool] = False
    scalar_only: ClassVar[bool] = False
    convex: ClassVar[bool] = True

    if TYPE_CHECKING:  # every subclass has these two fields, and declares them last
        scaling: Scaling = "adaptive"
        on: Where = weights

    @abstractmethod
    def value(self, w: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """The penalty, strength included; for a constraint 0 where it holds, else infinity."""

    @abstractmethod
    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        """``argmin_u  sum (u - w)^2 / (2 step) + value(u)``, for a diagonal metric with one step per weight where
        ``step`` is a tensor.
        """

    def stationarity(self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """How far ``w`` is from an optimum of loss + penalty, weight by weight; ``grad`` is the loss's. All 0 at an
        optimum.

        In general the residual of a proximal step of length 1, ``|w - prox(w - grad, 1)|``; where a penalty knows
        better, the distance of ``-grad`` from its subdifferential.
        """
        return (w - self.prox(w - grad, 1.0)).abs()

    def map_(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> None:
        """:meth:`prox` in place."""
        w.copy_(self.prox(w, step))

    def adam_map_(self, w: Float[Tensor, " n"], v: Float[Tensor, " n"], gain: float, floor: float) -> bool:
        """:meth:`prox` in place under the steps ``1 / (gain * sqrt(v) + floor)``, where the penalty has a quicker way
        than :meth:`map_`; whether it has.
        """
        return False

    def kernel_terms(self) -> KernelTerms | None:
        """The strengths by which the C++ kernel does this map, or None where it cannot. It holds for the class that
        declares it, not for subclasses, whose map may be another.
        """
        return None

    def kernel_row(self, shape: Sequence[int]) -> tuple[int, float]:
        """For the kernel, in a parameter of this shape: consecutive weights in a group, 0 without groups, and the
        factor of the strength of each group.
        """
        return 0, 0.0

    def refuse_shape(self, name: str, w: Tensor) -> None:
        """Raise ConfigError where this cannot act on a tensor of this shape."""

    def claims(self, view: ModelView) -> Iterable[tuple[str, str]]:
        return [(PROXIMAL, name) for name in view.names(self.on)]

    def check(self, view: ModelView, ctx: Context) -> None:
        demand_usable(self, view.optimizer)
        for name, w, group in view.params(self.on):
            self.refuse_shape(name, w)
            if group.get("penalty") is not None:
                raise ConflictError(
                    f"{type(self).__name__} and the optimizer's penalty {group['penalty']} both act on {name!r}. Keep"
                    " one of them."
                )

    @torch.no_grad()
    def on_step(self, params: Params, ctx: Context) -> None:
        for i in map_by_kernel(self, params, ctx.optimizer):
            step_in_place(self, params.tensors[i], ctx.optimizer, params.groups[i])


def step_in_place(penalty: Proximal, w: Tensor, optimizer: Any, group: Any) -> None:
    """One proximal step on a parameter that the optimizer has just updated, piece by piece where the map allows it."""

    def step(part: slice | None = None) -> Step:
        lr: Step = group["lr"]
        return adaptive_step(optimizer, w, group, part) if penalty.scaling == "adaptive" else lr

    plain = w.detach()
    if not penalty.separable or w.numel() <= CHUNK or not w.is_contiguous() or w.is_cuda:
        penalty.map_(plain, step())
        return
    flat = plain.view(-1)
    scales = adam_scales(optimizer, w, group) if penalty.scaling == "adaptive" else None
    if scales is not None and penalty.adam_map_(flat, *scales):
        return
    for start in range(0, w.numel(), CHUNK):
        part = slice(start, start + CHUNK)
        penalty.map_(flat[part], step(part))


class _Kept(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[tuple[torch.dtype, torch.device], Tensor] = {}


_kept = _Kept()


def scratch(part: Tensor) -> tuple[Tensor, Tensor]:
    """Two flat buffers of the length of ``part``, the same memory at each call of a thread: fresh memory costs more
    than the arithmetic in it.
    """
    kept = _kept.buffers.get((part.dtype, part.device))
    if kept is None:
        with torch.inference_mode(False):  # what is made in that mode cannot be written to outside it
            kept = torch.empty(2, CHUNK, dtype=part.dtype, device=part.device)
        if type(kept) is Tensor:  # and a fake one, of a tracing mode, is of no use to others
            _kept.buffers[part.dtype, part.device] = kept
    first, second = kept[:, : part.numel()].unbind()
    return first, second


def demand_usable(penalty: Proximal, optimizer: Any) -> None:
    """Refuse at attach what cannot work with this optimizer.

    Raises:
        ConflictError: naming both and the way out.
    """
    name = type(penalty).__name__
    if penalty.scaling == "adaptive":
        demand_known(name, optimizer)
        if penalty.scalar_only and not steps_by_one_number(optimizer):
            raise ConflictError(
                f"{name}(scaling='adaptive') needs one step for the whole tensor, and {type(optimizer).__name__} has"
                " one for each weight. Use SGD, or scaling='decoupled'."
            )
    if isinstance(penalty, Penalty) and penalty.relative is not None:
        raise ConflictError(
            f"{name}(relative={penalty.relative:g}) must first be turned into a strength. dashpot.fit does so with its"
            " data; in a loop of your own call dashpot.resolve_strengths(recipe, model, (x, y)) before attaching."
        )


class Penalty(Proximal):
    """The base of penalties with a strength. The maths of a subclass is three methods that take the strength last, as a
    number or a 0-d tensor.
    """

    version = 2
    replaced = dict.fromkeys(
        ("warmup", "ramp", "ramp_shape"),
        "The strength itself follows the steps: strength=0to1e-4@from=100steps@until=500steps.",
    )

    # None only until a relative strength is resolved.
    strength: Annotated[float, STRENGTH] = None  # type: ignore[assignment]
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
        values = dict(values)
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
        return replace(self, strength=strength, relative=None)

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
        if self.scaling == "decoupled":
            space["strength"] = Range(0.0, math.inf, search=DECOUPLED_SEARCH, log=True, off=0.0)
        return space
