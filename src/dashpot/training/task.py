"""The task of a training: classes, values or several labels, found from the data and the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.running.batch import Batch
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called, told
from dashpot.evaluation.losses import Criterion, default_criterion

KINDS = ("classes", "values", "multilabel")


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        targets: ``"classes"``, ``"values"`` or ``"multilabel"``; None where the target is no tensor.
        classes: how many classes there are, where that is known.
        criterion: from output and target to the loss of each sample, or of each label.
    """

    targets: str | None
    classes: int | None
    criterion: Criterion


def yes_or_no(out: Tensor, y: Tensor) -> Tensor:
    """Binary cross entropy of logits against yes/no targets with as many values, [batch, labels]."""
    return functional.binary_cross_entropy_with_logits(out, y.to(out.dtype).reshape(out.shape), reduction="none")


def task_of(model: nn.Module, batch: Batch, loss: Criterion | None, targets: str | None) -> Task:
    """The task, by a first batch.

    Args:
        loss: the caller's criterion, or None.
        targets: what the caller says of the targets, or None: floating-point ones are values; whole numbers are
            classes, and yes/no labels where the network gives one output for each of them.

    Raises:
        ConfigError: ``targets`` that are none, or no loss where none can be chosen.
    """
    if targets not in (None, *KINDS):
        raise ConfigError("targets", f"one of {', '.join(KINDS)} or None", targets)
    y = batch.y
    if not isinstance(y, Tensor):
        if loss is None:
            raise ConfigError("loss", "given where the target is no tensor", None, f"The target is {told(y)}.")
        return Task(targets, None, loss)
    if targets == "values" or (targets is None and y.is_floating_point()):
        return Task("values", None, loss or default_criterion(y.float()))
    with evaluating(model), torch.no_grad():
        out = called(model, batch.x)
    if not isinstance(out, Tensor):
        if loss is None:
            raise ConfigError("loss", "given where the model's output is no tensor", None, f"It is {told(out)}.")
        return Task(targets or "classes", None, loss)
    if targets == "multilabel" or (targets is None and out.numel() == y.numel()):
        if out.numel() != y.numel():
            raise DataError(
                f"the model gives {list(out.shape)} for labels {list(y.shape)}: multi-label targets need one output for"
                " each label."
            )
        return Task("multilabel", None, loss or yes_or_no)
    return Task("classes", out.shape[1] if out.ndim > 1 else None, loss or default_criterion(y))


def check_targets(name: str, y: Tensor, task: Task) -> None:
    """Refuse targets that the task has no place for, before work begins.

    Raises:
        DataError: a class that the network has no output for, or a label that is neither yes nor no.
    """
    low, high = float(y.min()), float(y.max())
    if task.targets == "classes" and task.classes is not None and not (low >= 0 and high < task.classes):
        raise DataError(
            f"{name} must be classes 0 to {task.classes - 1}, as the model has {task.classes} outputs, got"
            f" {low:g} to {high:g}."
        )
    if task.targets == "multilabel" and not bool(((y == 0) | (y == 1)).all()):
        raise DataError(f"{name} must be labels 0 and 1, one for each output of the model, got {low:g} to {high:g}.")
