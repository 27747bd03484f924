"""Members of one shape, trained in lock-step as one stacked network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.fields.select import Where
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.stacked import defines
from dashpot.population.batches import StackedBatches
from dashpot.population.columns import adamw_shown, columns, demand_allowed
from dashpot.population.held_out import HeldOutScores
from dashpot.population.mapped import mapped
from dashpot.population.members import Data, Member, Plan
from dashpot.population.program.executor import ProgramExecutor
from dashpot.population.program.tracer import Recording
from dashpot.population.stack import NotStackableError, Stack, StackedLinear, stacked, unchecked
from dashpot.population.states import AGAIN, Saved, copied, evaluated, evaluated_row, evaluation_mode
from dashpot.population.step import StackedStep
from dashpot.population.tensors import Block


class StackedModels:
    """K networks of one shape, each with its own initial weights, learning rate, recipe, rows and order.

    Each equals the network that :func:`dashpot.fit` would have trained alone, to float rounding.

    Args:
        members: with as many training rows each, batches as large, and of one shape.
        models: their networks, with the initial weights.
        classes: outputs, for classification.
        stack: how the networks become one, :func:`stacked` or :func:`mapped`.
        seen: the steps of a network of this shape, where they are known already.
        checked: the networks of this shape were stacked before, and gave what they give alone.

    Attributes:
        step, epoch: completed.
        failed: members whose loss became NaN or infinite.
        index: the places in the members' rows of the batch that is under way.
        pixels: inputs are images.
        done: members that a technique, such as early stopping, has ended.
        best_epochs: of each member by such a technique, 0 where nothing is watched.
        techniques: of all members, by their place in the recipes.

    Raises:
        NotStackableError: why these members cannot be trained together.
    """

    def __init__(
        self,
        members: Sequence[Member],
        models: Sequence[nn.Module],
        data: Data,
        plan: Plan,
        classes: int | None,
        stack: Stack = stacked,
        seen: Recording | None = None,
        *,
        checked: bool = False,
    ) -> None:
        self.members, self.data, self.plan, self.classes = list(members), data, plan, classes
        self.stack, self.seen, self.device, self.targets = stack, seen, data.device, data.targets
        self.step = self.epoch = 0
        self.ahead = 1  # steps from now on whose batches are as large
        self.pixels = data.modality == "image"
        self.index = torch.empty(len(members), 0, dtype=torch.int64, device="cpu")
        self.failed = np.zeros(len(members), dtype=bool)
        self.done = np.zeros(len(members), dtype=bool)
        self.best_epochs = [0] * len(members)
        self.objective = np.zeros(len(members))
        self._batches = StackedBatches(members, data, plan)
        self.steps_per_epoch = len(self._batches)
        self.steps = plan.epochs * self.steps_per_epoch
        found = list(columns(self.members))
        inside = next((cls for _, cls, form, _ in found if defines(form, "on_activation")), None)
        if stack is mapped and inside is not None:
            raise NotStackableError(f"{inside.__name__}, whose hooks do not act inside vmap")
        self.template = models[0]
        checked = checked and stack is stacked
        whole = (unchecked(models) if checked else stack(models, self._batches.probe())).to(self.device)
        for module in whole.modules():
            if isinstance(module, StackedLinear):
                module.in_bfloat16 = plan.bfloat16
        self.view = ModelView(models[0], adamw_shown(models[0]))
        lengths = self.steps, self.steps_per_epoch
        demand_allowed(self.members, self.view, data, classes, self._batches.smallest, lengths)
        self._selected: dict[Where, list[int]] = {}
        self._saved: Saved | None = None
        self._fresh = False  # whether the copy is of these members
        self.block = Block(whole)
        self._step = StackedStep(self.block, plan)
        self.techniques = [form(self, path, column) for path, _, form, column in found]
        self._step.serve(self.techniques, self.template, data, seen, program=stack is stacked)
        on_batch = self._step.at["on_batch"]
        self._batches.keep_bytes = bool(on_batch) and on_batch[0].takes_bytes
        self._on_epoch, self._averages = self._step.at["on_epoch"], self._step.at["weights"]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def executor(self) -> ProgramExecutor | None:
        """What runs the network as a C++ program, where it is one."""
        return self._step.gradients.executor

    @property
    def outputs_count(self) -> int:
        """Classes of the outputs."""
        assert self.classes is not None, "classes are asked for where targets are values"
        return self.classes

    def selected(self, on: Where) -> list[int]:
        """The positions of the parameters that ``on`` selects. Those without a gradient are left out: optimizers pass
        over them, and so do decay and maps.
        """
        if on not in self._selected:
            names = set(self.view.names(on))
            self._selected[on] = [t for t, segment in enumerate(self.block.segments) if segment.name in names]
        return [t for t in self._selected[on] if t not in self._step.gradients.idle]

    def places(self, on: Where) -> list[str]:
        """The modules that ``on`` selects, by name."""
        return list(self.view.places(on))

    # --- training ----------------------------------------------------------------------------------------------------

    def train_epoch(self) -> None:
        """One epoch of every member."""
        self.epoch += 1
        self.block.network.train()
        lr = np.array([m.lr for m in self.members])
        total, steps = torch.zeros(len(self), device=self.device), self.steps_per_epoch
        for number, (index, x, y, weight) in enumerate(self._batches.epoch(self.members, self.epoch)):
            self.index = index
            factor = self.plan.schedule((self.epoch - 1 + number / steps) / self.plan.epochs)
            self.ahead = max(1, steps - 1 - number)  # the last batch may be smaller
            total += self._train_step(x, y, weight, lr * factor)
        self.objective = (total / steps).cpu().numpy()
        self.failed = ~np.isfinite(self.objective)
        self._end_epoch()

    def _train_step(self, x: Tensor, y: Tensor, weight: Tensor | None, lr: np.ndarray) -> Tensor:
        objective = self._step.take(x, y, weight, lr)
        self.step += 1
        return objective

    def _end_epoch(self) -> None:
        """Score the held-out rows of members with a technique that acts between epochs, and apply what it decides."""
        judged = {k for technique in self._on_epoch for k, t in enumerate(technique.techniques) if t is not None}
        watched = [m.watch if k in judged else None for k, m in enumerate(self.members)]
        if all(rows is None for rows in watched):
            return
        rows = [m.rows[:1] if own is None else own for m, own in zip(self.members, watched, strict=True)]
        scores = [
            None if own is None else HeldOutScores(out, self.data, self.data.index(m, own), self.plan.loss)
            for m, own, out in zip(self.members, watched, self.outputs(rows), strict=True)
        ]
        for technique in self._on_epoch:
            for k, verdict in enumerate(technique.on_epoch(scores)):
                if verdict is not None:
                    self.done[k] |= verdict.stop
                    self.best_epochs[k] = self.epoch if verdict.best else self.best_epochs[k]

    # --- evaluation --------------------------------------------------------------------------------------------------

    def evaluated(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The weights [members, values] and buffers that evaluation sees: averages where a member keeps them, zero
        where its raw weights are kept sparse.
        """
        return evaluated(self.block, self._averages, self._step.update.maps)

    def evaluated_row(self, k: int) -> dict[str, Tensor]:
        """Those of member k by name, copied."""
        return evaluated_row(self.block, self._averages, self._step.update.maps, k)

    @torch.no_grad()
    def outputs(self, rows: Sequence[np.ndarray], limit: int = 1 << 22) -> list[Tensor]:
        """Each member's outputs for its rows, in evaluation mode."""
        length = max(len(r) for r in rows)
        padded = [np.concatenate([r, np.full(length - len(r), r[0])]) for r in rows]
        index = torch.stack([self.data.index(m, r) for m, r in zip(self.members, padded, strict=True)])
        # A program keeps all activations of one member at a time; autograd's network those of all members in one layer.
        executor, now = self.executor, self.evaluated()
        if executor is not None:
            pieces = torch.split(index, max(1, limit // int(executor.program.widths.sum())), dim=1)
            out = torch.cat([executor.outputs(self.data.take(piece)[0], *now) for piece in pieces], dim=1)
        else:
            pieces = torch.split(index, max(1, limit // (len(self) * max(self.data.x[0].numel(), 64))), dim=1)
            with evaluation_mode(self.block, *now):
                out = torch.cat([self.block.network(self.data.take(piece)[0]) for piece in pieces], dim=1)
        return [out[k, : len(r)] for k, r in enumerate(rows)]

    # --- members -----------------------------------------------------------------------------------------------------

    def tensors(self, k: int) -> Mapping[str, Tensor]:
        """The weights and buffers that member k ends with: the best where a technique keeps them, else the averaged,
        else the last.
        """
        kept = (technique.final(k) for technique in self._step.at["final"])
        return next((tensors for tensors in kept if tensors), None) or self.evaluated_row(k)

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order; the others are removed."""
        rows = list(rows)
        self.members = [self.members[k] for k in rows]
        self._batches.keep(rows)
        self.failed, self.done, self.objective = self.failed[rows], self.done[rows], self.objective[rows]
        self.best_epochs = [self.best_epochs[k] for k in rows]
        self.block.keep(rows)
        self._step.keep(rows)
        self._fresh = False

    @classmethod
    def gathered(cls, members: Sequence[Member], sources: Sequence[tuple[StackedModels, int]]) -> StackedModels:
        """Members that go on from where others are: member k has the weights, moments, averages and best weights of row
        ``sources[k][1]`` of the stack ``sources[k][0]``, all of one shape and at one epoch. Recipe and learning rate
        are the new member's own; an average it alone has starts here.
        """
        one = sources[0][0]
        template = copy.deepcopy(one.template)  # its own: while other threads train, it is tried out
        args = (one.data, one.plan, one.classes, one.stack, one.seen)
        models = cls(members, [template] * len(members), *args, checked=True)
        models.step, models.epoch, step = one.step, one.epoch, models._step
        step.gradients.idle = set(one._step.gradients.idle)
        models.block.adopt([(source.block, row) for source, row in sources])
        step.update.adopt([(source._step.update, row) for source, row in sources])
        for technique in models.techniques:
            path = technique.path
            technique.adopt([(next((t for t in s.techniques if t.path == path), None), row) for s, row in sources])
        models.failed = np.array([source.failed[row] for source, row in sources])
        models.objective = np.array([source.objective[row] for source, row in sources])
        for k, (source, row) in enumerate(sources):
            if any(technique.techniques[k] is not None for technique in models._on_epoch):
                models.done[k], models.best_epochs[k] = source.done[row], source.best_epochs[row]
        step.read()
        return models

    # --- short memory ------------------------------------------------------------------------------------------------

    def saved(self) -> Saved:
        """What epochs change, copied before one of the last :data:`AGAIN` steps or now."""
        if not self._fresh or self._saved is None or self.step - self._saved.step >= AGAIN:
            self._saved, self._fresh = self._copy(), True
        return self._saved

    def put_back(self, saved: Saved) -> None:
        """The inverse of :meth:`saved`."""
        self.step, self.epoch, self._step.update.steps = saved.step, saved.epoch, saved.steps.copy()
        for mine, theirs in zip(self._tensors(), saved.tensors, strict=True):
            mine.copy_(theirs)
        self.block.network.train()
        self._step.read()

    def _copy(self) -> Saved:
        return Saved(self.step, self.epoch, self._step.update.steps.copy(), copied(self._tensors(), self._saved))

    def _tensors(self) -> list[Tensor]:
        state = [t for technique in self.techniques for t in technique.state_tensors()]
        update = self._step.update
        return [self.block.values, update.first, update.second, *self.block.buffers.values(), *state]
