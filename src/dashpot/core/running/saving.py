"""A session's state: saved, checked and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.points import Attached
from dashpot.core.running.run import Run
from dashpot.core.running.tensors import adopt


def saved(recipe: Mapping[str, Any], run: Run, attached: list[Attached], scheduled: bool) -> dict[str, Any]:
    """Counters and the state of each technique; random streams need none."""
    return {
        "recipe": dict(recipe),
        "seed": run.seed,
        "step": run.step,
        "epochs": run.epochs,
        "techniques": {ctx.path: ctx.state for _, ctx in attached},
        **({"steps": run.steps, "steps_per_epoch": run.steps_per_epoch} if scheduled else {}),
    }


def restore(
    state: Mapping[str, Any], recipe: Mapping[str, Any], run: Run, attached: list[Attached], scheduled: bool
) -> None:
    """Go on where ``state`` was taken.

    Raises:
        ConfigError: it belongs to another recipe, seed or, where there are schedules, length of run.
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
    for _, ctx in attached:
        ctx.state = adopt(ctx.state, state["techniques"][ctx.path])
    run.move_to(int(state["step"]), int(state["epochs"]))


def _told(recipe: Mapping[str, Any]) -> str:
    """A recipe's plain form in words."""
    texts = [
        f"{entry.get('name')}({', '.join(f'{k}={v}' for k, v in entry.items() if k not in ('name', 'version'))})"
        for entry in recipe.get("technique", [])
    ]
    return " | ".join(texts) or "an empty one"
