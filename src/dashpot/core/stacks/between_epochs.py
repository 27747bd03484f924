"""Techniques that act between epochs only, in a stack of members: each member's is called separately, as if alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from dashpot.core.points import Points, Scores, Verdict
from dashpot.core.running.context import Context
from dashpot.core.running.run import Run
from dashpot.core.stacks.stack import Stack
from dashpot.core.stacks.stacked import StackedTechnique


@dataclass
class _Member:
    """One member's run, as its technique sees it."""

    stack: Stack
    row: int
    path: str
    key: int
    technique: Points

    def __post_init__(self) -> None:
        stack = self.stack
        # The run must not hold what holds it, or a stack that is done would keep its memory.
        self.place = place = [self.row]
        seed, view = stack.members[self.row].seed, stack.view
        self.run = Run(view, view.optimizer, seed, lambda: stack.evaluated_row(place[0]), classes=stack.classes)
        self.run.steps, self.run.steps_per_epoch = stack.steps, stack.steps_per_epoch
        self.ctx = Context(self.run, self.path, self.key, self.technique)
        self.ctx.state = self.technique.init(view, self.ctx)


class BetweenEpochs(StackedTechnique):
    """The form of techniques that define ``on_epoch`` and ``final`` only."""

    def init(self) -> dict[str, Tensor]:
        self.own = [
            None if t is None else _Member(self.stack, k, self.path, int(self.keys[k]), t)
            for k, t in enumerate(self.techniques)
        ]
        return {}

    def keep(self, rows: Sequence[int]) -> None:
        self.own = [self.own[k] for k in rows]
        for k, member in enumerate(self.own):
            if member is not None:
                member.place[0] = k
        super().keep(rows)

    def adopt(self, sources: Sequence[tuple[StackedTechnique | None, int]]) -> None:
        for member, (source, row) in zip(self.own, sources, strict=True):
            theirs = source.own[row] if isinstance(source, BetweenEpochs) else None
            if member is not None and theirs is not None and type(theirs.technique) is type(member.technique):
                member.ctx.state = copy.copy(theirs.ctx.state)

    def on_epoch(self, scores: Sequence[Scores | None]) -> list[Verdict | None]:
        verdicts: list[Verdict | None] = []
        for technique, member, own in zip(self.techniques, self.own, scores, strict=True):
            if member is None or own is None:
                verdicts.append(None)
                continue
            member.run.step, member.run.epochs, member.ctx.technique = self.stack.step, self.stack.epoch, technique
            verdicts.append(technique.on_epoch(own, member.ctx))
        return verdicts

    def final(self, k: int) -> Mapping[str, Tensor] | None:
        technique, member = self.techniques[k], self.own[k]
        return technique.final(member.ctx) if member is not None and technique.defines("final") else None
