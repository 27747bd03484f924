"""Members of one shape, trained in lock-step as one stacked network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.rng import derive, generator, stream
from dashpot.core.select import Where
from dashpot.core.view import ModelView
from dashpot.evaluation.losses import squared_error
from dashpot.population.columns import adamw_shown, columns, demand_allowed
from dashpot.population.dropping import StackedDropout, first_calls
from dashpot.population.mapped import mapped
from dashpot.population.members import Data, Member, Plan
from dashpot.population.program.executor import ProgramExecutor
from dashpot.population.program.program import fitting_program
from dashpot.population.program.tracer import Recording
from dashpot.population.registry import ACTORS
from dashpot.population.stack import NotStackableError, Stack, StackedLinear, normalizations, stacked, unchecked
from dashpot.population.states import AGAIN, Evaluating, Saved, evaluated, evaluated_row, saved_from
from dashpot.population.tensors import Block
from dashpot.population.update import Update
from dashpot.population.watch import Watch
from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.penalties.penalty import Proximal
from dashpot.techniques.penalties.weight_decay import WeightDecay
from dashpot.training.batches import batch_edges

NO_DRAWS = (np.zeros((0, 0), dtype=np.uint64), np.zeros((0, 0), dtype=np.float32))


class StackedModels:
    """K networks of one shape, each with its own initial weights, learning rate, recipe, rows and order.

    Each equals the network that :func:`dashpot.fit` would have trained alone, to float rounding.

    Args:
        members: with as many training rows each, batches as large, and of one shape.
        models: their networks, with the initial weights.
        classes: outputs, for classification.
        stack: how the networks become one, :func:`stacked` or :func:`mapped`.
        seen: the steps of a network of this shape, where they are known already.
        checked: the networks of this shape were stacked before, and did as they do alone.

    Attributes:
        step, epoch: completed.
        failed: members whose loss became NaN or infinite.

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
        self.members, self.data, self.plan, self.classes, self.stack, self.seen = (
            list(members),
            data,
            plan,
            classes,
            stack,
            seen,
        )
        self.device = data.device
        self.step = self.epoch = 0
        self.ahead = 1  # steps from now on whose batches are as large
        self.calls: dict[str, int] = {}
        self.failed = np.zeros(len(members), dtype=bool)
        self.objective = np.zeros(len(members))
        self._rows = torch.stack([data.index(m, m.rows) for m in members])
        self._edges = batch_edges(self._rows.shape[1], plan.batch_of(members[0]))
        probe, _ = data.take(self._rows[0, : max(2, min(5, self._rows.shape[1]))])
        found = list(columns(self.members))
        if stack is mapped and any(cls is Dropout for _, cls, _ in found):
            raise NotStackableError("Dropout, whose hooks do not act inside vmap")
        self.template = models[0]
        whole = (unchecked(models) if checked and stack is stacked else stack(models, probe)).to(self.device)
        for module in whole.modules():
            if isinstance(module, StackedLinear):
                module.low = plan.low
        self._view = ModelView(models[0], adamw_shown(models[0]))
        demand_allowed(self.members, self._view, data, classes, min(stop - start for start, stop in self._edges))
        self._selected: dict[Where, list[int]] = {}
        self._idle: set[int] = set()
        self._before: Saved | None = None
        self._fresh = False  # whether the copy is of these members
        self.block = Block(whole)
        self.update = Update(self.block)
        self.actors = [ACTORS[cls](self, path, column) for path, cls, column in found if cls in ACTORS]
        self.watch = Watch(self)
        self._learn = True
        self.dropouts = [actor for actor in self.actors if isinstance(actor, StackedDropout)]
        places = list(dict.fromkeys(name for actor in self.dropouts for name in actor.rates))
        self._program = (
            fitting_program(self.template, self.block, data, plan, places, seen) if stack is stacked else None
        )
        self._idle = set(range(len(self.block.segments))) - self._program.parameters if self._program else set()
        self.runner = ProgramExecutor(self._program, self.block) if self._program else None
        self._shrink()

    def __len__(self) -> int:
        return len(self.members)

    @property
    def done(self) -> np.ndarray:
        """Members that early stopping has ended."""
        return self.watch.done

    @property
    def best_epochs(self) -> list[int]:
        """Of each member, 0 where nothing is watched."""
        return self.watch.best_epochs

    def selected(self, on: Where) -> list[int]:
        """The positions of the parameters that ``on`` selects."""
        if on not in self._selected:
            names = set(self._view.names(on))
            self._selected[on] = [t for t, segment in enumerate(self.block.segments) if segment.name in names]
        return [t for t in self._selected[on] if t not in self._idle]

    def places(self, on: Where) -> list[str]:
        """The modules that ``on`` selects, by name."""
        return list(self._view.places(on))

    # --- training ----------------------------------------------------------------------------------------------------

    def train_epoch(self) -> None:
        """One epoch of every member."""
        self.epoch += 1
        self.block.network.train()
        orders = [
            torch.randperm(self._rows.shape[1], generator=generator(derive(stream(m.seed, "order"), self.epoch)))
            for m in self.members
        ]
        index = self._rows.gather(1, torch.stack(orders).to(self.device))
        lr = np.array([m.lr for m in self.members])
        total = torch.zeros(len(self), device=self.device)
        for number, (start, stop) in enumerate(self._edges):
            factor = self.plan.schedule((self.epoch - 1 + number / len(self._edges)) / self.plan.epochs)
            self.ahead = max(1, len(self._edges) - 1 - number)  # the last batch may be smaller
            total += self._train_step(*self.data.take(index[:, start:stop]), lr * factor)
        self.objective = (total / len(self._edges)).cpu().numpy()
        self.failed = ~np.isfinite(self.objective)
        self.watch.look()

    def _train_step(self, x: Tensor, y: Tensor, lr: np.ndarray) -> Tensor:
        with torch.no_grad():
            for actor in self.actors:
                x, y = actor.on_batch(x, y)
        grads: list[Tensor] = []
        objective = self._gradients(x, y, grads)
        with torch.no_grad():
            for number, actor in enumerate(self.actors):
                again = actor.on_gradient(grads)
                for _ in again or ():
                    self._again(x, y, grads, number)
        if self._moving:
            self._shrink()
        self.update.step(grads, lr)
        with torch.no_grad():
            for actor in self.actors:
                actor.on_step()
        self.step += 1
        return objective

    def _gradients(self, x: Tensor, y: Tensor, grads: list[Tensor]) -> Tensor:
        """Put the gradients into ``grads``; returns the objective of each member."""
        self.calls.clear()
        target = y.flatten(0, 1)
        for actor in self.actors:
            target = actor.on_target(target)
        if self.runner is not None:
            grads[:] = self.runner.views
            draws = first_calls(self.dropouts, self.runner.program.places) if self.dropouts else NO_DRAWS
            return self.runner.train(
                x,
                target.view(*y.shape[:2], *target.shape[1:]),
                *draws,
                learn=self._learn,
                squares=self.plan.loss is squared_error,
            )
        with torch.enable_grad():
            out = self.block.network(x).flatten(0, 1)
            loss = self.plan.loss(out, target)
            for actor in self.actors:
                loss = actor.on_loss(loss, out)
            # Members share no parameter: the gradient of the sum is each one's own.
            each = loss.reshape(len(self), -1).mean(dim=1)
            wanted = [t for t, p in enumerate(self.block.parameters) if p.requires_grad]
            found = dict(
                zip(
                    wanted,
                    torch.autograd.grad(each.sum(), [self.block.parameters[t] for t in wanted], allow_unused=True),
                    strict=True,
                )
            )
        grads[:] = [
            torch.zeros_like(p) if (g := found.get(t)) is None else g for t, p in enumerate(self.block.parameters)
        ]
        idle = {t for t in wanted if found[t] is None}
        if idle != self._idle:  # optimizers pass over parameters without a gradient, and so do decay and maps
            self._idle = idle
            self._shrink()
        return each.detach()

    def _again(self, x: Tensor, y: Tensor, grads: list[Tensor], asking: int) -> None:
        """Gradients as all earlier actors make them, with statistics left alone and the same masks."""
        norms = [m for m in normalizations(self.block.network) if m.track_running_stats]
        for norm in norms:
            norm.track_running_stats = False
        self._learn = False
        self._gradients(x, y, grads)
        self._learn = True
        for norm in norms:
            norm.track_running_stats = True
        for actor in self.actors[:asking]:
            for _ in actor.on_gradient(grads) or ():
                raise NotStackableError("two techniques that need a second gradient")

    @property
    def outputs_count(self) -> int:
        """Classes of the outputs."""
        assert self.classes is not None, "classes are asked for where targets are values"
        return self.classes

    def _shrink(self) -> None:
        """What acts on weights in the update, by member and parameter."""
        decay = np.zeros((len(self), len(self.block.segments)))
        maps: dict[tuple[int, int], Proximal] = {}
        self._moving = False
        for k, member in enumerate(self.members):
            for technique in member.recipe:
                if isinstance(technique, WeightDecay):
                    decay[k, self.selected(technique.on)] = technique.strength
                elif isinstance(technique, Proximal):
                    now = technique.at(self.step)
                    self._moving = self._moving or bool(technique.schedules())
                    maps |= {(k, t): now for t in self.selected(technique.on)}
        self.update.shrink_by(decay, maps)

    # --- evaluation --------------------------------------------------------------------------------------------------

    def evaluated(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The weights [members, values] and buffers that evaluation sees: averages where a member keeps them, zero
        where its raw weights are kept sparse.
        """
        return evaluated(self)

    @torch.no_grad()
    def outputs(self, rows: Sequence[np.ndarray], limit: int = 1 << 22) -> list[Tensor]:
        """Each member's outputs for its rows, in evaluation mode."""
        length = max(len(r) for r in rows)
        padded = [np.concatenate([r, np.full(length - len(r), r[0])]) for r in rows]
        index = torch.stack([self.data.index(m, r) for m, r in zip(self.members, padded, strict=True)])
        # A program keeps all activations of one member at a time; autograd's network those of all members in one layer.
        widths = (
            len(self) * max(self.data.x[0].numel(), 64)
            if self.runner is None
            else int(self.runner.program.widths.sum())
        )
        pieces = torch.split(index, max(1, limit // widths), dim=1)
        if self.runner is not None:
            now = self.evaluated()
            out = torch.cat([self.runner.outputs(self.data.take(piece)[0], *now) for piece in pieces], dim=1)
        else:
            with Evaluating(self):
                out = torch.cat([self.block.network(self.data.take(piece)[0]) for piece in pieces], dim=1)
        return [out[k, : len(r)] for k, r in enumerate(rows)]

    # --- members -----------------------------------------------------------------------------------------------------

    def tensors(self, k: int) -> Mapping[str, Tensor]:
        """The weights and buffers that member k ends with: the best where it keeps them, else the averaged, else the
        last.
        """
        return self.watch.best(k) or evaluated_row(self, k)

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order; the others leave."""
        rows = list(rows)
        self.members = [self.members[k] for k in rows]
        self._rows = self._rows[rows]
        self.failed, self.objective = self.failed[rows], self.objective[rows]
        self.block.keep(rows)
        self.update.keep(rows)
        for actor in self.actors:
            actor.keep(rows)
        self.watch.keep(rows)
        self._fresh = False
        self.runner = ProgramExecutor(self._program, self.block) if self._program else None
        self._shrink()

    @classmethod
    def gathered(cls, members: Sequence[Member], sources: Sequence[tuple[StackedModels, int]]) -> StackedModels:
        """Members that go on from where others are: member k has the weights, moments, averages and best weights of row
        ``sources[k][1]`` of chunk ``sources[k][0]``, all of one shape and at one epoch. Recipe and learning rate are
        the new member's own; an average it alone has starts here.
        """
        one = sources[0][0]
        template = copy.deepcopy(one.template)  # its own: while other threads train, it is tried out
        chunk = cls(
            members, [template] * len(members), one.data, one.plan, one.classes, one.stack, one.seen, checked=True
        )
        chunk.step, chunk.epoch, chunk._idle = one.step, one.epoch, set(one._idle)
        chunk.block.adopt([(source.block, row) for source, row in sources])
        chunk.update.adopt([(source.update, row) for source, row in sources])
        for actor in chunk.actors:
            actor.adopt(
                [(next((a for a in source.actors if a.path == actor.path), None), row) for source, row in sources]
            )
        chunk.watch.adopt([(source.watch, row) for source, row in sources])
        chunk.failed = np.array([source.failed[row] for source, row in sources])
        chunk.objective = np.array([source.objective[row] for source, row in sources])
        chunk._shrink()
        return chunk

    def saved(self) -> Saved:
        """What epochs change, copied before one of the last :data:`AGAIN` steps or now."""
        if not self._fresh or self._before is None or self.step - self._before.step >= AGAIN:
            self._before, self._fresh = saved_from(self, self._before), True
        return self._before
