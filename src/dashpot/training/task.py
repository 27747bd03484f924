"""The task of a training: classes, values or yes/no labels, found from the data, the loss and the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.running.batch import Batch
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called, told
from dashpot.core.running.targets import (
    BY_CLASS,
    BY_LABEL,
    BY_VALUE,
    alike,
    class_codes,
    demand_codes,
    demand_labels,
    demand_samples,
    is_one_of,
)
from dashpot.evaluation.losses import Criterion, default_criterion, targets_of

KINDS = ("classes", "values", "multilabel")


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        targets: ``"classes"``, ``"values"`` or ``"multilabel"``; None where the target is no tensor.
        classes: how many classes there are, where that is known.
        criterion: from output and target to the loss of each sample, or of each label.
        ignore_index: the class that the criterion leaves out, or None.
        known: the criterion is the default or one of torch's, so that the forms of its targets are known; what another
            takes is its own affair.
        axes: of classes, where that is known; probabilities have one more.
        soft: classes come as probabilities.
    """

    targets: str | None
    classes: int | None
    criterion: Criterion
    ignore_index: int | None = None
    known: bool = False
    axes: int = 1
    soft: bool = False

    def target(self, y: Any) -> Any:
        """A target as the criterion takes it: classes are int64, and [batch, 1] is [batch]. For a criterion of the
        caller's own, it stays as it is.
        """
        if not self.known or self.targets != "classes" or self.soft or not isinstance(y, Tensor):
            return y
        return (y.squeeze(1) if y.ndim > self.axes and y.shape[1] == 1 else y).long()

    def ignores(self, y: Tensor | None) -> bool:
        """Whether the criterion leaves out some of these targets."""
        if self.targets != "classes" or self.ignore_index is None or y is None or y.is_floating_point():
            return False
        return bool((y == self.ignore_index).any())


def averaged_as(task: Task) -> str | None:
    """What test-time augmentation averages: probabilities of classes or labels, or the outputs themselves, such as
    values and probabilities.
    """
    of_probabilities = is_one_of(task.criterion, (nn.BCELoss, nn.functional.binary_cross_entropy))
    return "values" if of_probabilities else task.targets


def output_of(model: nn.Module, x: Any) -> Any:
    """What the model gives for a first batch, in evaluation mode.

    Raises:
        DataError: it does not take the inputs.
    """
    try:
        with evaluating(model), torch.no_grad():
            return called(model, x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"the model must take the inputs, {_shape(x)}, got {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error


def outputs_of(model: nn.Module, x: Any) -> int:
    """The number of outputs of a sample: the second axis of what the model gives.

    Raises:
        DataError: it does not take the inputs, or gives no such tensor.
    """
    out = output_of(model, x)
    if not isinstance(out, Tensor) or out.ndim < 2:
        raise DataError(f"the model must give a tensor [batch, outputs, ...], got {_shape(out)}.")
    return int(out.shape[1])


def task_of(model: nn.Module, batch: Batch, loss: Criterion | None, targets: str | None) -> Task:
    """The task, by a first batch.

    Args:
        loss: the caller's criterion, or None.
        targets: what the caller says of the targets, or None: then torch's losses of classes and of labels say it; else
            floating-point ones are values; whole numbers are classes, and yes/no labels where the network gives one
            output for each of them.

    Raises:
        ConfigError: ``targets`` that are none, or no loss where none can be chosen.
        DataError: inputs that the model does not take, or outputs that do not fit the targets.
    """
    if targets not in (None, *KINDS):
        raise ConfigError("targets", f"one of {', '.join(KINDS)} or None", targets)
    y = batch.y
    if not isinstance(y, Tensor):
        if loss is None:
            raise ConfigError("loss", "given where the target is no tensor", None, f"The target is {told(y)}.")
        return Task(targets, None, loss)
    out = output_of(model, batch.x)
    if not isinstance(out, Tensor):
        if loss is None:
            way = "Pass one that takes what it needs, such as loss=lambda out, y: cross_entropy(out[0], y)."
            raise ConfigError("loss", "given where the model's output is no tensor", None, f"It is {told(out)}. {way}")
        return Task(targets or ("values" if y.is_floating_point() else "classes"), None, loss)
    if y.is_complex():
        raise DataError(f"targets must be real numbers, got {told(y)}.")
    if targets is None and is_one_of(loss, BY_LABEL):
        targets = "multilabel"
    elif targets is None and is_one_of(loss, BY_CLASS):
        targets = "classes"
    elif targets is None or (targets == "classes" and out.numel() == y.numel() and not y.is_floating_point()):
        targets = targets_of(out, y)
    known = loss is None or is_one_of(loss, (*BY_CLASS, *BY_VALUE))
    criterion = loss or default_criterion(y, targets)
    if targets == "classes":
        return _of_classes(out, y, criterion, known)
    if (known or targets == "multilabel") and (len(out) != len(y) or (not alike(out, y) and out.numel() != y.numel())):
        raise DataError(_mismatch(out, y, targets))
    if not known:
        _demand_pairs(criterion, out, y)
    return Task(targets, None, criterion, known=known)


def _demand_pairs(criterion: Criterion, out: Tensor, y: Tensor) -> None:
    """Refuse a loss of the caller's own in which [batch, 1] and [batch] are broadcast. As a mean over all pairs of an
    output and a target it does not change when the targets change places.

    Raises:
        UsageError: it is one.
    """
    if out.shape == y.shape or not alike(out, y) or not y.is_floating_point() or len(y) < 2:
        return
    if any(bool((part == part.flip(0)).all()) for part in (out.reshape(len(y), -1), y.reshape(len(y), -1))):
        return  # nothing changes places
    there, back = criterion(out, y), criterion(out, y.flip(0))
    if isinstance(there, Tensor) and (there.ndim or torch.isclose(there, back)):
        demand_samples(there if there.ndim else there.expand(len(y), len(y)), out, y)


def _of_classes(out: Tensor, y: Tensor, criterion: Criterion, known: bool) -> Task:
    """Classes: whole numbers of any type, or probabilities of the shape of the logits."""
    codes = class_codes(y, out).shape == (out.shape[0], *out.shape[2:])
    soft = y.is_floating_point() and y.shape == out.shape
    whole = not y.is_floating_point() or bool((y == y.round()).all())
    if known and (out.ndim < 2 or not (soft or (codes and whole))):
        raise DataError(_mismatch(out, y, "classes"))
    ignore = getattr(criterion, "ignore_index", None)
    if ignore is None and is_one_of(criterion, BY_CLASS):
        ignore = getattr(criterion, "keywords", {}).get("ignore_index", -100)  # torch's own
    classes = out.shape[1] if out.ndim > 1 else None
    return Task("classes", classes, criterion, ignore, known, max(out.ndim - 1, 1), soft)


def check_targets(name: str, y: Tensor, task: Task) -> None:
    """Refuse targets that the task has no place for, before work begins.

    Raises:
        DataError: a class that the network has no output for, a label that is neither yes nor no, or a value that is
            not finite.
    """
    y = y.cpu()
    if y.is_floating_point() and task.known and not bool(y.isfinite().all()):
        raise DataError(f"{name} must hold finite numbers, got NaN or infinity. Remove those rows.")
    if task.targets == "classes" and task.classes is not None and not y.is_floating_point():
        kept = y if task.ignore_index is None else y[y != task.ignore_index]
        demand_codes(kept, task.classes, name, f", as the model has {task.classes} outputs")
    if task.targets == "multilabel":
        demand_labels(y, name, ", one for each output of the model")


def _mismatch(out: Tensor, y: Tensor, targets: str) -> str:
    given = f"the model gives {list(out.shape)} for {'labels' if targets == 'multilabel' else targets} {list(y.shape)}"
    if targets == "classes":
        way = " Pass whole numbers, with y.long(), not floats." if y.is_floating_point() else ""
        return f"{given}: logits must be [batch, classes, ...], with the axes of the target after the classes.{way}"
    if targets == "multilabel":
        return f"{given}: multi-label targets need one output for each label."
    way = ""
    if out.ndim == y.ndim + 1 and bool((y == y.round()).all()):
        way = " If they are classes, pass whole numbers, with y.long()."
    elif y.is_floating_point() and out.shape == y.shape:
        way = " If they are class probabilities, say targets='classes'."
    return f"{given}: they must have the same number of values per sample.{way}"


def _shape(x: Any) -> str:
    return f"{list(x.shape)} of {str(x.dtype).removeprefix('torch.')}" if isinstance(x, Tensor) else told(x)
