"""The base of techniques that add a function of the probability of what is true to each loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy

from dashpot.core.requires import Requires
from dashpot.core.running.context import Context
from dashpot.core.running.targets import aligned, is_one_of
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.outputs.judged import Judged, judged


class StackedByTarget(StackedTechnique):
    """Each member's number, for its rows. Targets are taken as batches are mixed, before labels are smoothed."""

    inherited = True

    def read(self) -> None:
        self.kind = next(type(t) for t in self.techniques if t is not None) if any(self.techniques) else None
        self.numbers = [0.0] if self.kind is None else self.values(self.kind.number, 0.0)
        self.factors: dict[int, Tensor | None] = {}

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.y = y
        return x, y

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        if self.kind is None or not any(self.numbers):
            return loss
        kind, rows = self.kind, len(loss)
        number = self.wide(self.numbers, 1).repeat_interleave(rows // len(self.numbers))
        found = self._judged(kind.__name__, loss, out, self.y.flatten(0, 1))
        factors = self._factors(found, rows)

        def term(nll: Tensor, factor: Tensor | float = 1.0) -> Tensor:
            added: Tensor = kind.term(nll, number.reshape(-1, *[1] * (nll.ndim - 1)) * factor)
            return added

        return loss + found.of_target(term, factors)

    def _factors(self, found: Judged, rows: int) -> Tensor | None:
        """Of each class for the rows of all members, [rows, classes]; None where no member has any."""
        if rows not in self.factors:
            each = [None if t is None else t.factors(found) for t in self.techniques]
            classes = next((len(one) for one in each if one is not None), 0)
            table = torch.tensor([one or [1.0] * classes for one in each], device=self.stack.device)
            self.factors[rows] = table.repeat_interleave(rows // len(each), dim=0) if classes else None
        return self.factors[rows]

    def _judged(self, name: str, loss: Tensor, out: Tensor, y: Tensor) -> Judged:
        if self.stack.targets != "multilabel":
            return Judged(name, "classes", loss, out, aligned(cross_entropy, out, y))
        if is_one_of(self.stack.plan.loss, (nn.BCELoss, binary_cross_entropy)):
            out = torch.logit(out, eps=torch.finfo(out.dtype).eps)
        return Judged(name, "labels", loss, out, aligned(binary_cross_entropy_with_logits, out, y))


class ByTarget(Technique):
    """Adds ``term(-log p, number)`` of what is true to each loss; where the target is a distribution, as a blend is,
    the term's mean under it. So it is linear in the target, as cross entropy is, and suits mixed samples.
    """

    requires = Requires(task=("classification", "multilabel"))
    stacked = StackedByTarget
    order = 10  # after what blends the plain loss with something else

    number: ClassVar[str]
    """The field that says how strong it is; 0 is off."""

    @staticmethod
    def term(nll: Tensor, number: float | Tensor) -> Tensor:
        """Of -log p; 0 where ``number`` is 0."""
        raise NotImplementedError  # each technique says it

    def factors(self, found: Judged) -> Sequence[float] | None:
        """What the number is multiplied with where the truth is each of the classes; None: all alike."""
        return None

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        number = getattr(self, self.number)
        if number == 0:
            return loss
        found = judged(type(self).__name__, loss, out, ctx)
        factors = self.factors(found)
        if factors is None:
            return loss + found.of_target(lambda nll: self.term(nll, number))
        by_class = torch.tensor([factors], device=found.out.device)
        return loss + found.of_target(lambda nll, factor: self.term(nll, number * factor), by_class)
