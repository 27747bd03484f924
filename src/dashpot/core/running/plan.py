"""``Session.plan()``: which technique acts where, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from dashpot.core.native import missing
from dashpot.core.notebook import table, titled
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


class Plan(str):
    """A plan as text, which a notebook shows as a table."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]

    def __new__(cls, head: Sequence[str], rows: Sequence[tuple[str, str, str]]) -> Self:
        lines = [f"  {label:<13} {path:<18} {text}" if path else f"  {label:<13} {text}" for label, path, text in rows]
        self = super().__new__(cls, "\n".join([*head, *lines]))
        self.head, self.rows = tuple(head), tuple(rows)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.head, self.rows

    def _repr_html_(self) -> str:
        return titled(" ".join(self.head), table(("where", "technique", "what"), self.rows))


def plan_text(
    recipe: str,
    attached: list[Attached],
    at: Mapping[str, list[Attached]],
    view: ModelView,
    schedules: Mapping[str, list[str]],
) -> Plan:
    """One line for each (point, technique), in the order of a training step, one for each schedule, and one
    where there is no C++ compiler.

    Args:
        schedules: what follows the run, in words, by a technique's path.
    """
    total = sum(p.numel() for p in view.parameters.values())
    head = [
        recipe,
        f"on {type(view.model).__name__} ({total:,} trainable values) with {type(view.optimizer).__name__}",
    ]
    rows: list[tuple[str, str, str]] = []
    told: set[str] = set()
    passes = [(ctx.path, technique.forwards) for technique, ctx in attached if technique.forwards]
    for point, label in _LABELS.items():
        for technique, ctx in at[point]:
            text = technique.summary if ctx.path in told else technique.describe(view)
            told.add(ctx.path)
            rows.append((label, ctx.path, text))
        if point == "on_loss":
            rows += [
                ("forward", path, f"runs the model {'once' if n == 1 else f'{n} times'} more on each batch")
                for path, n in passes
            ]
    rows += _by_optimizer(view)
    rows += [("schedule", path, line) for path, texts in schedules.items() for line in texts]
    if rest := [f"{name} ({type(view.modules[name]).__name__})" for name in resting(view.model)]:
        rows.append(("evaluation", "always", f"{', '.join(rest)}: in evaluation mode when training began"))
    rows += [("slow", "", text) for text in filter(None, [missing()])]
    return Plan(head, rows)


def _by_optimizer(view: ModelView) -> list[tuple[str, str, str]]:
    """What the optimizer itself does: a line for each of its penalties."""
    found: dict[int, tuple[Any, list[str]]] = {}
    for name, penalty in view.penalties().items():
        found.setdefault(id(penalty), (penalty, []))[1].append(name)
    return [
        (
            "update",
            f"optimizer: {penalty.name}",
            f"{penalty.summary}: {len(names)} tensors, {sum(view.parameters[name].numel() for name in names):,} values",
        )
        for penalty, names in found.values()
    ]
