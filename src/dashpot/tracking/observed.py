"""What an epoch of a session is told by: losses, scores, the gap, exact zeros, strengths, verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dashpot.core.points import Verdict
from dashpot.core.recipe import Recipe
from dashpot.core.running.session import Session
from dashpot.core.running.view import ModelView

GROWS = ("accuracy", "r2", "auc", "f1", "precision", "recall", "score")
"""Scores of which more is better, by parts of their names; of all others less is."""


@torch.no_grad()
def penalties(session: Session) -> dict[str, float]:
    """By technique, the penalty at the present weights and strengths that is no part of the loss of a batch: of
    proximal steps and of gradients. A decay that is decoupled from the loss is none.
    """
    view, found = session.view, {ctx.path: ctx.technique.penalty_now(ctx) for _, ctx in session.attached}
    own = [p.along(view.axes(name)).value(view.parameters[name]) for name, p in view.penalties().items()]
    if own:
        found["optimizer"] = torch.stack([_whole(value) for value in own]).sum()
    return {path: float(_whole(value)) for path, value in found.items() if value is not None}


@torch.no_grad()
def exact_zeros(view: ModelView) -> dict[str, float]:
    """The share of weights (matrices and filters) that are exactly 0, in all (``"all"``) and by name."""
    weights = {name: p for name, p in view.parameters.items() if p.ndim > 1 and p.numel()}
    if not weights:
        return {}
    zeros = torch.stack([_zeros(p) for p in weights.values()]).tolist()  # one answer of the device for all
    sizes = [p.numel() for p in weights.values()]
    shares = {name: zero / size for name, zero, size in zip(weights, zeros, sizes, strict=True)}
    return {"all": sum(zeros) / sum(sizes), **shares}


def strengths(session: Session) -> dict[str, float]:
    """Numbers on schedules as the next step has them, such as ``"dropout.p"``."""
    return {
        f"{ctx.path}.{name}": float(getattr(ctx.technique, name))
        for technique, (_, ctx) in zip(session.recipe, session.attached, strict=True)
        for name in technique.schedules()
    }


def gaps(scores: Mapping[str, float]) -> dict[str, float]:
    """By how much each score is better on training rows than on validation rows: above 0 where there is overfitting.

    >>> gaps({"train_loss": 0.25, "val_loss": 0.75, "train_accuracy": 1.0, "val_accuracy": 0.5})
    {'loss': 0.5, 'accuracy': 0.5}
    """
    found = {}
    for key, value in scores.items():
        part, _, name = key.partition("_")
        if part == "train" and f"val_{name}" in scores:
            more = scores[f"val_{name}"] - value
            found[name] = -more if any(word in name for word in GROWS) and not name.endswith("loss") else more
    return found


def observed(session: Session, scores: Mapping[str, Any], verdict: Verdict) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers of an epoch by name, and what is to be said in words. Under FSDP2 every rank calls it.

    Args:
        scores: of the epoch: ``objective`` (the data loss as trained), ``train_*``, ``val_*`` and others.
        verdict: of the techniques that stop.
    """
    values: dict[str, float] = {}
    added = penalties(session)
    total = math.fsum(added.values()) if all(map(math.isfinite, added.values())) else math.inf
    if "objective" in scores:
        values["loss/data"] = float(scores["objective"])
        values["loss/total"] = values["loss/data"] + total
    values["loss/penalty"] = total
    values |= {f"penalty/{path}": value for path, value in added.items()}
    for key, value in scores.items():
        part, _, name = key.partition("_")
        if not isinstance(value, int | float) or key in ("objective", "epoch"):
            continue
        values[f"{part}/{name}" if part in ("train", "val") and name else key] = float(value)
    values |= {f"gap/{name}": value for name, value in gaps(scores).items()}
    values |= {f"zeros/{name}": share for name, share in exact_zeros(session.view).items()}
    values |= {f"strength/{name}": value for name, value in strengths(session).items()}
    rates = [float(group["lr"]) for group in session.optimizer.param_groups]
    values.setdefault("lr", rates[0])
    if len(set(rates)) > 1:
        values |= {f"lr/{k}": rate for k, rate in enumerate(rates)}
    if any(technique.defines("on_epoch") for technique, _ in session.attached):
        values |= {"stopping/best": float(verdict.best), "stopping/stop": float(verdict.stop)}
    return values, ({"stopped": verdict.reason} if verdict.stop and verdict.reason else {})


def parameters_of(recipe: Any) -> dict[str, str | int | float]:
    """A recipe as parameters: itself as text, and each technique's fields."""
    recipe = Recipe.coerce(recipe)
    found: dict[str, str | int | float] = {"recipe": str(recipe) if len(tuple(recipe)) else "none"}
    for path, technique in zip(recipe.paths(), recipe, strict=True):
        for name in technique.fields():
            value = getattr(technique, name)
            plain = "none" if value is None else str(value)
            found[f"{path}.{name}"] = value if isinstance(value, str | int | float) else plain
    return found


def _zeros(weight: Tensor) -> Tensor:
    if hasattr(weight, "full_tensor"):
        return _whole((weight == 0).sum())
    return weight.numel() - torch.count_nonzero(weight.detach())


def _whole(value: Tensor) -> Tensor:
    """Of a DTensor the value of all ranks, in which every rank takes part."""
    whole = getattr(value, "full_tensor", None)
    return value if whole is None else whole()
