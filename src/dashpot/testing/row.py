"""Rows: a technique with what the laws need to test it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dashpot.core.fields.domains import Choice, Domain, Flag, Name, Range, Selection, When
from dashpot.core.technique import Technique
from dashpot.techniques.augment.text.base import TextTechnique
from dashpot.techniques.augment.text.on_ids import Ids
from dashpot.techniques.labels.prior import Shares
from dashpot.techniques.outputs.distillation import Network
from dashpot.techniques.penalties.grouping import Groups
from dashpot.techniques.penalties.target_size import Share, TargetSize
from dashpot.techniques.stopping.multi_metric_stopping import Monitors
from dashpot.techniques.stopping.time_limit import Duration
from dashpot.testing.toys import Modality, Toy
from dashpot.texts.functions import Function
from dashpot.texts.protecting import Protect
from dashpot.texts.tables import Source

FEW: tuple[Modality, ...] = ("table", "image", "text")
Arguments = Callable[[torch.dtype], tuple[Any, ...]]


@dataclass(frozen=True)
class Pure:
    """A pure function of a technique.

    Attributes:
        function: of tensors.
        arguments: makes its arguments in a dtype; strengths as 0-d tensors.
        strength: the position of the strength among them, or None.
        reference: the same in NumPy float64, written independently.
        differentiable: in its first argument, at the arguments given.
    """

    function: Callable[..., Tensor]
    arguments: Arguments
    reference: Callable[..., Any]
    strength: int | None = None
    differentiable: bool = True


@dataclass(frozen=True)
class Row:
    """A technique at a strong setting, with what the laws need to test it.

    Attributes:
        technique: at a setting that does much.
        toy: what it is trained on.
        functions: its pure functions, with their references.
        step: what evaluation sees after one step of SGD, in NumPy float64, written independently: of the weights
            [3, 4], the loss's gradient as a function of them, and the learning rate. It checks that the class agrees
            with its functions.
        others: more settings of the technique, for the laws of a technique at work.
        scores: the scores of its epochs, where it acts on them.
        only: the kinds of data whose toys have what it acts on; empty: all that its class takes.
    """

    technique: Technique
    toy: Toy = Toy()  # noqa: RUF009  (frozen)
    functions: tuple[Pure, ...] = ()
    step: Callable[[Any, Callable[[Any], Any], float], Any] | None = None
    others: tuple[Technique, ...] = ()
    scores: tuple[str, ...] = ("val_loss",)
    only: tuple[Modality, ...] = ()

    def toys(self) -> tuple[Toy, ...]:
        """The toys of its task that the technique can learn from: what changes inputs needs numbers, not tokens, and
        what is for images needs images. Signals are for what is for them: to others they are images with one axis less.
        """
        own = self.technique.requires
        fits: tuple[Modality, ...] = ("table", "image") if self.technique.defines("on_batch") else FEW
        fits = ("signal",) if "signal" in own.modality else fits
        if isinstance(self.technique, TextTechnique):
            texts = replace(self.toy, modality="text", strings=True)
            return (texts, replace(texts, strings=False)) if self.technique.on_ids else (texts,)
        return tuple(replace(self.toy, modality=kind) for kind in self.only or fits if own.fits(kind))

    def on(self, device: str) -> Row:
        """The same on a device: the toy problem, and the arguments of the functions."""
        return replace(
            self,
            toy=replace(self.toy, device=device),
            functions=tuple(replace(pure, arguments=_moved(pure.arguments, device)) for pure in self.functions),
        )


def _moved(arguments: Arguments, device: str) -> Arguments:
    def there(dtype: torch.dtype) -> tuple[Any, ...]:
        return tuple(a.to(device) if isinstance(a, Tensor) else a for a in arguments(dtype))

    return there


def bad_values(domain: Domain) -> list[Any]:
    """Values that ``domain`` must refuse."""
    if isinstance(domain, Range):
        bad: list[Any] = [math.nan, True, "a word", [1.0], 1j]
        bad += (
            []
            if math.isinf(domain.low)
            else [domain.low - 1] + ([domain.low] if domain.open in ("low", "both") else [])
        )
        bad += (
            []
            if math.isinf(domain.high)
            else [domain.high + 1] + ([domain.high] if domain.open in ("high", "both") else [])
        )
        bad += [0.5 + max(domain.low, 0)] if domain.integer else []
        bad += [math.inf] if domain.off != math.inf else []
        return bad + ([] if domain.optional else [None])
    if isinstance(domain, Choice):
        return ["a word", True, 1]
    if isinstance(domain, Flag):
        return [1, "yes", None]
    if isinstance(domain, Selection):
        return [3, "a word", "name:", None]
    if isinstance(domain, Groups):
        return [3, "a word", "heads:0", "block:2x", "index:", None]
    if isinstance(domain, Network):
        return ["nowhere:nothing", 3]
    if isinstance(domain, Function):
        return ["nowhere:nothing", 3, *([] if domain.optional else [None])]
    if isinstance(domain, Source):
        return ["nowhere.tsv", 3, {}, {"a": [""]}, {3: ["a"]}]
    if isinstance(domain, Protect):
        return ["", "(", "a*", "(a)b", 3, None]
    if isinstance(domain, Shares):
        return [(0.5, 0.6), (1.5, -0.5), (1.0,), "a word", 3, True]
    if isinstance(domain, Ids):
        return [(-1,), "a word", 3.5, None]
    if isinstance(domain, Duration):
        return ["", "a word", "-1s", 0, math.inf, True, None]
    if isinstance(domain, Monitors):
        return ["", "val_accuracy", "val_loss:up", "val_loss,val_loss:max", 3, None]
    if isinstance(domain, When):
        return ["", "a word", "-1steps", "101%", "5", 3, 0.75, None]
    if isinstance(domain, TargetSize):
        return ["", "a word", "2x parameters", "0 parameters", "20k", "2 faster", "0.5x faster", "-1 MB", 3, None]
    if isinstance(domain, Share):
        return [0, 1.5, -1, "", "a word", "0%", "101%", True, None]
    if isinstance(domain, Name):
        return ["", 3, None]
    raise AssertionError(f"no bad values known for {domain}")
