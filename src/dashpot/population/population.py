"""``Population``: any networks, trained together where that is faster; members can be removed at any epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.threads import scoped
from dashpot.evaluation.losses import Criterion, predict
from dashpot.population.cache import ArchitectureCache
from dashpot.population.columns import side_by_side, why_not
from dashpot.population.members import Data, Member, Plan, initial, shape_of
from dashpot.population.models import StackedModels
from dashpot.population.planner import Group, Planner
from dashpot.population.precision import chosen, some_of
from dashpot.population.sequential import SequentialTrainer, rebuilt
from dashpot.population.sizes import even, keep_memory, out_of_memory
from dashpot.population.work import Work
from dashpot.training.batches import batch_edges
from dashpot.training.setup import pick_device, schedule_of


class Population:
    """Networks trained in lock-step, epoch by epoch.

    Members of one shape with as many rows and batches as large are stacked in parts that fit the cache (all of them on
    a GPU); what cannot be stacked is trained one by one, with the same results.

    Args:
        members: the networks; their position is their number.
        sets: data sets (x, y) of the same rows, such as one for each fold's preprocessing.
        epochs: over which the learning rate falls.
        batch_size: rows per step of members that do not say their own.
        schedule, loss, device: as in :func:`dashpot.fit`.
        bfloat16: multiply wide matrices in bfloat16 while training; ``None``: where a measurement says that it pays.
        stack: False trains one by one.
        cache: what earlier populations of the same data measured of architectures; this one adds to it.
        modality: what the inputs are, as in :func:`dashpot.fit`.
        weight: of the rows [n], > 0, as in :func:`dashpot.fit`: in the loss and in what early stopping watches.

    Attributes:
        alive: the numbers of the members that go on.
        failed: those that were removed since their loss was not finite.
        best_epochs: by number, for members with early stopping.
        notes: why some members are mapped or trained one by one.

    Example:
        >>> import numpy as np, torch, dashpot
        >>> x = torch.randn(60, 4); y = (x[:, 0] > 0).long()
        >>> def make(): return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> recipe = dashpot.Recipe((dashpot.L1(strength=1e-3),))
        >>> members = [Member(make=make, recipe=recipe, lr=lr, seed=0, rows=np.arange(40)) for lr in (1e-3, 1e-2)]
        >>> population = Population(members, [(x, y)], epochs=5, batch_size=20)
        >>> population.train(5)
        True
        >>> [tuple(out.shape) for out in population.outputs({0: np.arange(40, 60), 1: np.arange(40, 60)}).values()]
        [(20, 2), (20, 2)]
    """

    def __init__(
        self,
        members: Sequence[Member],
        sets: Sequence[tuple[Tensor, Tensor]],
        *,
        epochs: int,
        batch_size: int,
        schedule: str | Callable[[float], float] = "cosine",
        loss: Criterion | None = None,
        device: str | torch.device = "auto",
        bfloat16: bool | None = None,
        stack: bool = True,
        cache: ArchitectureCache | None = None,
        modality: str | None = None,
        weight: Tensor | None = None,
    ) -> None:
        self.members: list[Member] = []
        self.device = pick_device(device)
        self.data = Data(sets, self.device, modality, weight)
        self.data.learn(members[:1], loss)
        self.plan = Plan(epochs, batch_size, schedule_of(schedule), loss or self.data.loss, bool(bfloat16))
        if bfloat16 is None:
            own: dict[str, Any] = {"epochs": 100, "batch_size": batch_size, "loss": loss, "device": device}
            few = some_of(members, self.plan.batch_of)
            found = chosen(
                lambda low: Population(few, sets, bfloat16=low, stack=stack, modality=modality, **own), self.device
            )
            self.plan = replace(self.plan, bfloat16=found.bfloat16)
        self.alive: list[int] = []
        self.failed: list[int] = []
        self.best_epochs: dict[int, int] = {}
        self.epoch = 0
        self.notes: list[str] = []
        self.member_steps = 0
        self._work = Work(self.data, self.plan)
        self._left: dict[int, Mapping[str, Tensor]] = {}
        self._groups: list[tuple[Group, list[int]]] = []
        self._planner = Planner(self.data, self.plan, stack, self._note, cache)
        keep_memory()
        self.add(members)

    def add(self, members: Sequence[Member], at_epoch: int = 0) -> list[int]:
        """More members, from their initial weights; those here before are not touched.

        Args:
            members: the networks.
            at_epoch: where on the schedule they begin, as if so many epochs were done.

        Returns:
            Their numbers.
        """
        at_epoch = check_whole("at_epoch", at_epoch, low=0)
        numbers = list(range(len(self.members), len(self.members) + len(members)))
        self.members += members
        self.alive += numbers
        parts: dict[Any, list[int]] = {}
        for i in numbers:
            m = self.members[i]
            # What only some recipes lack does not hold up the others.
            parts.setdefault((shape_of(m, self.plan), all(why_not(t) is None for t in m.recipe)), []).append(i)
        for part in parts.values():
            size = self._planner.size(self.members[part[0]])
            alike = side_by_side([self.members[i].recipe for i in part])
            for piece in (piece for positions in alike for piece in even([part[k] for k in positions], size)):
                group = self._planner.group([self.members[i] for i in piece])
                first = self.members[piece[0]]
                steps = len(batch_edges(len(first.rows), self.plan.batch_of(first)))
                group.epoch, group.step = at_epoch, at_epoch * steps
                if isinstance(group, SequentialTrainer):
                    group.begin()
                self._groups.append((group, piece))
        return numbers

    def clone(
        self,
        number: int,
        *,
        recipe: Recipe | None = None,
        lr: float | None = None,
        seed: int | None = None,
        into: Population | None = None,
    ) -> int:
        """A new member that goes on from where another is: its weights, moments, averages, best weights and epoch.

        Args:
            number: the member to copy; alive.
            recipe, lr, seed: its own from here on, else the other's. With the same seed it sees the same rows and
                draws.
            into: another population of the same data, plan and device, of which it becomes a member instead.

        Returns:
            Its number there.

        Raises:
            UsageError: the member is not alive.
        """
        if number not in self.alive:
            raise UsageError(f"member {number} is not alive: there is no state to go on from. Clone it before keep().")
        given = {"recipe": recipe, "lr": lr, "seed": seed}
        own: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        new = replace(self.members[number], **own)
        group, row = next((group, own.index(number)) for group, own in self._groups if number in own)
        home = self if into is None else into
        home.members.append(new)
        home.alive.append(len(home.members) - 1)
        home._groups.append((self._planner.clone(group, row, new), [home.alive[-1]]))
        if number in self.best_epochs and any(t.defines("on_epoch") for t in new.recipe):
            home.best_epochs[home.alive[-1]] = self.best_epochs[number]
        return home.alive[-1]

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def train(
        self, epochs: int, *, deadline: float | None = None, progress: Callable[[int], None] = lambda epoch: None
    ) -> bool:
        """Train all members that are alive for some epochs; members that have done all epochs of the schedule stay.

        Args:
            epochs: how many.
            deadline: ``time.monotonic()`` after which no new epoch begins.
            progress: called after each epoch of the whole population.

        Returns:
            Whether all epochs were done.
        """
        self._groups = self._planner.merged(self._groups)
        with scoped(self._work.threads([self.members[i] for i in self.alive])):
            for _ in range(epochs):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                waiting, self._groups = [(group, numbers, group.epoch + 1) for group, numbers in self._groups], []
                while waiting:
                    group, numbers, goal = waiting.pop(0)
                    if group.epoch >= self.plan.epochs or self._until(goal, group, numbers):
                        self._groups.append((group, numbers))
                    else:
                        waiting[:0] = [(half, own, goal) for half, own in self._planner.halves(group, numbers)]
                self._groups = [(group, numbers) for group, numbers in self._groups if numbers]
                self.epoch += 1
                progress(self.epoch)
        return True

    def _until(self, goal: int, group: Group, numbers: list[int]) -> bool:
        """Train a group to the end of an epoch, mostly its next one. False: it did not fit into memory, and the group
        is as it was at some epoch before.
        """
        while group.epoch < goal and numbers:
            saved = (
                group.saved() if isinstance(group, StackedModels) and len(numbers) > 1 else None
            )  # one alone cannot be halved
            before = group.step
            try:
                group.train_epoch()
            except (MemoryError, RuntimeError) as error:
                if saved is None or not out_of_memory(error):
                    raise
            else:
                saved = None
            if saved is not None:
                assert isinstance(group, StackedModels)
                group.put_back(saved)
                return False
            if group.epoch == goal:  # epochs that are done again are counted already
                self.member_steps += (group.step - before) * len(numbers)
            self._after_epoch(group, numbers)
        return True

    def _after_epoch(self, group: Group, numbers: list[int]) -> None:
        """Remove members that failed or were stopped."""
        self.best_epochs |= {i: epoch for i, epoch in zip(numbers, group.best_epochs, strict=True) if epoch}
        gone = [k for k in range(len(numbers)) if group.failed[k] or group.done[k]]
        for k in gone:
            if group.failed[k]:
                self.failed.append(numbers[k])
            else:
                self._left[numbers[k]] = group.tensors(k)
        self._drop(group, numbers, gone)

    def _drop(self, group: Group, numbers: list[int], gone: Sequence[int]) -> None:
        """Remove members of a group; ``numbers`` is changed in place."""
        if not gone:
            return
        lost = {numbers[k] for k in gone}
        stay = [k for k in range(len(numbers)) if numbers[k] not in lost]
        numbers[:] = [numbers[k] for k in stay]
        self.alive = [i for i in self.alive if i not in lost]
        if stay:
            group.keep(stay)

    def keep(self, numbers: Sequence[int], *, weights: bool = True) -> None:
        """Only these train on; the others keep the weights they have, where these are wanted."""
        chosen = set(numbers)
        for group, own in self._groups:
            gone = [k for k, i in enumerate(own) if i not in chosen]
            for k in gone if weights else ():
                self._left[own[k]] = group.tensors(k)
            self._drop(group, own, gone)
        self._groups = [(group, own) for group, own in self._groups if own]

    def outputs(self, rows: Mapping[int, np.ndarray]) -> dict[int, Tensor]:
        """The outputs of some members for rows of their data sets, in evaluation mode, by number; NaN for those that
        failed.
        """
        result: dict[int, Tensor] = {}
        for group, numbers in self._groups:
            wanted = [rows.get(i, np.zeros(1, dtype=np.int64)) for i in numbers]
            if any(i in rows for i in numbers):
                found = group.outputs(wanted)
                result |= {i: out for i, out in zip(numbers, found, strict=True) if i in rows}
        for i in set(rows) - set(result):
            x, _ = self.data.take(self.data.index(self.members[i], rows[i]))
            model = initial(self.members[i]).to(self.device)
            if i in self._left:
                result[i] = predict(rebuilt(model, self._left[i]), x)
            else:
                result[i] = torch.full_like(predict(model, x), torch.nan)
        return {i: result[i] for i in rows}

    def tensors(self, number: int) -> Mapping[str, Tensor]:
        """The weights and buffers of a member, now or when it was removed."""
        if number in self._left:
            return self._left[number]
        for group, numbers in self._groups:
            if number in numbers:
                return group.tensors(numbers.index(number))
        raise KeyError(number)

    def model(self, number: int) -> nn.Module:
        """The network of a member, without hooks, in evaluation mode, on the CPU."""
        return rebuilt(initial(self.members[number]).cpu(), {name: t.cpu() for name, t in self.tensors(number).items()})
