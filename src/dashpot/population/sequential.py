"""``SequentialTrainer``: members that cannot be stacked, trained one after another, with the interface of a stack."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from dashpot.evaluation.losses import predict
from dashpot.population.held_out import HeldOutScores
from dashpot.population.members import Data, Member, Plan, initial
from dashpot.population.own_random import own_random
from dashpot.training.batches import Batches
from dashpot.training.clock import Clock
from dashpot.training.epoch import train_epoch
from dashpot.training.setup import adamw_for


class SequentialTrainer:
    """Members with a network, an optimizer and a session each."""

    def __init__(
        self, members: Sequence[Member], models: Sequence[nn.Module], data: Data, plan: Plan, classes: int | None
    ) -> None:
        self.members, self.data, self.plan, self.classes = list(members), data, plan, classes
        self.epoch = self.step = 0
        self.failed = np.zeros(len(members), dtype=bool)
        self.done = np.zeros(len(members), dtype=bool)
        self.objective = np.zeros(len(members))
        self.best_epochs = [0] * len(members)
        self.models = [model.to(data.device) for model in models]
        self._optimizers = [adamw_for(model, None, m.lr) for model, m in zip(self.models, members, strict=True)]
        self._batches = [
            Batches("data", _rows(data, m), plan.batch_of(m), m.seed, data.device, data.modality) for m in members
        ]
        self._sessions = [
            m.recipe.attach(
                model,
                optimizer,
                seed=m.seed,
                classes=classes,
                targets=data.targets,
                modality=data.modality,
                batch_size=batches.smallest,
                closure=any(t.evaluations > 1 for t in m.recipe),
                steps=plan.epochs * len(batches),
                steps_per_epoch=len(batches),
            )
            for m, model, optimizer, batches in zip(members, self.models, self._optimizers, self._batches, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.members)

    def begin(self) -> None:
        """Set the step of its techniques, too: draws and strengths are functions of it."""
        for session in self._sessions:
            session.move_to(self.step, self.epoch)

    def train_epoch(self) -> None:
        """One epoch of every member."""
        self.epoch += 1
        for k, member in enumerate(self.members):
            if self.done[k] or self.failed[k]:
                continue
            args = (
                self._sessions[k],
                self.models[k],
                self._optimizers[k],
                self._batches[k],
                self.plan.loss,
                self.plan.schedule,
            )
            with own_random(self.data.device) as stepped:
                steps = train_epoch(*args, self.epoch, Clock(self.plan.epochs), self.data.device, stepped)
            self.objective[k] = float(steps.total) / len(self._batches[k])
            self.failed[k] = not np.isfinite(self.objective[k])
            if member.watch is not None and not self.failed[k]:
                scores = self._measured(k, self.data.index(member, member.watch), member.watch)
                verdict = self._sessions[k].epoch(scores)
                self.done[k] = verdict.stop
                self.best_epochs[k] = self.epoch if verdict.best else self.best_epochs[k]
        self.step += len(self._batches[0]) if self._batches else 0

    def _measured(self, k: int, places: Tensor, rows: np.ndarray) -> HeldOutScores:
        return HeldOutScores(self._outputs(k, rows), self.data, places, self.plan.loss)

    def outputs(self, rows: Sequence[np.ndarray]) -> list[Tensor]:
        """Each member's outputs for its rows, in evaluation mode."""
        return [self._outputs(k, r) for k, r in enumerate(rows)]

    def _outputs(self, k: int, rows: np.ndarray) -> Tensor:
        x, _ = self.data.take(self.data.index(self.members[k], rows))
        with self._sessions[k].evaluate() as model:
            return predict(model, x)

    def tensors(self, k: int) -> Mapping[str, Tensor]:
        """The weights and buffers that member k ends with."""
        return {name: t.detach().clone() for name, t in self._sessions[k].export().state_dict().items()}

    @classmethod
    def gathered(cls, members: Sequence[Member], sources: Sequence[tuple[SequentialTrainer, int]]) -> SequentialTrainer:
        """Members that go on from where others are; see :meth:`dashpot.population.models.StackedModels.gathered`."""
        one = sources[0][0]
        models = [initial(member) for member in members]
        for model, (source, row) in zip(models, sources, strict=True):
            model.load_state_dict(source.models[row].state_dict(), strict=False)
        trainer = cls(members, models, one.data, one.plan, one.classes)
        for model, (source, row) in zip(trainer.models, sources, strict=True):  # with what techniques have added
            model.load_state_dict(source.models[row].state_dict(), strict=False)
        trainer.epoch, trainer.step = one.epoch, one.step
        for k, (source, row) in enumerate(sources):
            mine, theirs = trainer._optimizers[k], source._optimizers[row]
            mine.load_state_dict(
                {**copy.deepcopy(theirs.state_dict()), "param_groups": mine.state_dict()["param_groups"]}
            )
            session, other = trainer._sessions[k], source._sessions[row]
            states = {(ctx.path, type(t)): ctx.state for t, ctx in other.attached}
            for technique, ctx in session.attached:
                ctx.state = copy.deepcopy(states.get((ctx.path, type(technique)), ctx.state))
            session.move_to(other.step, other.epochs)
            trainer.objective[k] = source.objective[row]
            if any(t.defines("on_epoch") for t in members[k].recipe):
                trainer.best_epochs[k] = source.best_epochs[row]
        return trainer

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members; the others are removed, and so are the hooks of their networks."""
        rows = list(rows)
        for k in set(range(len(self.members))) - set(rows):
            self._sessions[k].close()
        lists: tuple[list[Any], ...] = (
            self.members,
            self.models,
            self._optimizers,
            self._batches,
            self._sessions,
            self.best_epochs,
        )
        for values in lists:
            values[:] = [values[k] for k in rows]
        self.failed, self.done, self.objective = self.failed[rows], self.done[rows], self.objective[rows]


def _rows(data: Data, member: Member) -> tuple[Tensor, ...]:
    """A member's inputs and targets, and weights if there are any."""
    index = data.index(member, member.rows)
    weight = data.weights(index)
    return data.held(index) if weight is None else (*data.held(index), weight)


def rebuilt(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``model`` with these weights and buffers, in evaluation mode."""
    twin = copy.deepcopy(model)
    twin.load_state_dict(dict(tensors), strict=False)
    return twin.eval()
