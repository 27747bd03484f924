"""A recipe's techniques at work on one run: which acts where, what was installed for them, what weights they keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from dashpot.core.errors import UsageError
from dashpot.core.points import POINTS, Attached, Handle, Points, Scores, Verdict, runs_of
from dashpot.core.rng import stream
from dashpot.core.running import conflicts
from dashpot.core.running.attach import Mark
from dashpot.core.running.context import Context
from dashpot.core.running.copies import hooks_of, new_guests
from dashpot.core.running.cut import Cut
from dashpot.core.running.following import Following
from dashpot.core.running.forward import Forward
from dashpot.core.running.idle import warn_unused
from dashpot.core.running.passes import demand_same_recipe
from dashpot.core.running.replacing import Replaced, plain_copy
from dashpot.core.running.run import Run
from dashpot.core.running.selecting import refuse_lazy
from dashpot.core.running.stepper import Stepper
from dashpot.core.running.view import ModelView


class Hooks:
    """The handles of what was installed on modules, as one."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    def remove(self) -> None:
        while self.handles:
            self.handles.pop().remove()


class Acting:
    """What a session holds of its recipe.

    Args:
        techniques: by their paths, in the recipe's order.
        run: what they share.

    Attributes:
        attached: each technique with its context, in the recipe's order.
        at: by point, those that act there, in the order in which they do.
        on_batch: those that act on batches, in runs that act in one call, with that call.
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
        self.on_batch = runs_of(self.at["on_batch"], lambda pair: type(pair[0]))
        self._handles: list[Handle] = []
        self._replaced: list[Replaced] = []
        self._hooks = Hooks()
        self.following: Following | None = None

    def begin(self, recipe: str, batch_size: int | None, closure: bool) -> None:
        """Replace modules, check, set states up, install hooks; where that fails, nothing stays installed.

        Args:
            recipe: the name of all of them, for the error when another session is attached.
            batch_size, closure: as in :meth:`Recipe.attach`.

        Raises:
            ConflictError: as for :meth:`Recipe.attach`.
        """
        try:
            demand_same_recipe(recipe, self.run.view.parallel)
            self._begin(recipe, batch_size, closure)
        except BaseException:  # after Ctrl-C, too, nothing stays installed
            self.remove()
            raise

    def _begin(self, recipe: str, batch_size: int | None, closure: bool) -> None:
        """Each sees what those before it made."""
        run, view = self.run, self.run.view
        conflicts.check_wrapper(view, self.at)
        for _, ctx in self.at["on_build"]:
            for name, module in ctx.technique.on_build(view, ctx).items():
                self._replaced.append(Replaced(view, name, module, ctx.technique.settle))
                self._handles.append(self._replaced[-1])

        def check() -> None:
            run.sparse = conflicts.check(self.attached, view, batch_size=batch_size, closure=closure)

        check()
        for technique, ctx in self.attached:
            try:
                ctx.state = technique.init(view, ctx)
            except ValueError:
                refuse_lazy(type(technique).__name__, view.model)
                raise
        self._handles.append(self._hooks)
        self._install()
        if any(technique.forwards for technique, _ in self.attached):
            run.again = again = Forward(run)
            self._handles.append(again)
        if self.attached:
            self.following = Following(run, self.attached, check, self._install)
            self._handles += [Stepper(run, self.at, self.following.look), Mark(recipe, view)]

    def _install(self) -> None:
        """Hooks on the modules as they are now, in place of earlier ones."""
        self._hooks.remove()
        model = self.run.view.model
        before = hooks_of(model)
        for _, ctx in self.at["on_model"]:
            with ctx.hooking():
                self._hooks.handles.extend(ctx.technique.on_model(self.run.view, ctx))
        self._hooks.handles.extend(new_guests(model, before))  # copies of the model do not have them

    def look(self, settle: bool = False) -> ModelView:
        """The model, with what has changed in it or the optimizer taken in.

        Args:
            settle: its tensors are to be read.
        """
        if self.following is not None:
            self.following.look()
        if settle:
            self.run.view.settle()
        return self.run.view

    def note(self) -> None:
        """The weights as they are now are those to begin with."""
        if self.following is not None:
            self.following.note()

    def resize(self, cut: Cut, act: Callable[[], None]) -> None:
        """Let ``act`` make the model smaller; nothing is done where a technique cannot follow.

        Raises:
            ConflictError: so.
        """
        states = [ctx.technique.resized(cut, ctx) for _, ctx in self.attached]
        act()
        for (_, ctx), state in zip(self.attached, states, strict=True):
            ctx.state = state
        if self.following is not None:
            self.following.resized()

    def warn_unused(self) -> None:
        """Say so where no step came for those that act in steps."""
        points = "on_gradient", "on_update", "on_step"
        warn_unused(self.run, [type(t).__name__ for t, _ in self.attached if any(map(t.defines, points))])

    def verdict(self, scores: Scores) -> Verdict:
        """What they decide together after an epoch with these scores."""
        early = any(ctx.technique.unfinished(ctx) for _, ctx in self.attached)
        judges = [ctx for t, ctx in self.at["on_epoch"] if not (early and t.waits)]
        found = [ctx.technique.on_epoch(scores, ctx) for ctx in judges]
        reason = "; ".join(v.reason for v in found if v.stop and v.reason)
        return Verdict(any(v.stop for v in found), any(v.best for v in found), reason)

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

    def plain_copy(self, view: ModelView, weights: dict[str, Tensor]) -> nn.Module:
        """A deep copy of the model with these weights, its own modules, and nothing that was installed.

        Raises:
            UsageError: FSDP2 shards it.
        """
        if view.sharded:
            raise UsageError(
                f"export() copies the model, and FSDP2, which shards this {type(view.model).__name__}, allows no"
                " copies. Call finish(), and save torch.distributed.checkpoint.state_dict.get_model_state_dict(model)."
            )
        return plain_copy(view.model, self._replaced, weights)

    def remove(self) -> None:
        """Take away what was installed, the last first."""
        self.following = None
        while self._handles:
            self._handles.pop().remove()
