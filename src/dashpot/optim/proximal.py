"""``ProximalMixin``, shared by the proximal optimizers: penalized parameters, engines and state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.axes import STANDARD, Axes
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.native import why_not
from dashpot.core.running.view import ModelView
from dashpot.optim.given import as_penalty, demand_steps, demand_weights
from dashpot.techniques.penalties import fast, native
from dashpot.techniques.penalties.fast import (
    PLAIN,
    WORTH_BUILDING,
    group_fits,
    tensor_fits,
    terms_of,
)
from dashpot.techniques.penalties.proximal import Proximal, step_in_place
from dashpot.techniques.penalties.selected import refuse_computed

ENGINES = ("auto", "native", "compiled", "eager")
OURS = ("penalty", "penalized", "axes")
"""What a group holds besides torch's options; it is configuration, and no state."""
MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")
State = dict[str, Any]
Group = dict[str, Any]


if TYPE_CHECKING:
    _Base = Optimizer
else:
    _Base = object


class ProximalMixin(_Base):
    """Mixed into a torch optimizer. Subclasses give ``_native`` and ``_plain``: the kernel's jobs, and torch's own
    update of some parameters.
    """

    engine: str
    _default_penalty: Proximal | None = None
    _given_model = False

    def _given(self, params: nn.Module | Iterable[Any], penalty: Any) -> Iterable[Any]:
        """What torch's constructor takes: of a model its trainable parameters."""
        self._given_model, self._default_penalty = isinstance(params, nn.Module), as_penalty(penalty)
        return (p for p in params.parameters() if p.requires_grad) if isinstance(params, nn.Module) else params

    def _set_up(self, params: nn.Module | Iterable[Any], engine: str, fused: bool | None) -> None:
        # torch's own `fused` would make GradScaler hand its scale to us; without it the scaler unscales, and skips
        # whole steps.
        for group in self.param_groups:
            group["fused"] = fused
        if engine not in ENGINES:
            raise ConfigError("engine", f"one of {', '.join(ENGINES)}", engine)
        if engine == "native" and native.kernel() is None:
            raise ConfigError(
                "engine", "auto, compiled or eager where there is no C++ compiler", engine, why_not(native.SOURCE)
            )
        self.engine = engine
        view = ModelView(params, self) if isinstance(params, nn.Module) else None
        if view is not None:
            for group in self.param_groups:
                if group["penalty"] is not None:
                    refuse_computed(type(group["penalty"]).__name__, group["penalty"].on, view)
                chosen = (
                    {id(w) for _, w, _ in view.params(group["penalty"].on)} if group["penalty"] is not None else set()
                )
                group["penalized"] = [id(p) in chosen for p in group["params"]]
                names = {id(p): name for name, p in view.parameters.items()}
                group["axes"] = [view.axes(names[id(p)]) if id(p) in names else STANDARD for p in group["params"]]
                if group["penalty"] is not None and not view.has(group["penalty"].on):
                    raise ConflictError(
                        f"{group['penalty']} acts on no parameter of {type(params).__name__}: its `on` matches none of"
                        f" {', '.join(list(view.parameters)[:6])}."
                    )
        self._refuse(view)

    def add_param_group(self, param_group: Group) -> None:
        """As torch's. A penalty written into a group acts on all its parameters; the optimizer's default one acts where
        its ``on`` says, if the optimizer was given the model itself, and else on tensors with at least two dimensions:
        no biases or norms."""
        explicit = param_group.get("penalty") is not None
        param_group.setdefault("fused", None)
        self.defaults.setdefault("penalty", self._default_penalty)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["penalty"] = as_penalty(group["penalty"])
        if group["penalty"] is not None and (explicit or hasattr(self, "engine") or not self._given_model):
            demand_weights(group["penalty"])
        group["penalty_step"] = 0
        # Kept beside the parameters, in their order, so that copies and pickles of the optimizer know it too.
        group["penalized"] = [explicit or p.ndim > 1 for p in group["params"]]
        group["axes"] = [STANDARD] * len(group["params"])  # only a model tells its layers
        if hasattr(self, "engine"):
            self._refuse(None)

    def _refuse(self, view: ModelView | None) -> None:
        names = {id(p): name for name, p in view.parameters.items()} if view is not None else {}
        for number, group in enumerate(self.param_groups):
            if group["penalty"] is None:
                continue
            if group.get("differentiable"):
                raise ConfigError(
                    "differentiable", "False with a penalty, whose map is not differentiable where it makes zeros", True
                )
            group["penalty"].demand_usable(self)
            demand_steps(group["penalty"])
            for i, (p, penalized, axes) in enumerate(
                zip(group["params"], group["penalized"], group["axes"], strict=True)
            ):
                if penalized:
                    name = names.get(id(p), f"parameter {i} of group {number}")
                    group["penalty"].along(axes).refuse(name, p)

    # --- saving: torch's own layout; the penalty is configuration, like the model's code, and stays with the optimizer

    def state_dict(self) -> State:
        """torch's own layout, without the penalties."""
        state: State = super().state_dict()
        groups = [{key: value for key, value in group.items() if key not in OURS} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state of this class or of torch's; the penalties stay as they are.

        Raises:
            ConfigError: moments of other shapes than the parameters', which torch would load, and its fused step would
                write beyond.
        """
        self._refuse_shapes(state_dict)
        kept = [{key: group[key] for key in (*OURS, "penalty_step")} for group in self.param_groups]
        super().load_state_dict(dict(state_dict))
        for group, ours in zip(self.param_groups, kept, strict=True):
            group |= {**ours, "penalty_step": group.get("penalty_step", ours["penalty_step"])}

    def _refuse_shapes(self, state_dict: Mapping[str, Any]) -> None:
        saved = [number for group in state_dict["param_groups"] for number in group["params"]]
        own = [p for group in self.param_groups for p in group["params"]]
        for number, p in zip(saved, own, strict=False):  # of unequal lengths torch says so itself
            for name in MOMENTS:
                moment = state_dict["state"].get(number, {}).get(name)
                if moment is not None and moment.shape != p.shape:
                    way = "The state is of another model, or its parameters were in another order."
                    raise ConfigError(
                        f"{name} of parameter {number} in the state",
                        f"of the parameter's shape {list(p.shape)}",
                        list(moment.shape),
                        way,
                    )

    def __getstate__(self) -> State:
        return {**super().__getstate__(), "engine": self.engine}

    # --- stepping ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step: the update and the map."""
        return self._step_all(closure)

    def _step_all(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            penalty = group["penalty"]
            pairs = [
                (p, penalty is not None and chosen)
                for p, chosen in zip(group["params"], group["penalized"], strict=True)
                if p.grad is not None
            ]
            marked = [p for p, chosen in pairs if chosen]
            rest = [p for p, chosen in pairs if not chosen]
            if marked:
                now = penalty.at(group["penalty_step"])
                marked, rest = self._by_kernel(group, marked, rest, now)
                self._without_kernel(group, marked, now)
                group["penalty_step"] += 1
            if rest:
                self._plain(group, rest)
        return loss

    def _by_kernel(
        self, group: Group, marked: list[Tensor], rest: list[Tensor], penalty: Proximal
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One call for all parameters that the kernel fits, penalized (``marked``) or not; returns those
        that are left.
        """
        terms = terms_of(penalty) if self.engine in ("auto", "native") and group_fits(group) else None
        if terms is None:
            return marked, rest
        axes = axes_by_id(group)
        placed = [penalty.along(axes[id(p)]) for p in marked]
        known = {id(p): runs for p, runs in zip(marked, fast.runs_for(placed, marked, terms), strict=True)}
        fit, others = self._divided([p for p in marked if known[id(p)] is not None])
        others += [p for p in marked if known[id(p)] is None]
        if (
            not fit
            or (self.engine == "auto" and sum(p.numel() for p in fit) < WORTH_BUILDING)
            or native.kernel() is None
        ):
            return marked, rest
        along, rest = self._divided(rest)
        jobs = fast.update_jobs(fit, along, [known[id(p)] for p in fit], terms)
        self._native(group, fit + along, jobs, penalty.scaling == "adaptive")
        return others, rest

    def _divided(self, params: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Those that the kernel can read, with their gradients and moments, and the others."""
        fits = [self._fits(p) for p in params]
        return list(compress(params, fits)), [p for p, fit in zip(params, fits, strict=True) if not fit]

    def _fits(self, p: Tensor) -> bool:
        if p.grad is None or not (tensor_fits(p) and tensor_fits(p.grad)):
            return False
        # Moments of another type or layout stay behind when a model is converted after a step.
        state = self.state.get(p, {})
        return all(
            (moment := state.get(name)) is None or (moment.shape == p.shape and tensor_fits(moment)) for name in MOMENTS
        )

    def _alike(self, p: Tensor) -> bool:
        """Whether gradient and moments lie in memory as the parameter does: torch's fused step reads them by position,
        whatever their strides.
        """
        state = self.state.get(p, {})
        return all(
            t is None or (t.layout, t.dtype, t.shape, t.stride()) == (p.layout, p.dtype, p.shape, p.stride())
            for t in (p.grad, *map(state.get, MOMENTS))
            if p.layout is torch.strided
        )

    def _flat(self, p: Tensor) -> bool:
        """Whether parameter, gradient and moments are one run of numbers each."""
        return (
            type(p) in PLAIN
            and type(p.grad) in PLAIN
            and p.layout is torch.strided
            and p.is_contiguous()
            and p.numel() > 0
            and self._alike(p)
        )

    def _without_kernel(self, group: Group, params: list[Tensor], penalty: Proximal) -> None:
        if self.engine == "compiled" and penalty.separable:
            params = self._compiled(group, params, penalty)
        if not params:
            return
        self._plain(group, params)
        axes = axes_by_id(group)
        for p in params:
            step_in_place(penalty.along(axes[id(p)]), p, self, group)

    def _native(self, group: Group, params: list[Tensor], jobs: np.ndarray, adaptive: bool) -> None:
        raise NotImplementedError  # AdamW and SGD have their own

    def _plain(self, group: Group, params: list[Tensor]) -> None:
        raise NotImplementedError  # AdamW and SGD have their own

    def _compiled(self, group: Group, params: list[Tensor], penalty: Proximal) -> list[Tensor]:
        """One compiled pass for each parameter it fits; returns the others."""
        return params


def axes_by_id(group: Mapping[str, Any]) -> dict[int, Axes]:
    """The axes of each parameter of a group, by its identity."""
    return {id(p): axes for p, axes in zip(group["params"], group["axes"], strict=True)}
