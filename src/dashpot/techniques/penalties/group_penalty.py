"""``GroupPenalty``: the base class of penalties on groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Flag
from dashpot.techniques.penalties.fast import Runs, runs_of
from dashpot.techniques.penalties.grouping import Grouping, Groups, Layout, as_grouping
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Scalar


class GroupPenalty(Penalty):
    """The base class of penalties on groups: it folds a tensor by its grouping, and hands the axes and the weight of
    each group to the subclass's maths.
    """

    groups: Annotated[Grouping | str | Tensor, Groups()] = Grouping("rows")
    size_weights: Annotated[bool, Flag()] = True

    def folded_value(
        self, w: Float[Tensor, "*shape"], strength: Scalar, dims: tuple[int, ...], size: float | Tensor
    ) -> Float[Tensor, ""]:
        """The value on a folded tensor; ``size`` is the weight of each group."""
        raise NotImplementedError  # each penalty on groups has its own

    def folded_prox(
        self,
        w: Float[Tensor, "*shape"],
        step: float | Float[Tensor, "*#shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        """The map on a folded tensor."""
        raise NotImplementedError  # each penalty on groups has its own

    def folded_stationarity(
        self,
        w: Float[Tensor, "*shape"],
        grad: Float[Tensor, "*shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        """The distance from stationarity on a folded tensor."""
        raise NotImplementedError  # each penalty on groups has its own

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        layout = self.layout(w)
        return self.folded_value(layout.fold(w), strength, layout.dims, self._size(layout, w))

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        layout = self.layout(w)
        if isinstance(step, Tensor) and step.ndim:
            step = layout.fold(step.expand(w.shape), padding=1.0)
        return layout.unfold(
            self.folded_prox(layout.fold(w), step, strength, layout.dims, self._size(layout, w)), w.shape
        )

    def penalty_stationarity(
        self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        layout = self.layout(w)
        return layout.unfold(
            self.folded_stationarity(layout.fold(w), layout.fold(grad), strength, layout.dims, self._size(layout, w)),
            w.shape,
        )

    def kernel_groups(self) -> bool:
        """Whether groups are runs along axes, as the C++ kernel wants them."""
        return not as_grouping(self.groups).text.startswith("index")

    def kernel_runs(self, shape: Sequence[int]) -> Runs | None:
        layout = as_grouping(self.groups).layout(shape, axes=self.axes)
        if layout.places is not None or layout.order is not None:
            return None
        runs = runs_of(layout.shape, layout.dims)
        return runs._replace(weight=float(layout.size) ** 0.5) if runs is not None and self.size_weights else runs

    def refuse_shape(self, name: str, w: Tensor) -> None:
        as_grouping(self.groups).layout(w.shape, name, self.axes)

    def layout(self, w: Tensor) -> Layout:
        """How it groups this weight."""
        return as_grouping(self.groups).layout(w.shape, axes=self.axes)

    def _size(self, layout: Layout, w: Tensor) -> float | Tensor:
        if not self.size_weights:
            return 1.0
        size = layout.on(w.device).size
        return size.sqrt().to(w.dtype) if isinstance(size, Tensor) else float(size) ** 0.5
