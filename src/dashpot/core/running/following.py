"""A model or an optimizer that changes after attach: a replaced head, a new group, layers that are unfrozen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from dashpot.core.errors import ConflictError
from dashpot.core.points import Attached
from dashpot.core.running.run import Run

if TYPE_CHECKING:
    from dashpot.core.running.view import ModelView


class ModelChangedWarning(UserWarning):
    """The model changed after the recipe was attached, in a way that somebody should know of."""


class Following:
    """Keeps what acts on the model as it is now.

    Args:
        check: finds conflicts again, and which parameters are kept sparse.
        install: puts the hooks on the modules that are there now.
    """

    def __init__(
        self, run: Run, attached: list[Attached], check: Callable[[], None], install: Callable[[], None]
    ) -> None:
        self._run, self._attached, self._check, self._install = run, attached, check, install
        self._layout, self._versions = run.view.layout(), _versions(run.view)
        self._sharded = bool(run.view.sharded)
        self._moved = self._unchecked = self._sought = False

    def look(self) -> bool:
        """Take in what has changed; whether anything has.

        Raises:
            ConflictError: a technique cannot act on what is there now, or it is sharded now and was not before.
        """
        view = self._run.view
        if self._run.asked and not self._sought:
            view.seek_wrapper()
            self._sought = True
        if view.changed():
            known = set(view.parameters)
            kept = {id(p) for p in view.parameters.values()}
            gone = view.look_again()
            self._moved = True
            for _, ctx in self._attached:
                ctx.technique.forget(gone, ctx)
            self._say_untrained([n for n, p in view.parameters.items() if id(p) not in kept], known)
        if view.sharded and not self._sharded:
            raise ConflictError(
                f"fully_shard came after the recipe was attached, which knows the whole tensors of this"
                f" {type(view.model).__name__}. The order is: fully_shard, then the optimizer, then attach."
            )
        if not self._run.began and self._versions != _versions(view):
            # Other weights were loaded before the first step: what was made of the old ones begins anew.
            for _, ctx in self._attached:
                ctx.state = ctx.technique.init(view, ctx)
            self.note()
        layout = view.layout()
        if not (self._moved or self._unchecked) and layout == self._layout:
            return False
        self._layout, self._unchecked = layout, True
        view.params()  # takes in what is trainable now
        self._check()
        self._unchecked = False
        if self._moved:
            self._install()
            self._moved = False
        return True

    def resized(self) -> None:
        """Tensors of the model have other sizes: hooks are installed for these, and the next step looks again."""
        self._moved = True
        self.look()
        self._layout = ()
        self.note()

    def note(self) -> None:
        """The weights as they are now are those to begin with."""
        self._versions = _versions(self._run.view)

    def _say_untrained(self, new: list[str], known: set[str]) -> None:
        trained = {id(p) for group in self._run.optimizer.param_groups for p in group["params"]}
        left = [name for name in new if id(self._run.view.parameters[name]) not in trained]
        if left:
            what = "were replaced" if known.issuperset(left) else "came into the model"
            warnings.warn(
                f"{', '.join(left)} {what} after the recipe was attached, and the optimizer does not have them: they"
                " are neither trained nor regularized. Add them with optimizer.add_param_group.",
                ModelChangedWarning,
                stacklevel=3,
            )


def _versions(view: ModelView) -> list[int]:
    """Counts of the changes made in place to each parameter."""
    return [p._version for p in view.parameters.values()]
