"""Targets in the form that a loss of torch takes, and losses that are of samples and not of pairs of them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConfigError, DataError, UsageError
from dashpot.core.fields.domains import check_whole

BY_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss, functional.cross_entropy, functional.nll_loss)
"""torch's losses of logits or log-probabilities [batch, classes, ...] against classes or class probabilities."""
BY_NUMBER = (nn.NLLLoss, nn.MultiMarginLoss, functional.nll_loss, functional.multi_margin_loss)
"""torch's losses of classes that take the number of one class, and no probabilities."""
BY_LABEL = (
    *(nn.BCEWithLogitsLoss, nn.BCELoss),
    *(functional.binary_cross_entropy_with_logits, functional.binary_cross_entropy),
)
"""torch's losses of yes/no targets, each against an output of its own."""
BY_VALUE = (
    *BY_LABEL,
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss, nn.SoftMarginLoss),
    *(functional.mse_loss, functional.l1_loss, functional.smooth_l1_loss, functional.huber_loss),
    *(functional.poisson_nll_loss, functional.soft_margin_loss),
)
"""torch's losses of each output against a target of its own; most of them broadcast."""


def is_one_of(criterion: Any, known: tuple[Any, ...]) -> bool:
    """Whether a criterion is one of these modules or functions of torch, or a ``functools.partial`` of one."""
    if isinstance(criterion, functools.partial):
        return is_one_of(criterion.func, known)
    if isinstance(criterion, nn.Module):
        return isinstance(criterion, tuple(kind for kind in known if isinstance(kind, type)))
    return any(criterion is function for function in known)


def aligned(criterion: Any, out: Any, y: Any) -> Any:
    """The target as a loss of torch takes it for this output; for any other criterion it stays as it is.

    Whole numbers of any type become int64 classes, or floating-point values and labels; [batch, 1] and [batch] are the
    same; float64 becomes the output's type.

    Raises:
        UsageError: values of another shape than the output, which torch would broadcast.
    """
    if not isinstance(out, Tensor) or not isinstance(y, Tensor):
        return y
    if is_one_of(criterion, BY_CLASS):
        return in_type_of(y, out) if y.is_floating_point() else class_codes(y, out)
    if not is_one_of(criterion, BY_VALUE):
        return y
    y = in_type_of(y, out)
    if is_one_of(criterion, BY_LABEL) and y.shape == (len(out), 2) and out.numel() == len(out):
        y = y[:, 1]  # probabilities of two classes, as blends are, say yes by the second
    if y.shape == out.shape:
        return y
    if not y.ndim or len(y) != len(out) or not alike(y, out):
        raise UsageError(
            f"the model gives {list(out.shape)} for targets {list(y.shape)}: they must have the same number of values"
            " per sample."
        )
    return y.reshape(out.shape)


def in_type_of(y: Tensor, out: Tensor) -> Tensor:
    """Values, labels or probabilities in the type of the output, where torch would not convert them or one of the two
    is float64; halves are left to it.
    """
    other = not y.is_floating_point() or (y.dtype != out.dtype and torch.float64 in (y.dtype, out.dtype))
    return y.to(out.dtype) if other else y


def class_codes(y: Tensor, out: Tensor) -> Tensor:
    """Whole numbers as int64 classes; [batch, 1, ...] for logits [batch, classes, ...] as [batch, ...]."""
    y = y if y.dtype == torch.long else y.long()
    return y.squeeze(1) if y.ndim == out.ndim and y.ndim > 1 and y.shape[1] == 1 else y


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have as many values in one order: their shapes differ by axes of length 1 at most."""
    return [n for n in a.shape if n != 1] == [n for n in b.shape if n != 1]


def to_loss(part: Tensor, loss: Tensor, name: str) -> Tensor:
    """A target or mask of each position, to be multiplied with a loss that may be flattened, or have axes of length 1
    more or less, or further axes at the end.

    Raises:
        UsageError: it is of other positions.
    """
    flattened = part.numel() == loss.numel() and 1 in (part.ndim, loss.ndim)
    if part.shape == loss.shape or flattened or alike(part, loss):
        return part.reshape(loss.shape)
    if part.shape == loss.shape[: part.ndim]:
        return part.reshape(*part.shape, *[1] * (loss.ndim - part.ndim))
    raise UsageError(
        f"{name} {list(part.shape)} does not fit a loss {list(loss.shape)}: their first axes must agree. Compute the"
        ' loss with reduction="none", batch first.'
    )


def demand_samples(values: Tensor, out: Any, y: Any) -> None:
    """Refuse a loss in which outputs and targets were broadcast against each other.

    Raises:
        UsageError: it has more values than outputs and targets.
    """
    if not isinstance(out, Tensor) or not isinstance(y, Tensor):
        return
    if values.ndim > 1 and values.numel() > max(out.numel(), y.numel()):
        raise UsageError(
            f"the loss {list(values.shape)} compares every output with every target: the model gives"
            f" {list(out.shape)} for targets {list(y.shape)}. Give both one shape, with y.reshape(out.shape) or"
            " out.squeeze(1)."
        )


def demand_labels(y: Tensor, name: str, of: str = "") -> None:
    """Refuse labels that are neither yes nor no. Only on a CPU: a GPU would have to wait.

    Args:
        of: what they are for, in words.

    Raises:
        DataError: a value outside [0, 1].
    """
    if y.device.type == "cpu" and y.numel() and not bool(((y >= 0) & (y <= 1)).all()):
        raise DataError(
            f"{name} must be labels 0 and 1{of}, or between, got {float(y.min()):g} to {float(y.max()):g}. Number them"
            " so; values to predict are floats, with targets='values'."
        )


def demand_codes(y: Tensor, classes: int, name: str, of: str = "") -> None:
    """Refuse codes that are no classes. Only on a CPU: a GPU would have to wait, and cross entropy refuses them there.

    Args:
        of: where the number of classes is from, in words.

    Raises:
        DataError: a code outside 0 to ``classes`` - 1.
    """
    if y.device.type != "cpu" or not y.numel():
        return
    low, high = (int(end) for end in torch.aminmax(y))
    if low < 0 or high >= classes:
        raise DataError(
            f"{name} must be classes 0 to {classes - 1}{of}, got {low} to {high}. Number them from 0, with"
            " torch.unique(y, return_inverse=True)[1]."
        )


def check_classes(classes: int | None) -> None:
    """Refuse a number of classes that is none; None: it is not known.

    Raises:
        ConfigError: a number below 2.
    """
    if classes is not None and check_whole("classes", classes) < 2:
        raise ConfigError(
            "classes",
            "at least 2",
            classes,
            "A network with one output for yes and no has no classes: attach with targets='multilabel'.",
        )
