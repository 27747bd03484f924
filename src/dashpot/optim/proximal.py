"""``ProximalMixin``, shared by the proximal optimizers: penalized parameters, engines and state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import compress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.native import why_not
from dashpot.core.recipe import Recipe
from dashpot.core.running.view import ModelView
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.fast import WORTH_BUILDING, KernelTerms, group_fits, tensor_fits, terms_of
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Proximal, step_in_place

ENGINES = ("auto", "native", "compiled", "eager")
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
    _rule: str

    def _set_up(self, model: nn.Module | None, engine: str) -> None:
        if engine not in ENGINES:
            raise ConfigError("engine", f"one of {', '.join(ENGINES)}", engine)
        if engine == "native" and native.kernel() is None:
            raise ConfigError(
                "engine", "auto, compiled or eager where there is no C++ compiler", engine, why_not(native.SOURCE)
            )
        self.engine = engine
        view = ModelView(model, self) if model is not None else None
        if view is not None:
            for group in self.param_groups:
                chosen = (
                    {id(w) for _, w, _ in view.params(group["penalty"].on)} if group["penalty"] is not None else set()
                )
                group["penalized"] = [id(p) in chosen for p in group["params"]]
        self._refuse(view)

    def add_param_group(self, param_group: Group) -> None:
        """As torch's. A penalty written into a group acts on all its parameters; the optimizer's default one acts where
        its ``on`` says, if the optimizer was given the model itself, and else on tensors with at least two dimensions:
        no biases or norms."""
        explicit = param_group.get("penalty") is not None
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["penalty"] = as_penalty(group["penalty"])
        group["penalty_step"] = 0
        # Kept beside the parameters, in their order, so that copies and pickles of the optimizer know it too.
        group["penalized"] = [explicit or p.ndim > 1 for p in group["params"]]
        if hasattr(self, "engine"):
            self._refuse(None)

    def _refuse(self, view: ModelView | None) -> None:
        names = {id(p): name for name, p in view.parameters.items()} if view is not None else {}
        for number, group in enumerate(self.param_groups):
            if group["penalty"] is None:
                continue
            group["penalty"].demand_usable(self)
            demand_steps(group["penalty"])
            for i, (p, penalized) in enumerate(zip(group["params"], group["penalized"], strict=True)):
                if penalized:
                    group["penalty"].refuse_shape(names.get(id(p), f"parameter {i} of group {number}"), p)

    # --- saving: torch's own layout; the penalty is configuration, like the model's code, and stays with the optimizer

    def state_dict(self) -> State:
        """torch's own layout, without the penalties."""
        state: State = super().state_dict()
        groups = [
            {key: value for key, value in group.items() if key not in ("penalty", "penalized")}
            for group in state["param_groups"]
        ]
        return {**state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state of this class or of torch's; the penalties stay as they are.

        Raises:
            ConfigError: moments of other shapes than the parameters', which torch would load, and its fused step would
                write beyond.
        """
        self._refuse_shapes(state_dict)
        kept = [{key: group[key] for key in ("penalty", "penalized", "penalty_step")} for group in self.param_groups]
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
        fit, others = self._divided(marked)
        if (
            not fit
            or (self.engine == "auto" and sum(p.numel() for p in fit) < WORTH_BUILDING)
            or native.kernel() is None
        ):
            return marked, rest
        along, rest = self._divided(rest)
        self._native(group, fit, along, penalty, terms)
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

    def _without_kernel(self, group: Group, params: list[Tensor], penalty: Proximal) -> None:
        if self.engine == "compiled" and penalty.separable:
            params = self._compiled(group, params, penalty)
        if not params:
            return
        self._plain(group, params)
        for p in params:
            step_in_place(penalty, p, self, group)

    def _native(
        self,
        group: Group,
        marked: list[Tensor],
        rest: list[Tensor],
        penalty: Proximal,
        terms: KernelTerms,
    ) -> None:
        raise NotImplementedError  # AdamW and SGD have their own

    def _plain(self, group: Group, params: list[Tensor]) -> None:
        raise NotImplementedError  # AdamW and SGD have their own

    def _compiled(self, group: Group, params: list[Tensor], penalty: Proximal) -> list[Tensor]:
        """One compiled pass for each parameter it fits; returns the others."""
        return params


def as_penalty(given: Any) -> Proximal | None:
    """The penalty that a technique or its text means.

    Raises:
        ConfigError: what has no proximal map, with the way out.
    """
    penalty = Recipe.coerce_one("penalty", given) if isinstance(given, str | Recipe) else given
    if penalty is None or isinstance(penalty, Proximal):
        return penalty
    way = (
        "ElasticNet(l1_ratio=0.0) is L2 by a proximal step."
        if type(penalty).__name__ == "L2"
        else "Attach it to the model as a recipe instead."
    )
    raise ConfigError("penalty", "a technique with a proximal map, such as L1(strength=1e-4)", penalty, way)


def demand_steps(penalty: Proximal) -> None:
    """Refuse a schedule whose moments only the length of the run could tell.

    Raises:
        ConflictError: with the way out.
    """
    try:
        penalty.at(0)
    except ConflictError:
        raise ConflictError(
            f"{penalty}: an optimizer does not know the length of the run, so that its penalty's schedule must end at"
            " a step, as in 0to1e-4@until=500steps. Count in steps, or attach the penalty as a recipe."
        ) from None


def first_strength(penalty: Proximal) -> float:
    """The strength, for compiled passes; 0 for constraints, which have none."""
    return float(penalty.strength) if isinstance(penalty, Penalty) else 0.0
