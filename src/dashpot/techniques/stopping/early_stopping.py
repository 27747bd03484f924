"""Early stopping: end training when a score no longer improves, and keep the best weights."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import Choice, Flag, Name, Range
from dashpot.core.preset import Preset
from dashpot.core.running.context import Context
from dashpot.core.running.following import ModelChangedWarning
from dashpot.core.running.tensors import tensors
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.between_epochs import BetweenEpochs
from dashpot.core.technique import Scores, State, Technique, Verdict

_DEFAULT_MONITOR = "val_loss"


def improves(score: float, best: float | None, mode: str, min_delta: float) -> bool:
    """Whether ``score`` beats ``best`` by more than ``min_delta``. NaN never does; a tie keeps the earlier."""
    if math.isnan(score):
        return False
    if best is None:
        return True
    return score < best - min_delta if mode == "min" else score > best + min_delta


class EarlyStopping(Technique):
    r"""End training when a score has not improved for a while, and leave the best weights in the model.

    An epoch improves if :math:`s < s_\mathrm{best} - \delta` (mode ``min``) or :math:`s > s_\mathrm{best} + \delta`
    (mode ``max``); δ is absolute, so negative scores are no trouble. NaN is never best and a tie keeps the earlier.
    The best weights are a deep copy (of the averages, if the recipe keeps any); they are saved in the session's state
    and put back on every way out: stopped, ran to the end, interrupted.

    Args:
        monitor: the score to watch, a key of what ``session.epoch`` gets.
        mode: ``"min"`` or ``"max"``. Never guessed from the name: it must be given for any monitor but the default
            ``val_loss``.
        patience: stop once this many epochs in a row brought no improvement; 0 acts as 1.
        min_delta: δ >= 0, in the units of the score.
        min_epochs: no stop before this many epochs. What happened before counts for patience, but an improvement at the
            last moment still saves the run.
        restore: put the best weights back; without it the last ones stay.

    Raises:
        ConfigError: a monitor without a mode.
        UnknownNameError: ``session.epoch`` got scores without the monitored one.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(1, 1)
        >>> session = dashpot.EarlyStopping(patience=2).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> [session.epoch({"val_loss": loss}).stop for loss in (3.0, 2.0, 2.5, 2.0)]
        [False, False, False, True]

    Paper: Prechelt, "Early Stopping - But When?", Neural Networks: Tricks of the Trade 1998.

    When not to use it: with a schedule that needs its whole length (cosine to zero) keep the best weights but set
    patience high. Do not report the score on the split that stopped the training.
    """

    summary = "stops when the score no longer improves and keeps the best weights"
    preset = Preset("patience=1000", order=80)  # keeps the best weights; the race decides what is stopped
    exclusive = ("best weights",)
    stacked = BetweenEpochs
    waivers: ClassVar[Mapping[str, str]] = {"off": "it has no strength: leaving it out is its off"}

    monitor: Annotated[str, Name()] = field(default=_DEFAULT_MONITOR, kw_only=False)
    mode: Annotated[Literal["min", "max"] | None, Choice(("min", "max"), optional=True)] = None
    patience: Annotated[int, Range(0, float("inf"), integer=True)] = 10
    min_delta: Annotated[float, Range(0.0, float("inf"))] = 0.0
    min_epochs: Annotated[int, Range(0, float("inf"), integer=True)] = 0
    restore: Annotated[bool, Flag()] = True

    def validate(self) -> None:
        if self.mode is None and self.monitor != _DEFAULT_MONITOR:
            raise ConfigError(
                "EarlyStopping.mode",
                f"'min' or 'max' for the monitor {self.monitor!r}",
                None,
                "A direction is never guessed from a name.",
            )

    def init(self, view: ModelView, ctx: Context) -> State:
        # Room for the best weights from the start: loaders that fill what is there find all of it.
        weights = {name: t.detach().clone() for name, t in tensors(view.model).items()} if self.restore else {}
        return {"best": None, "best_epoch": 0, "weights": weights}

    def forget(self, gone: frozenset[str], ctx: Context) -> None:
        if gone.isdisjoint(ctx.state["weights"]):
            return
        had = ctx.state["best"] is not None
        ctx.state = {**self.init(ctx.view, ctx), "best_epoch": ctx.epoch}
        if had:
            warnings.warn(
                f"the model's {', '.join(sorted(gone))} changed, so the best weights so far fit it no longer:"
                " EarlyStopping begins anew.",
                ModelChangedWarning,
                stacklevel=4,
            )

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        if self.monitor not in scores:
            raise UnknownNameError(
                "EarlyStopping.monitor", self.monitor, scores, "Pass it in the scores of session.epoch."
            )
        score, state = float(scores[self.monitor]), ctx.state
        better = improves(score, state["best"], self.mode or "min", self.min_delta)
        if better:
            state["best"], state["best_epoch"] = score, ctx.epoch
            state["weights"] = ctx.snapshot() if self.restore else {}
        waited = ctx.epoch - state["best_epoch"]
        stop = waited > 0 and waited >= max(self.patience, 1) and ctx.epoch >= self.min_epochs
        reason = (
            f"{self.monitor} has not improved for {waited} epochs; best {state['best']} at epoch {state['best_epoch']}"
            if stop
            else ""
        )
        return Verdict(stop=stop, best=better, reason=reason)

    def final(self, ctx: Context) -> Mapping[str, Tensor]:
        state = ctx.state
        weights: dict[str, Tensor] = state["weights"] if self.restore and state["best"] is not None else {}
        return weights
