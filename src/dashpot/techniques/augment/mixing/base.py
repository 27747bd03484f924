"""``Mixing``: techniques that make each sample of a batch of two, and how they act on a stack of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import pairs_by, permutation_by, uniform_by
from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.rng import derive_all
from dashpot.core.rules import Rule
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.mixing import mix_rows
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.augment.mixing.mixed_targets import (
    blend,
    blendable,
    class_probabilities,
    classes_of,
    mix_weighted,
    plain_codes,
)
from dashpot.techniques.augment.mixing.partners import other_class, same_class

Drawn = dict[str, Tensor]
"""What is drawn for the samples of a batch, by name, [..., batch, ...] on the CPU: ``share`` (of the sample itself,
float32), ``order`` (the places of the partners), ``lots`` (where partners depend on the classes), and a mixer's own."""
SHARES, ORDER, CHOSEN, CORNERS, MIXERS, SCALES = range(1, 7)
"""The draws of a step, by their place in a technique's stream."""


STREAMS = np.array([SHARES, CHOSEN, ORDER, CORNERS], dtype=np.uint64)


class Mixing(Technique):
    """The base of techniques that mix each sample with a partner: what is drawn, and what happens to targets and
    weights. A subclass says how shares are drawn (:meth:`draw`) and how inputs are mixed (:meth:`mixed`).

    Class attributes:
        numbers: the fields that :meth:`draw` reads.
        moves: each position of the result is one of the sample's or of the partner's, so that a target of each position
            goes with it.
        centred: where :meth:`draw` draws shares of Beta(alpha, alpha) and nothing else, or centres of boxes too, which
            of both; C++ then draws all at once. None: something else.
    """

    rules = (
        Rule(
            "mixing-with-losses-of-one-class",
            "losses that take the number of one class, such as torch.nn.NLLLoss",
            "a blend is no number of a class, and torch refuses it.",
            "handled",
            "session.loss takes torch's own against each class by its share. A loss of your own gets blends: write it"
            " for them, or pass both targets' losses mixed.",
        ),
    )
    numbers: ClassVar[tuple[str, ...]] = ()
    moves: ClassVar[bool] = False
    centred: ClassVar[bool | None] = None

    @classmethod
    def draw(cls, keys: np.ndarray, numbers: Mapping[str, np.ndarray], n: int) -> Drawn:
        """For each key (uint64) and its numbers, the ``share`` [keys, n] of each sample, 1 where it stays as it is, and
        what else is drawn.
        """
        raise NotImplementedError  # each mixer defines it

    @classmethod
    def mixed(cls, x: Tensor, partner: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Inputs [batch, ...] mixed with those of their partners, and the shares (on the CPU) that came about."""
        raise NotImplementedError  # each mixer defines it

    @classmethod
    def paired(cls, x: Tensor, place: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """:meth:`mixed` with the partners at ``place`` [batch]; a mixer that need not gather them does so."""
        return cls.mixed(x, x.index_select(0, place), drawn)

    @classmethod
    def input(cls, x: Any) -> Tensor:
        """The input, or a UsageError where it cannot be mixed."""
        raise NotImplementedError  # each mixer defines it

    def of_session(self, x: Tensor, place: Tensor, drawn: Drawn, ctx: Context) -> tuple[Tensor, Tensor]:
        """:meth:`paired` in a session."""
        return type(self).paired(x, place, drawn)

    @classmethod
    def drawn(cls, keys: np.ndarray, numbers: Mapping[str, np.ndarray], n: int, *, lots: bool) -> Drawn:
        """All draws of the keys, [keys, n, ...]."""
        if cls.centred is not None:
            quick = pairs_by(keys, numbers["alpha"], numbers.get("p"), STREAMS, n, centres=cls.centred)
            if quick is not None:
                found = {
                    name: part
                    for name, part in zip(("share", "order", "corners"), quick, strict=True)
                    if part is not None
                }
                if lots:
                    found["lots"] = uniform_by(derive_all(keys, ORDER), n + 1)
                return found
        found = cls.draw(keys, numbers, n)
        if "p" in numbers and (numbers["p"] < 1).any():
            # In NumPy, which takes a fraction of torch's time for so few numbers.
            chosen = uniform_by(derive_all(keys, CHOSEN), n).numpy() < numbers["p"].astype(np.float32)[:, None]
            found["share"] = torch.from_numpy(np.where(chosen, found["share"].numpy(), np.float32(1)))
        found["order"] = permutation_by(derive_all(keys, ORDER), n)
        if lots:
            found["lots"] = uniform_by(derive_all(keys, ORDER), n + 1)
        return found

    def off(self) -> bool:
        """Whether it does nothing, by its present numbers."""
        return any(getattr(self, name) == value for name, value in self.off_values().items())

    def by_class(self) -> bool:
        """Whether partners depend on the classes."""
        return str(vars(self).get("partner", "any")) != "any"

    def check(self, view: ModelView, ctx: Context) -> None:
        name = type(self).__name__
        if ctx.ignore_index is not None and not self.moves:
            raise ConflictError(
                f"{name} and ignore_index cannot be combined: half of a blend would have no target. Leave such rows out"
                " of the batch, or give them weight 0."
            )
        if self.by_class() and ctx.targets not in (None, "classes"):
            raise ConflictError(
                f"{name} chooses partners by class, but the targets are {ctx.targets}. Say partner='any'."
            )

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        cls = type(self)
        x = cls.input(batch.x)
        if batch.mask is not None:
            raise UsageError(
                f"{cls.__name__} cannot blend padded or masked sequences: a blend of two has no length of its own."
                " Leave it out."
            )
        if self.off():
            return batch
        keys = np.array([ctx.draws().key], dtype=np.uint64)
        numbers = {name: np.array([getattr(self, name)], dtype=np.float64) for name in self.numbers}
        if isinstance(batch.y, Tensor) and batch.y.ndim and len(batch.y) != len(x):
            raise UsageError(
                f"{cls.__name__} needs a target for each sample, got {len(x)} samples and {len(batch.y)} targets."
            )
        drawn = cls.drawn(keys, numbers, len(x), lots=self.by_class())
        moved = self._moves(x, batch.y)
        if moved and batch.weight is not None:
            raise UsageError(
                f"{cls.__name__} cannot carry weights of samples to targets of each position. Leave out the weights, or"
                f" {cls.__name__}."
            )
        if ctx.ignore_index is not None and not moved:
            raise UsageError(
                f"{cls.__name__} and ignore_index can only be combined where each pixel has a target. Leave such rows"
                " out of the batch, or give them weight 0."
            )
        quick = (
            not moved and batch.weight is None and x.dtype != torch.float64 and plain_codes(batch.y, ctx, cls.__name__)
        )
        y = batch.y if moved or quick else blendable(batch.y, ctx, cls.__name__)
        place = drawn["order"]
        if self.by_class():
            codes = classes_of(batch.y, 1, cls.__name__)[None]
            classes = ctx.classes or y.shape[1]
            place = _by_class(self, codes, drawn["lots"].to(codes.device, non_blocking=True), classes)
        place = place[0].to(x.device, non_blocking=True)
        alone = {name: part[0] for name, part in drawn.items()}
        mixed, share = self.of_session(x, place, alone, ctx)
        if moved:
            return batch.replace(x=mixed, y=_positions(cls, y, place, alone))
        if quick:
            assert ctx.classes is not None, "their number is known"
            return batch.replace(x=mixed, y=mix_rows(y[None], place[None], share[None], ctx.classes)[0])
        share = share.to(x.device, non_blocking=True)
        y = y.double() if x.dtype == torch.float64 else y
        if batch.weight is None:
            return batch.replace(x=mixed, y=blend(y, y[place], share))
        y, weight = mix_weighted(y, batch.weight.float(), place, share)
        return batch.replace(x=mixed, y=y, weight=weight)

    @classmethod
    def _moves(cls, x: Tensor, y: Any) -> bool:
        """Whether each position of the target goes with its pixel."""
        each = isinstance(y, Tensor) and x.ndim == 4 and y.ndim > 2 and y.shape[-2:] == x.shape[-2:]
        return cls.moves and each


def _by_class(technique: Any, codes: Tensor, lots: Tensor, classes: int) -> Tensor:
    """The places of the partners [sets, batch]."""
    return same_class(codes, lots) if technique.partner == "same-class" else other_class(codes, lots, classes)


def _positions(cls: type[Mixing], y: Tensor, place: Tensor, drawn: Drawn) -> Tensor:
    """Targets of each position [batch, ..., height, width], moved as the pixels are."""
    planes = y.reshape(len(y), -1, *y.shape[-2:])
    return cls.mixed(planes, planes.index_select(0, place), drawn)[0].reshape(y.shape)


class StackedMixing(StackedTechnique):
    """All members' mixtures in one call; a share of 1 changes nothing, for members without the technique."""

    def init(self) -> dict[str, Tensor]:
        self.kind: type[Mixing] = next(type(t) for t in self.declared if t is not None)
        return {}

    def read(self) -> None:
        self.active = np.array([k for k, t in enumerate(self.techniques) if t is not None and not t.off()], dtype=int)
        self.numbers = {
            name: np.array([getattr(self.techniques[k], name) for k in self.active], dtype=np.float64)
            for name in self.kind.numbers
        }
        self.choosy = [k for k in self.active if self.techniques[k].by_class()]
        self.batch = 0

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._mixed(x, y, None)[:2]

    def on_weighted_batch(self, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, mixed = self._mixed(x, y, weight)
        return x, y, weight if mixed is None else mixed

    def quick(self, x: Tensor, y: Tensor, drawn: Drawn, classes: int) -> tuple[Tensor, Tensor] | None:
        """Inputs and targets (of ``classes``, 0: floating-point ones) mixed in a quicker way, or None."""
        return None

    def _mixed(self, x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        if not len(self.active):
            return x, y, weight
        members, n = x.shape[:2]
        if n != self.batch:
            self.batch, self.ahead_of = n, self.ahead(self._draw)
        drawn = self.ahead_of.now()
        flat = self.kind.input(x.flatten(0, 1))
        moved = self.kind._moves(flat, y.flatten(0, 1))
        if not moved and self.stack.targets != "classes" and not y.is_floating_point():
            y = y.float()  # yes/no labels
        classes = 0 if moved or y.is_floating_point() else self.stack.outputs_count
        if self.choosy:
            drawn = {**drawn, "order": self._chosen(drawn, y, classes)}
        found = None if moved or weight is not None else self.quick(x, y, drawn, classes)
        if found is not None:
            return *found, None
        first = n * torch.arange(members, device=drawn["order"].device)[:, None]
        place = (drawn["order"] + first).reshape(-1).to(x.device, non_blocking=True)
        alone = {name: part.flatten(0, 1) for name, part in drawn.items() if name != "lots"}
        mixed, share = self.kind.paired(flat, place, alone)
        mixed, target = mixed.view(x.shape), y.flatten(0, 1)
        if moved:
            return mixed, _positions(self.kind, target, place, alone).view(y.shape), weight
        target = class_probabilities(target, classes) if classes else target
        share = share.to(x.device, non_blocking=True)
        if weight is None:
            soft = blend(target, target.index_select(0, place), share)
        else:
            soft, weight = mix_weighted(target, weight.flatten(), place, share)
            weight = weight.view(members, n)
        return mixed, soft.view(members, n, *target.shape[1:]), weight

    def _chosen(self, drawn: Drawn, y: Tensor, classes: int) -> Tensor:
        """The places of the partners, where those of some members depend on the classes."""
        codes = classes_of(y, 2, self.kind.__name__)
        order, lots = (drawn[name].to(codes.device, non_blocking=True) for name in ("order", "lots"))
        order = order.clone()
        for k in self.choosy:
            order[k] = _by_class(self.techniques[k], codes[k : k + 1], lots[k : k + 1], classes or y.shape[2])[0]
        return order

    def _draw(self, steps: np.ndarray) -> Sequence[Drawn]:
        """For each step what all members draw, [member, batch, ...]."""
        members, n, some = len(self.techniques), self.batch, torch.from_numpy(self.active)
        keys = derive_all(self.keys[self.active], steps[:, None], 0, 0).ravel()
        numbers = {name: np.tile(values, len(steps)) for name, values in self.numbers.items()}
        whole = {}
        for name, part in self.kind.drawn(keys, numbers, n, lots=bool(self.choosy)).items():
            shape = (len(steps), members, *part.shape[1:])
            if name == "order":
                held = torch.arange(n, device="cpu").expand(shape).clone()
            else:
                held = torch.full(shape, float(name == "share"), device="cpu").to(part.dtype)
            held[:, some] = part.view(len(steps), len(self.active), *part.shape[1:])
            whole[name] = held
        return [{name: held[number] for name, held in whole.items()} for number in range(len(steps))]
