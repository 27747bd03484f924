"""A criterion as per-sample losses, for ``session.loss(criterion, out)``."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConfigError, UsageError
from dashpot.core.running.batch import reduced
from dashpot.core.running.targets import BY_CLASS, BY_LABEL, BY_NUMBER, aligned, demand_samples, is_one_of

Criterion = Callable[..., Any]
_REDUCTIONS = ("mean", "sum", "batchmean", "none")
_compared: weakref.WeakSet[Any] = weakref.WeakSet()
_settings: weakref.WeakKeyDictionary[Any, dict[str, Any] | None] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Samples:
    """The losses of samples, and how the criterion itself would make one number of them.

    Attributes:
        values: [batch, ...].
        reduction: ``"mean"``, ``"sum"`` or ``"batchmean"``.
        ignore_index: the class that the criterion leaves out, or None.
        class_weight: the weight of each position's class [batch, ...], where the mean is over these; else None.
        weighted: whether ``values`` contain that weight already.
        even: gives the losses against targets of one half, where the criterion is one of yes/no targets.
        smoothing: the label smoothing that ``values`` contain already.
        target: what the outputs are held against, where that is known.
        probabilities: the outputs are probabilities of yes, and no logits.
        weight: of each position in the one number, of the shape of ``values``, or None: all are equal.
    """

    values: Tensor
    reduction: str = "mean"
    ignore_index: int | None = None
    class_weight: Tensor | None = None
    weighted: bool = False
    even: Callable[[], Tensor] | None = None
    smoothing: float = 0.0
    target: Any = None
    probabilities: bool = False
    weight: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """The mean of ``values``, these or what became of them, over what counts; whatever the reduction is."""
        return replace(self, reduction="mean").reduce(values, self.weight)

    def reduce(self, values: Tensor, weight: Tensor | None, total: float | Tensor | None = None) -> Tensor:
        """``values``, these or what became of them, as one number, with ``weight`` for each position."""
        if self.class_weight is None:
            return reduced(values, weight, self.reduction, total=total)
        both = self.class_weight if weight is None else weight * self.class_weight
        if self.weighted:
            return reduced(values, weight, self.reduction, count=both, total=total)
        return reduced(values, both, self.reduction, total=total)


def samples_of(criterion: Criterion, out: Any, target: Any) -> Samples:
    """The losses of samples by a criterion: a function or loss module, with or without a ``reduction``.

    Raises:
        ConfigError: its reduction is none of the known ones, or not made of its values per sample.
        UsageError: it gives no tensor, or compares every output with every target.
    """
    options, target = _options(criterion), aligned(criterion, out, target)
    if options is None:
        values = criterion(out, target)
        if not isinstance(values, Tensor):
            raise UsageError(f"the criterion must return a tensor, got {type(values).__name__}.")
        demand_samples(values, out, target)
        return Samples(values)
    reduction = options["reduction"]
    if reduction not in _REDUCTIONS:
        raise ConfigError("criterion.reduction", f"one of {', '.join(_REDUCTIONS)}", reduction)
    if _blended(criterion, target):
        found = Samples(_expected(criterion, out, target), "mean" if reduction == "none" else reduction)
        demand_samples(found.values, out, target)
        return found
    if is_one_of(criterion, BY_CLASS):
        found = _cross_entropies(criterion, options, out, target)
    else:
        each = _with(criterion, reduction="none")
        even = (lambda: each(out, torch.full_like(out, 0.5))) if is_one_of(criterion, BY_LABEL) else None
        found = Samples(each(out, target), "mean" if reduction == "none" else reduction, even=even)
        found = replace(found, probabilities=is_one_of(criterion, (nn.BCELoss, functional.binary_cross_entropy)))
    demand_samples(found.values, out, target)
    if reduction != "none":
        _compare(criterion, found, out, target)
    return found


def _blended(criterion: Criterion, target: Any) -> bool:
    """Whether the targets are probabilities of classes, and the criterion takes the number of one class."""
    return isinstance(target, Tensor) and target.is_floating_point() and is_one_of(criterion, BY_NUMBER)


def _expected(criterion: Criterion, out: Tensor, target: Tensor) -> Tensor:
    """The mean of each sample's losses against all classes, by its probabilities [batch, classes, ...] of these: what
    the blend of two samples' losses is, for any loss.
    """
    each, columns = _with(criterion, reduction="none"), target.unbind(1)
    number = torch.zeros_like(columns[0], dtype=torch.long)
    losses = [share * each(out, number + k) for k, share in enumerate(columns)]
    return torch.stack(losses).sum(0)


def _cross_entropies(criterion: Criterion, options: dict[str, Any], out: Any, target: Tensor) -> Samples:
    """Cross entropy and NLL: their mean is over the weights of the classes, without the class that is ignored."""
    reduction = "mean" if options["reduction"] == "none" else options["reduction"]
    smoothing = float(options.get("label_smoothing") or 0.0)
    if target.is_floating_point():  # class probabilities: the mean is over samples
        return Samples(_with(criterion, reduction="none")(out, target), reduction, smoothing=smoothing)
    ignore, weight = options.get("ignore_index"), options.get("weight")
    if weight is None:
        return Samples(_with(criterion, reduction="none")(out, target), reduction, ignore, smoothing=smoothing)
    weight = weight.to(out)[target.masked_fill(target.eq(-1 if ignore is None else ignore), 0)]
    if smoothing:  # the smoothed part is weighted by all classes
        each = _with(criterion, reduction="none")(out, target)
        return Samples(each, reduction, ignore, weight, weighted=True, smoothing=smoothing)
    return Samples(_with(criterion, reduction="none", weight=None)(out, target), reduction, ignore, weight)


def own_number(criterion: Criterion, out: Any, target: Any) -> Any:
    """What the criterion itself gives, for the target as it takes it.

    Raises:
        UsageError: it compares every output with every target.
    """
    target = aligned(criterion, out, target)
    if _blended(criterion, target) and _options(criterion) is not None:
        found = samples_of(criterion, out, target)
        return (
            found.values if (_options(criterion) or {}).get("reduction") == "none" else found.reduce(found.values, None)
        )
    value = criterion(out, target)
    if isinstance(value, Tensor):
        demand_samples(value, out, target)
    return value


def reduces(criterion: Criterion) -> bool:
    """Whether the criterion makes one number by itself."""
    options = _options(criterion)
    return options is not None and options["reduction"] != "none"


def _options(criterion: Criterion) -> dict[str, Any] | None:
    """Its settings where it has a ``reduction``, else None."""
    if isinstance(criterion, nn.Module):
        if not isinstance(getattr(criterion, "reduction", None), str):
            return None
        return {
            name: getattr(criterion, name, None) for name in ("reduction", "weight", "ignore_index", "label_smoothing")
        }
    if criterion in _settings:
        return _settings[criterion]
    try:
        parameters = inspect.signature(criterion).parameters
    except (TypeError, ValueError):  # made in C, without a signature
        return None
    found = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    options = found if isinstance(found.get("reduction"), str) else None
    with contextlib.suppress(TypeError):  # what cannot be referred to weakly is read each time
        _settings[criterion] = options
    return options


def _with(criterion: Criterion, **options: Any) -> Criterion:
    """The criterion with other settings; the one that came stays as it is."""
    if not isinstance(criterion, nn.Module):
        return functools.partial(criterion, **options)
    twin = copy.copy(criterion)
    twin._buffers = dict(twin._buffers)
    for name, value in options.items():
        setattr(twin, name, value)
    return twin


def _compare(criterion: Criterion, found: Samples, out: Any, target: Any) -> None:
    """Once for each criterion: whether its own number is made of its losses of samples."""
    if criterion in _compared:
        return
    with torch.no_grad():
        own = criterion(out, target)
        weight = None
        if found.ignore_index is not None:
            weight = (target != found.ignore_index).to(found.values)
        mine = found.reduce(found.values, weight)
    if bool(own.isfinite()) and not torch.allclose(own.double(), mine.double(), rtol=1e-2, atol=1e-6):
        raise ConfigError(
            "criterion",
            f"one whose {found.reduction} is that of its values with reduction='none' ({float(mine):.6g})",
            float(own),
            "Pass the loss of each sample instead.",
        )
    _compared.add(criterion)
