"""``Proximal``: techniques with a proximal map, applied after the optimizer's update so that zeros are exact."""

from __future__ import annotations

import copy
import threading
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.axes import STANDARD, Axes
from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Choice
from dashpot.core.fields.select import Where, weights
from dashpot.core.running.conflicts import PROXIMAL
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.decay import OF_COMPUTED, highest
from dashpot.techniques.penalties.fast import PLAIN, KernelTerms, Runs, map_by_kernel
from dashpot.techniques.penalties.selected import refuse_computed, warn_coarse
from dashpot.techniques.penalties.step_rules import (
    HALF,
    Step,
    adam_scales,
    adaptive_step,
    demand_known,
    shard,
    steps_by_one_number,
)

Scalar = float | Float[Tensor, ""]
Scaling = Annotated[Literal["adaptive", "decoupled"], Choice(("adaptive", "decoupled"))]
Own = TypeVar("Own", bound="Proximal")
CHUNK = 1 << 17
"""Weights at a time in the post-hook: their temporaries stay in the cache, and no second copy of a tensor is made."""


class StackedProximal(StackedTechnique):
    """Its map acts inside the update of all members, whichever map a subclass has."""

    inherited = True

    def on_update(self, decay: np.ndarray, maps: dict[tuple[int, int], Any]) -> None:
        names = [segment.name for segment in self.stack.block.segments]
        for k, technique in enumerate(self.techniques):
            maps |= {(k, t): technique.along(self.stack.view.axes(names[t])) for t in self.selected(k)}


class Proximal(Technique):
    """The base class of techniques with a proximal map: penalties, and constraints (whose map is a projection).

    The map acts once per optimizer step, on parameters that have a gradient; a step that a GradScaler skips is skipped
    here too.

    Class attributes:
        separable: the map treats each weight by itself, so that tensors may be mapped piece by piece.
        scalar_only: the map knows one step per tensor only, not one per weight.
        convex: the penalty is convex, so that the map is non-expansive.

    Attributes:
        axes: which axes of the weight are outputs and inputs, as :meth:`along` was told.
    """

    stacked = StackedProximal
    exclusive = (PROXIMAL,)
    rules = (OF_COMPUTED,)
    version = 2
    replaced = {"metric": "It is called scaling now: scaling=decoupled."}  # noqa: RUF012
    separable: ClassVar[bool] = False
    scalar_only: ClassVar[bool] = False
    convex: ClassVar[bool] = True
    axes: ClassVar[Axes] = STANDARD  # an instance made by `along` has its own

    if TYPE_CHECKING:  # every subclass has these two fields, and declares them last
        scaling: Scaling = "adaptive"
        on: Where = weights

    @classmethod
    def upgrade(cls, version: int, values: dict[str, Any]) -> dict[str, Any]:
        """Version 1 called ``scaling`` ``metric``."""
        return {"scaling" if name == "metric" else name: value for name, value in values.items()}

    def along(self: Own, axes: Axes) -> Own:
        """The same on weights with these axes; all methods that take a weight follow."""
        if self.separable or axes == self.axes:
            return self
        placed = copy.copy(self)
        object.__setattr__(placed, "axes", axes)
        return placed

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

    def kernel_runs(self, shape: Sequence[int]) -> Runs | None:
        """For a penalty on groups: where the kernel finds the groups of a parameter of this shape, and the factor of
        the strength of each; None where it cannot.
        """
        return None

    def refuse_shape(self, name: str, w: Tensor) -> None:
        """Raise ConfigError where this cannot act on a tensor of this shape."""

    def refuse(self, name: str, w: Tensor) -> None:
        """Refuse a parameter that the map cannot act on.

        Raises:
            ConflictError: complex numbers, numbers that are not in a dense tensor, or a DTensor whose shards cut what
                belongs together.
            ConfigError: as :meth:`refuse_shape`.
        """
        me = type(self).__name__
        if w.is_complex() or w.layout is not torch.strided:
            kind = "complex" if w.is_complex() else f"of layout {w.layout}"
            raise ConflictError(f"{me} acts on dense real weights, and {name} is {kind}. Leave it out with `on`.")
        self.refuse_shape(name, w)
        if hasattr(w, "to_local") and not self.separable:
            peaks = {field: highest(schedule) for field, schedule in self.schedules().items()}
            tried = self.with_numbers(peaks).along(self.axes)
            try:  # torch tells only by trying which operations it can do over shards
                with torch.no_grad():
                    step = torch.ones_like(w) if self.scaling == "adaptive" and not self.scalar_only else 1.0
                    tried.prox(torch.zeros_like(w), step)
            except (RuntimeError, NotImplementedError, IndexError) as error:
                raise ConflictError(
                    f"{self} cannot act on {name}, a DTensor whose shards {getattr(w, 'placements', '')} cut its"
                    " groups. Leave it out"
                    " with `on`, shard it along another axis, or take groups that a shard holds whole, such as rows."
                ) from error

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return view.names(self.on)

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed(type(self).__name__, self.on, view)
        self.demand_usable(view.optimizer)
        warn_coarse(type(self).__name__, self.on, view)
        taken = view.penalties()
        for name, w, _ in view.params(self.on):
            self.along(view.axes(name)).refuse(name, w)
            if name in taken:
                raise ConflictError(
                    f"{type(self).__name__} and the optimizer's penalty {taken[name]} both act on {name!r}. Keep one of"
                    " them, or give them disjoint `on`."
                )

    def demand_usable(self, optimizer: Any) -> None:
        """Refuse at attach what cannot work with this optimizer.

        Raises:
            ConflictError: naming both and the way out.
        """
        if self.scaling != "adaptive":
            return
        name = type(self).__name__
        demand_known(name, optimizer)
        if self.scalar_only and not steps_by_one_number(optimizer):
            raise ConflictError(
                f"{name}(scaling='adaptive') needs one step for the whole tensor, and {type(optimizer).__name__} has"
                " one for each weight. Use SGD, or scaling='decoupled'."
            )

    @torch.no_grad()
    def penalty_now(self, ctx: Context) -> Tensor | None:
        chosen = ctx.view.params(self.on)
        values = [self.along(axes).value(w) for w, axes in zip(chosen.tensors, chosen.axes, strict=True)]
        return torch.stack([value.to(values[0].device) for value in values]).sum() if values else None

    @torch.no_grad()
    def on_step(self, params: Params, ctx: Context) -> None:
        for i in map_by_kernel(self, params, ctx.optimizer):
            step_in_place(self.along(params.axes[i]), params.tensors[i], ctx.optimizer, params.groups[i])


def step_in_place(penalty: Proximal, w: Tensor, optimizer: Any, group: Any) -> None:
    """One proximal step on a parameter that the optimizer has just updated, piece by piece where the map allows it; of
    a DTensor on its shard, where each weight is mapped by itself; of half precision in float32.
    """

    def step(part: slice | None = None) -> Step:
        lr: Step = group["lr"]
        return adaptive_step(optimizer, w, group, part) if penalty.scaling == "adaptive" else lr

    plain = w.detach()
    if not plain.numel():
        return
    if plain.dtype in HALF:
        wide = plain.float()
        penalty.map_(wide, step())
        plain.copy_(wide)
        return
    own = shard(plain) if penalty.separable else plain
    # A flat view of another kind of tensor might be a copy, and what is written to it lost.
    flat = own.view(-1) if type(own) in PLAIN and own.is_contiguous() else None
    if flat is None or not penalty.separable or own.is_cuda or (own is plain and own.numel() <= CHUNK):
        penalty.map_(plain, step())
        return
    scales = adam_scales(optimizer, w, group) if penalty.scaling == "adaptive" else None
    if scales is not None and penalty.adam_map_(flat, *scales):
        return
    for start in range(0, own.numel(), CHUNK):
        part = slice(start, start + CHUNK)
        penalty.map_(flat[part], step(part))


def spread(axes: Axes, step: Step, w: Tensor) -> Step:
    """The step of each weight in the shape of :meth:`Axes.matrices`; one number stays one."""
    return axes.matrices(step.expand(w.shape)) if isinstance(step, Tensor) and step.ndim else step


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
