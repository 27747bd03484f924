"""``Session.plan()``: which technique acts where, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.native import missing
from dashpot.core.points import Attached
from dashpot.core.running.modes import resting
from dashpot.core.running.view import ModelView

_LABELS = {
    "on_build": "modules",
    "on_batch": "batch",
    "on_model": "model",
    "on_loss": "loss",
    "on_gradient": "gradient",
    "on_update": "before update",
    "on_step": "after update",
    "on_epoch": "epoch",
    "weights": "evaluation",
    "final": "at the end",
}


def plan_text(
    recipe: str,
    attached: list[Attached],
    at: Mapping[str, list[Attached]],
    view: ModelView,
    schedules: Mapping[str, list[str]],
) -> str:
    """One line for each (point, technique), in the order of a training step, one for each schedule, and one
    where there is no C++ compiler.

    Args:
        schedules: what follows the run, in words, by a technique's path.
    """
    total = sum(p.numel() for p in view.parameters.values())
    lines = [
        recipe,
        f"on {type(view.model).__name__} ({total:,} trainable values) with {type(view.optimizer).__name__}",
    ]
    told: set[str] = set()
    passes = [(ctx.path, technique.forwards) for technique, ctx in attached if technique.forwards]
    for point, label in _LABELS.items():
        for technique, ctx in at[point]:
            text = technique.summary if ctx.path in told else technique.describe(view)
            told.add(ctx.path)
            lines.append(f"  {label:<13} {ctx.path:<18} {text}")
        if point == "on_loss":
            lines += [
                f"  {'forward':<13} {path:<18} runs the model {'once' if n == 1 else f'{n} times'} more on each batch"
                for path, n in passes
            ]
    lines += _by_optimizer(view)
    lines += [f"  {'schedule':<13} {path:<18} {line}" for path, texts in schedules.items() for line in texts]
    if rest := [f"{name} ({type(view.modules[name]).__name__})" for name in resting(view.model)]:
        lines.append(f"  {'evaluation':<13} {'always':<18} {', '.join(rest)}: in evaluation mode when training began")
    lines += [f"  {'slow':<13} {text}" for text in filter(None, [missing()])]
    return "\n".join(lines)


def _by_optimizer(view: ModelView) -> list[str]:
    """What the optimizer itself does: a line for each of its penalties."""
    found: dict[int, tuple[Any, list[str]]] = {}
    for name, penalty in view.penalties().items():
        found.setdefault(id(penalty), (penalty, []))[1].append(name)
    return [
        f"  {'update':<13} {'optimizer: ' + penalty.name:<18} {penalty.summary}: {len(names)} tensors,"
        f" {sum(view.parameters[name].numel() for name in names):,} values"
        for penalty, names in found.values()
    ]
