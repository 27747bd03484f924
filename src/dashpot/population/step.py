"""One optimizer step of all members, with what their techniques do in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.points import runs_of
from dashpot.core.stacks.stacked import StackedTechnique, defines
from dashpot.population.gradients import Gradients
from dashpot.population.members import Data, Plan
from dashpot.population.program.tracer import Recording
from dashpot.population.tensors import Block
from dashpot.population.update import Maps, Update

StackedBatch = tuple[Tensor, Tensor, Tensor | None]
"""Inputs, targets and weights [member, batch, ...]."""
POINTS = (
    *("on_batch", "on_target", "on_activation", "on_loss", "on_gradient"),
    *("on_update", "before_update", "on_step", "on_epoch", "weights", "final"),
)


class StackedStep:
    """Batch, gradients, update.

    Attributes:
        update: AdamW's moments and its step.
        gradients: the forward and backward pass.
        at: the techniques that act at each point of a step, in their order.
    """

    def __init__(self, block: Block, plan: Plan) -> None:
        self.block, self.update, self.gradients = block, Update(block), Gradients(block, plan)

    def serve(
        self,
        techniques: Sequence[StackedTechnique],
        template: nn.Module,
        data: Data,
        seen: Recording | None,
        *,
        program: bool,
    ) -> None:
        """Begin with these techniques; see :meth:`Gradients.serve`."""
        self.techniques = techniques
        self.at = at = {point: [t for t in techniques if defines(type(t), point)] for point in POINTS}
        self.gradients.serve(at, template, data, seen, program=program)
        self._on_batch, self._on_gradient = runs_of(at["on_batch"], type), at["on_gradient"]
        self._on_update, self._before_update, self._on_step = at["on_update"], at["before_update"], at["on_step"]
        self._scheduled = [t for t in techniques if t.scheduled]
        self._moving = any(t.scheduled for t in self._on_update)
        self.read()

    def take(self, x: Tensor, y: Tensor, weight: Tensor | None, lr: np.ndarray) -> Tensor:
        """One step on a batch [member, batch, ...]; returns each member's objective."""
        if self._scheduled:
            self._follow()
        if self._on_batch:
            with torch.no_grad():
                for together, forms in self._on_batch:
                    if together is not None:
                        x, y = together(forms, x, y)
                    elif weight is None:
                        x, y = forms[0].on_batch(x, y)
                    else:
                        x, y, weight = forms[0].on_weighted_batch(x, y, weight)
        grads: list[Tensor] = []
        objective = self._compute((x, y, weight), grads)
        if self._on_gradient:
            self._change(grads, len(self._on_gradient), (x, y, weight))
        if self._before_update:
            with torch.no_grad():
                for technique in self._before_update:
                    technique.before_update(lr, lambda t: self.update.direction(t, grads[t]))
        self.update.step(grads, lr)
        if self._on_step:
            with torch.no_grad():
                for technique in self._on_step:
                    technique.on_step()
        return objective

    def read(self) -> None:
        """Prepare techniques, where they depend on the members or on which parameters get gradients."""
        for technique in self.techniques:
            technique.read()
        self.shrink()

    def shrink(self) -> None:
        """What acts on weights in the update, by member and parameter."""
        decay = np.zeros((len(self.block), len(self.block.segments)))
        maps: Maps = {}
        for technique in self._on_update:
            technique.on_update(decay, maps)
        self.update.shrink_by(decay, maps)

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order; the block has them already."""
        self.update.keep(rows)
        for technique in self.techniques:
            technique.keep(rows)
        self.gradients.renew()
        self.shrink()

    def _compute(self, batch: StackedBatch, grads: list[Tensor], *, learn: bool = True) -> Tensor:
        """Put the gradients into ``grads``; returns each member's objective."""
        objective, moved = self.gradients.of(*batch, grads, learn=learn)
        if moved:
            self.read()
        return objective

    @torch.no_grad()
    def _change(self, grads: list[Tensor], upto: int, batch: StackedBatch) -> None:
        """Leave the gradients as the first ``upto`` techniques make them. One that asks for another gradient gets it as
        all before it make it, with statistics left alone and the same masks.
        """
        for number, technique in enumerate(self._on_gradient[:upto]):
            for _ in technique.on_gradient(grads) or ():
                self._compute(batch, grads, learn=False)
                self._change(grads, number, batch)

    def _follow(self) -> None:
        """Numbers that follow the training, at this step."""
        for technique in self._scheduled:
            technique.follow()
        if self._moving:
            self.shrink()
