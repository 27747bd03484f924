"""Which members are trained together, and how."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from dashpot.population.cache import ArchitectureCache, Size
from dashpot.population.mapped import mapped
from dashpot.population.members import Data, Member, Plan, initial, shape_of
from dashpot.population.models import StackedModels
from dashpot.population.program.program import programmed
from dashpot.population.sequential import SequentialTrainer
from dashpot.population.sizes import ELEMENTS, GRADIENTS, MOST, WIDE, even, widest
from dashpot.population.stack import NotStackableError, stacked
from dashpot.training.task import outputs_of

Group = StackedModels | SequentialTrainer
Groups = list[tuple[Group, list[int]]]
"""Groups with the numbers of their members."""


class Planner:
    """Makes groups of members, and merges and halves them.

    Args:
        stack: False trains one by one.
        note: called with the reason why members are not stacked.
        cache: what earlier populations measured of named architectures.
    """

    def __init__(
        self, data: Data, plan: Plan, stack: bool, note: Callable[[str], None], cache: ArchitectureCache | None = None
    ) -> None:
        self.data, self.plan, self.stack, self.note = data, plan, stack, note
        self._shared, self._own = cache or ArchitectureCache(), ArchitectureCache()
        self._here = (
            plan.bfloat16,
            id(plan.loss),
            data.device,
            data.x.shape[1:],
            data.x.dtype,
            data.y.shape[1:],
            data.y.dtype,
            stack,
        )

    def size(self, member: Member) -> int:
        """Members of a stack of this shape at most."""
        return max(1, self._of(member)[0])

    def _cache_of(self, member: Member) -> tuple[ArchitectureCache, Any]:
        """Where that is kept, and under which name: members without a name are compared only within a stack."""
        return (
            (self._own, shape_of(member, self.plan))
            if member.shape is None
            else (self._shared, (member.shape, self._here))
        )

    def _of(self, member: Member) -> Size:
        cache, name = self._cache_of(member)
        key = name, shape_of(member, self.plan)
        if key not in cache.sizes and member.shape is not None and name in cache.programmed:
            cache.sizes[key] = cache.programmed[name]
        if key not in cache.sizes:
            model = initial(member).to(self.data.device)
            x, _ = self.data.take(self.data.index(member, member.rows[:2]))
            classes = outputs_of(model, x) if self.data.classification else None
            size = sys.maxsize
            if self.data.device.type == "cpu":
                weights = sum(p.numel() for p in model.parameters())
                # A program works on one member at a time: then it is the calls that are to be few, and the gradients
                # that take memory.
                size = max(1, min(MOST, GRADIENTS // max(weights, 1)))
                seen = cache.seen[name] = programmed(model, self.data, self.plan)
                if not seen:
                    width = widest(model, x)
                    gains = width < WIDE or self.plan.bfloat16
                    size = min(size, ELEMENTS // (self.plan.batch_of(member) * width) if gains else 0)
                    size = 0 if size == 1 else size
            cache.sizes[key] = size, classes
            if cache.seen.get(name):
                cache.programmed[name] = size, classes
        return cache.sizes[key]

    def group(self, members: Sequence[Member]) -> Group:
        """Members of one shape, from their initial weights."""
        models = [initial(m).to(self.data.device) for m in members]
        size, classes = self._of(members[0])
        cache, name = self._cache_of(members[0])
        reasons = [] if size or not self.stack else ["so large that together they would be no faster"]
        for stack in (stacked, mapped) if self.stack and not reasons else ():
            try:
                checked = stack is stacked and members[0].shape is not None and name in cache.stacked
                together = StackedModels(
                    members, models, self.data, self.plan, classes, stack, cache.seen.get(name), checked=checked
                )
            except NotStackableError as error:
                reasons.append(str(error))
                continue
            if stack is stacked:
                cache.stacked.add(name)
            if reasons:
                self.note(f"trained together by vmap, which is slower than stacked layers: {reasons[0]}")
            return together
        if reasons:
            self.note(f"trained one by one: {'; by vmap: '.join(dict.fromkeys(reasons))}")
        return SequentialTrainer(members, models, self.data, self.plan, classes)

    def clone(self, group: Group, row: int, member: Member) -> Group:
        """A group of one, which goes on from where another member is. A recipe that cannot be stacked cannot go on from
        a stack.
        """
        if isinstance(group, StackedModels):
            return StackedModels.gathered([member], [(group, row)])
        return SequentialTrainer.gathered([member], [(group, row)])

    def halves(self, group: Group, numbers: list[int]) -> Groups:
        """Two stacks for one that did not fit into memory; they stay apart."""
        assert isinstance(group, StackedModels)
        if self.data.device.type == "cuda":
            torch.cuda.empty_cache()
        self.note(f"out of memory with {len(numbers)} members at once: halved")
        middle = len(numbers) // 2
        size, classes = self._of(group.members[0])
        cache, name = self._cache_of(group.members[0])
        cache.sizes[name, shape_of(group.members[0], self.plan)] = min(middle, size), classes
        return [
            (
                StackedModels.gathered([group.members[k] for k in rows], [(group, k) for k in rows]),
                [numbers[k] for k in rows],
            )
            for rows in (range(middle), range(middle, len(numbers)))
        ]

    def merged(self, groups: Groups) -> Groups:
        """Stacks of one shape at one epoch that have shrunk become as few as fit."""
        alike: dict[Any, list[int]] = {}
        for position, (group, _) in enumerate(groups):
            if isinstance(group, StackedModels):
                alike.setdefault(
                    (shape_of(group.members[0], self.plan), group.epoch, group.step, group.stack), []
                ).append(position)
        new: Groups = []
        gone: set[int] = set()
        for positions in alike.values():
            sources = [
                (group, k)
                for group in (groups[p][0] for p in positions)
                if isinstance(group, StackedModels)
                for k in range(len(group))
            ]
            numbers = [i for p in positions for i in groups[p][1]]
            pieces = even(range(len(numbers)), self.size(sources[0][0].members[0]))
            if len(pieces) >= len(positions):
                continue
            try:
                for piece in pieces:
                    members = [sources[k][0].members[sources[k][1]] for k in piece]
                    new.append(
                        (StackedModels.gathered(members, [sources[k] for k in piece]), [numbers[k] for k in piece])
                    )
            except NotStackableError:  # recipes in different orders: they stay apart
                new = [pair for pair in new if not set(pair[1]) & set(numbers)]
                continue
            gone |= set(positions)
        return [pair for position, pair in enumerate(groups) if position not in gone] + new
