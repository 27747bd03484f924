"""A session's state: saved, checked and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dashpot.core.errors import ConfigError
from dashpot.core.points import Attached
from dashpot.core.running.run import Run
from dashpot.core.running.tensors import adopt, tensors


def saved(recipe: Mapping[str, Any], run: Run, attached: list[Attached], scheduled: bool) -> dict[str, Any]:
    """Counters and the state of each technique; random streams need none."""
    return {
        "recipe": dict(recipe),
        "seed": run.seed,
        "step": run.step,
        "epochs": run.epochs,
        "model": _layout(run.view.model),
        "techniques": {ctx.path: ctx.state for _, ctx in attached},
        **({"steps": run.steps, "steps_per_epoch": run.steps_per_epoch} if scheduled else {}),
    }


def check(state: Mapping[str, Any], recipe: Mapping[str, Any], run: Run, scheduled: bool) -> None:
    """Refuse a state of another recipe, seed or, where there are schedules, length of run.

    Raises:
        ConfigError: with what differs.
    """
    if state["recipe"] != recipe:
        raise ConfigError(
            "recipe",
            f"the one that the saved state belongs to ({_told(state['recipe'])})",
            _told(recipe),
            "Attach that recipe, or start afresh.",
        )
    if state["seed"] != run.seed:
        raise ConfigError("seed", f"the one that the saved state belongs to ({state['seed']})", run.seed)
    for name in ("steps", "steps_per_epoch") if scheduled else ():
        if state[name] != getattr(run, name):
            raise ConfigError(
                name,
                f"what the saved state's schedules were laid out for ({state[name]})",
                getattr(run, name),
                "Attach with that length, or start afresh.",
            )


def restore(
    state: Mapping[str, Any], recipe: Mapping[str, Any], run: Run, attached: list[Attached], scheduled: bool
) -> None:
    """Go on where ``state`` was taken. All is checked before anything is changed.

    Raises:
        ConfigError: it belongs to another recipe, seed, model or, where there are schedules, length of run.
    """
    check(state, recipe, run, scheduled)
    if "model" in state:
        _check_model(str(state["model"]), _layout(run.view.model), type(run.view.model).__name__)
    own = tensors(run.view.model)
    for _, ctx in attached:
        if ctx.path not in state["techniques"]:
            raise ConfigError("state", f"one with the state of {ctx.path}", list(state["techniques"]))
        _check_state(ctx.path, ctx.state, state["techniques"][ctx.path], own)
    for _, ctx in attached:
        ctx.state = adopt(ctx.state, state["techniques"][ctx.path])
    run.move_to(int(state["step"]), int(state["epochs"]))


def _layout(model: nn.Module) -> str:
    """The names and shapes of a model's tensors, as one text."""
    return " ".join(f"{name}[{','.join(map(str, tensor.shape))}]" for name, tensor in tensors(model).items())


def _check_model(saved: str, own: str, model: str) -> None:
    theirs, ours = dict.fromkeys(saved.split()), dict.fromkeys(own.split())
    if theirs != ours:
        parts = [f"{part} is not in this model" for part in theirs if part not in ours]
        parts += [f"{part} is not in the saved one" for part in ours if part not in theirs]
        more = f"; and {len(parts) - 4} more" if len(parts) > 4 else ""
        raise ConfigError("model", "the one that the saved state belongs to", model, f"{'; '.join(parts[:4])}{more}.")


def _check_state(path: str, old: Any, new: Any, own: Mapping[str, Tensor]) -> None:
    """Tensors that are kept for the model's, or that the technique has made, keep their shapes."""
    for key, value in new.items() if isinstance(new, Mapping) else ():
        like = old.get(key) if isinstance(old, Mapping) else None
        if isinstance(value, Mapping):
            _check_state(f"{path}.{key}", like, value, own)
        elif isinstance(value, Tensor):
            known = like if isinstance(like, Tensor) else own.get(key)
            if known is not None and known.shape != value.shape:
                raise ConfigError(
                    f"{path}.{key} in the state",
                    f"of shape {list(known.shape)}",
                    list(value.shape),
                    "It belongs to another model.",
                )


def _told(recipe: Mapping[str, Any]) -> str:
    """A recipe's plain form in words."""
    texts = [
        f"{entry.get('name')}({', '.join(f'{k}={v}' for k, v in entry.items() if k not in ('name', 'version'))})"
        for entry in recipe.get("technique", [])
    ]
    return " | ".join(texts) or "an empty one"
