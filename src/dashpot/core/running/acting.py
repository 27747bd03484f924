"""A recipe's techniques at work on one run: which acts where, what was installed for them, what weights they keep."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dashpot.core.points import POINTS, Attached, Handle, Points
from dashpot.core.rng import stream
from dashpot.core.running import conflicts
from dashpot.core.running.attach import Mark
from dashpot.core.running.context import Context
from dashpot.core.running.forward import Forward
from dashpot.core.running.replacing import Replaced, plain_copy
from dashpot.core.running.run import Run
from dashpot.core.running.stepper import Stepper


class Acting:
    """What a session holds of its recipe.

    Args:
        techniques: by their paths, in the recipe's order.
        run: what they share.

    Attributes:
        attached: each technique with its context, in the recipe's order.
        at: by point, those that act there, in the order in which they do.
    """

    def __init__(self, techniques: Mapping[str, Points], run: Run) -> None:
        self.run = run
        self.attached: list[Attached] = [
            (t, Context(run, path, stream(run.seed, path), t)) for path, t in techniques.items()
        ]
        self.at: dict[str, list[Attached]] = {
            point: sorted((pair for pair in self.attached if pair[0].defines(point)), key=lambda pair: pair[0].order)
            for point in POINTS
        }
        self._handles: list[Handle] = []
        self._replaced: list[Replaced] = []

    def begin(self, recipe: str, batch_size: int | None, closure: bool) -> None:
        """Replace modules, check, set states up, install hooks; where that fails, nothing stays installed.

        Args:
            recipe: the name of all of them, for the error when another session is attached.
            batch_size, closure: as in :meth:`Recipe.attach`.

        Raises:
            ConflictError: as for :meth:`Recipe.attach`.
        """
        try:
            self._begin(recipe, batch_size, closure)
        except BaseException:
            self.remove()
            raise

    def _begin(self, recipe: str, batch_size: int | None, closure: bool) -> None:
        """Each sees what those before it made."""
        run, view = self.run, self.run.view
        conflicts.check_wrapper(view, self.at)
        for _, ctx in self.at["on_build"]:
            for name, module in ctx.technique.on_build(view, ctx).items():
                self._replaced.append(Replaced(view, name, module))
                self._handles.append(self._replaced[-1])
        run.sparse = conflicts.check(self.attached, view, batch_size=batch_size, closure=closure)
        for technique, ctx in self.attached:
            ctx.state = technique.init(view, ctx)
        for technique, ctx in self.at["on_model"]:
            self._handles.extend(technique.on_model(view, ctx))
        if any(technique.forwards for technique, _ in self.attached):
            run.again = again = Forward(run)
            self._handles.append(again)
        if self.attached:
            self._handles += [Stepper(run, self.at), Mark(recipe, view.model, view.optimizer)]

    def averaged(self) -> dict[str, Tensor]:
        """The weights to evaluate with in place of the raw ones."""
        chosen: dict[str, Tensor] = {}
        for _, ctx in self.at["weights"]:
            chosen.update(ctx.technique.weights(ctx) or {})
        return chosen

    def final(self) -> dict[str, Tensor]:
        """The weights to end with in place of the raw ones: the best where a technique keeps them, or the averaged."""
        chosen = self.averaged()
        for _, ctx in self.at["final"]:
            chosen.update(ctx.technique.final(ctx) or {})
        return chosen

    def plain_copy(self, weights: dict[str, Tensor]) -> nn.Module:
        """A deep copy of the model with these weights, its own modules, and nothing that was installed."""
        twin = plain_copy(self.run.view.model, self._replaced, weights)
        for handle in self._handles:
            if strip := getattr(handle, "strip", None):
                strip(twin)
        return twin

    def remove(self) -> None:
        """Take away what was installed, the last first."""
        while self._handles:
            self._handles.pop().remove()
