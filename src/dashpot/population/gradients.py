"""Losses and gradients of all members: by the C++ program where the network is one, else by autograd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.running.criteria import own_number
from dashpot.core.stacks.stacked import StackedTechnique, fits_program
from dashpot.evaluation.losses import squared_error
from dashpot.population.members import Data, Plan
from dashpot.population.program.executor import ProgramExecutor
from dashpot.population.program.program import fitting_program
from dashpot.population.program.tracer import Recording
from dashpot.population.stack import normalizations
from dashpot.population.tensors import Block

NO_DRAWS = (np.zeros((0, 0), dtype=np.uint64), np.zeros((0, 0), dtype=np.float32))


class Gradients:
    """The forward and backward pass of a stack.

    Attributes:
        executor: runs the network as a C++ program; None where autograd does it.
        idle: the positions of parameters that get no gradient.
    """

    def __init__(self, block: Block, plan: Plan) -> None:
        self.block, self.plan = block, plan
        self.idle: set[int] = set()
        self.executor: ProgramExecutor | None = None

    def serve(
        self,
        at: Mapping[str, Sequence[StackedTechnique]],
        template: nn.Module,
        data: Data,
        seen: Recording | None,
        *,
        program: bool,
    ) -> None:
        """Begin with these techniques.

        Args:
            at: those that act at a point of a step.
            template: one member's network.
            seen: its steps, where they are known already.
            program: whether it may run as a program.
        """
        self._on_target, self._on_loss, self._on_activation = at["on_target"], at["on_loss"], at["on_activation"]
        if program and all(fits_program(t) for t in {*self._on_loss, *self._on_activation}):
            places = list(dict.fromkeys(site for t in self._on_activation for site in t.sites()))
            found = fitting_program(template, self.block, data, self.plan, places, seen)
            if found is not None:
                self.executor = ProgramExecutor(found, self.block)
                self.idle = set(range(len(self.block.segments))) - found.parameters

    def renew(self) -> None:
        """After members were removed: the block has other memory."""
        if self.executor is not None:
            self.executor = ProgramExecutor(self.executor.program, self.block)

    def of(
        self, x: Tensor, y: Tensor, weight: Tensor | None, grads: list[Tensor], *, learn: bool
    ) -> tuple[Tensor, bool]:
        """Put the gradients [member, *shape] of a batch [member, batch, ...] into ``grads``.

        Args:
            weight: of the samples [member, batch], > 0: the loss is their weighted mean; None: all the same.
            learn: whether running statistics move.

        Returns:
            The objective of each member, and whether other parameters are idle than before.
        """
        target = y.flatten(0, 1)
        share = None if weight is None else weight / weight.sum(dim=1, keepdim=True)
        for technique in self._on_target:
            target = technique.on_target(target)
        if self.executor is not None:
            grads[:] = self.executor.views
            target, squares = target.view(*y.shape[:2], *target.shape[1:]), self.plan.loss is squared_error
            return self.executor.train(x, target, *self._dropped(), share=share, learn=learn, squares=squares), False
        for technique in self._on_activation:
            technique.new_pass()
        if learn:
            return self._by_autograd(x, target, share, grads)
        with self._frozen_statistics():
            return self._by_autograd(x, target, share, grads)

    @torch.enable_grad()
    def _by_autograd(self, x: Tensor, target: Tensor, share: Tensor | None, grads: list[Tensor]) -> tuple[Tensor, bool]:
        out = self.block.network(x).flatten(0, 1)
        loss: Tensor = own_number(self.plan.loss, out, target)
        for technique in self._on_loss:
            loss = technique.on_loss(loss, out)
        # Members share no parameter: the gradient of the sum is each one's own.
        if share is None:
            each = loss.reshape(len(x), -1).mean(dim=1)
        else:
            each = (loss.reshape(*share.shape, -1).mean(dim=2) * share).sum(dim=1)
        parameters = self.block.parameters
        wanted = [t for t, p in enumerate(parameters) if p.requires_grad]
        found = torch.autograd.grad(each.sum(), [parameters[t] for t in wanted], allow_unused=True)
        own = dict(zip(wanted, found, strict=True))
        grads[:] = [torch.zeros_like(p) if (g := own.get(t)) is None else g for t, p in enumerate(parameters)]
        idle = {t for t in wanted if own[t] is None}
        moved, self.idle = idle != self.idle, idle
        return each.detach(), moved

    def _dropped(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys and rates of dropout for the program. A recipe may have several, at places of their own."""
        places = () if self.executor is None else self.executor.program.places
        if not places or not self._on_activation:
            return NO_DRAWS  # also where all rates are 0, so that nothing drops anywhere
        (keys, rates), *others = (technique.dropped(places) for technique in self._on_activation)
        for more, theirs in others:
            keys, rates = np.where(theirs > 0, more, keys), np.where(theirs > 0, theirs, rates)
        return keys, rates

    @contextmanager
    def _frozen_statistics(self) -> Iterator[None]:
        """Running statistics are left alone."""
        norms = [m for m in normalizations(self.block.network) if m.track_running_stats]
        for norm in norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True
