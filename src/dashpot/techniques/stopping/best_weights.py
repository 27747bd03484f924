"""What techniques that end a training share: the scores that they watch, and the best weights so far."""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from dashpot.core.errors import ConfigError, ConflictError, UnknownNameError
from dashpot.core.running.context import Context
from dashpot.core.running.cut import Cut
from dashpot.core.running.following import ModelChangedWarning
from dashpot.core.running.tensors import tensors
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Scores, State, Technique

DEFAULT_MONITOR = "val_loss"
HELD_OUT = "val_"


def improves(score: float, best: float | None, mode: str, min_delta: float) -> bool:
    """Whether ``score`` beats ``best`` by more than ``min_delta``. NaN never does; a tie keeps the earlier."""
    if math.isnan(score):
        return False
    if best is None:
        return True
    return score < best - min_delta if mode == "min" else score > best + min_delta


class Stopping(Technique):
    """Ends a training after an epoch."""

    waivers: ClassVar[Mapping[str, str]] = {"off": "it has no strength: leaving it out is its off"}

    @property
    def watching(self) -> tuple[str, ...]:
        """The scores that it watches; none where it watches something else, such as a clock."""
        return ()

    @property
    def keeps_best(self) -> bool:
        """Whether the training ends with the weights of its best epoch."""
        return False

    def score_of(self, scores: Scores, monitor: str, parameter: str = "monitor") -> float:
        """A score of the epoch.

        Raises:
            UnknownNameError: it is not among them.
        """
        if monitor not in scores:
            raise UnknownNameError(
                f"{type(self).__name__}.{parameter}", monitor, scores, "Pass it in the scores of session.epoch."
            )
        return float(scores[monitor])

    def demand_direction(self, monitor: str, mode: str | None) -> None:
        """Refuse a score that nobody said is good low or high.

        Raises:
            ConfigError: it has no mode and is not the default one.
        """
        if mode is None and monitor != DEFAULT_MONITOR:
            raise ConfigError(
                f"{type(self).__name__}.mode",
                f"'min' or 'max' for the monitor {monitor!r}",
                None,
                "A direction is never guessed from a name.",
            )


class BestWeights(Stopping):
    """Keeps a copy of the weights of the best epoch so far, where its field ``restore`` says so."""

    exclusive = ("best weights",)
    waits = True

    @property
    def keeps_best(self) -> bool:
        return bool(getattr(self, "restore", False))

    def fresh(self, epoch: int) -> State:
        """The state without weights, where nothing was seen before this epoch."""
        return {"best": None, "best_epoch": epoch}

    def init(self, view: ModelView, ctx: Context) -> State:
        # Room for the best weights from the start: loaders that fill what is there find all of it.
        weights = {name: t.detach().clone() for name, t in tensors(view.model).items()} if self.keeps_best else {}
        return {**self.fresh(0), "weights": weights}

    def forget(self, gone: frozenset[str], ctx: Context) -> None:
        if gone.isdisjoint(ctx.state["weights"]):
            return
        had = ctx.state["best"] is not None
        ctx.state = {**self.init(ctx.view, ctx), **self.fresh(ctx.epoch)}
        if had:
            warnings.warn(
                f"the model's {', '.join(sorted(gone))} changed, so the best weights so far fit it no longer:"
                f" {type(self).__name__} begins anew.",
                ModelChangedWarning,
                stacklevel=4,
            )

    def resized(self, cut: Cut, ctx: Context) -> State:
        if ctx.state["best"] is not None and not cut.fits(ctx.state["weights"]):
            raise ConflictError(
                f"{type(self).__name__} keeps the weights of epoch {ctx.state['best_epoch']}, when units that would"
                " leave were not yet zero. Cut after the training (dashpot.shrink), or use Compress, with which epochs"
                " are judged from the one on in which the size is reached."
            )
        return super().resized(cut, ctx)

    def keep(self, score: float, ctx: Context) -> None:
        """This epoch is the best so far."""
        ctx.state["best"], ctx.state["best_epoch"] = score, ctx.epoch
        ctx.state["weights"] = ctx.snapshot() if self.keeps_best else {}

    def final(self, ctx: Context) -> Mapping[str, Tensor]:
        state = ctx.state
        weights: dict[str, Tensor] = state["weights"] if self.keeps_best and state["best"] is not None else {}
        return weights


def watches_held_out(recipe: Iterable[Any]) -> bool:
    """Whether a technique of the recipe needs rows that are held out of the training."""
    return any(m.startswith(HELD_OUT) for t in recipe if isinstance(t, Stopping) for m in t.watching)


def watches_more(recipe: Iterable[Any]) -> bool:
    """Whether a technique of the recipe ends a training by something else than scores of held-out rows: by those of
    training rows, by a clock or by a file. Trainings side by side do not know these.
    """
    found = [t.watching for t in recipe if isinstance(t, Stopping)]
    return any(not scores or not all(score.startswith(HELD_OUT) for score in scores) for scores in found)
