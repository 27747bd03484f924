"""Divergence stopping: end a training whose loss is no number any more or far above its best."""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from torch import Tensor

from dashpot.core.fields.domains import Flag, Name, Range
from dashpot.core.running.context import Context
from dashpot.core.running.cut import Cut
from dashpot.core.running.tensors import tensors
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.between_epochs import BetweenEpochs
from dashpot.core.technique import Scores, State, Verdict
from dashpot.techniques.stopping.best_weights import Stopping


def highest_allowed(best: float, first: float, factor: float, floor: float) -> float:
    """The loss above which a training has diverged.

    >>> highest_allowed(0.5, 2.0, factor=3.0, floor=0.01)
    1.5
    """
    return best + (factor - 1) * max(abs(best), floor * abs(first))


class DivergenceStopping(Stopping):
    r"""End training when a loss is NaN or infinite, or far above its best, and leave the weights from before.

    It has diverged if it is not finite or

    .. math:: s > s_\mathrm{best} + (f - 1) \max(|s_\mathrm{best}|,\, c\,|s_1|)

    which is :math:`s > f\,s_\mathrm{best}` unless the loss is almost zero: a loss that falls to a millionth of its
    first value :math:`s_1` may double there and mean nothing. Where it stops a training, the weights of the best epoch
    so far are put back, unless another technique keeps best weights of its own; a training that does not diverge ends
    as without it. (``fit`` ends a training whose loss is NaN or infinite in a step by itself.)

    Args:
        monitor: the loss to watch, good low, a key of what ``session.epoch`` gets.
        factor: f > 1, how many times its best it may be.
        floor: c >= 0, the share of the first epoch's loss below which its best does not count.
        restore: put the weights of the best epoch back where it stops.

    Raises:
        ConfigError: a factor of at most 1.
        UnknownNameError: ``session.epoch`` got scores without the monitored one.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.stopping import DivergenceStopping
        >>> model = torch.nn.Linear(1, 1)
        >>> session = DivergenceStopping(factor=3.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> [session.epoch({"train_loss": loss}).stop for loss in (2.0, 1.0, 2.9, 3.1)]
        [False, False, False, True]

    Paper: none; a guard that training loops have had for long.

    When not to use it: with a loss that may be negative and far from zero a factor says little. In a search scores are
    of held-out rows only: write ``monitor="val_loss"``.
    """

    summary = "stops when the loss is no number any more or far above its best"
    order = -10  # before what keeps best weights of its own, whose weights then count
    stacked = BetweenEpochs

    monitor: Annotated[str, Name()] = field(default="train_loss", kw_only=False)
    factor: Annotated[float, Range(1.0, float("inf"), open="low", fixed=True)] = 10.0
    floor: Annotated[float, Range(0.0, float("inf"), fixed=True)] = 0.01
    restore: Annotated[bool, Flag()] = True

    @property
    def watching(self) -> tuple[str, ...]:
        return (self.monitor,)

    def init(self, view: ModelView, ctx: Context) -> State:
        weights = {name: t.detach().clone() for name, t in tensors(view.model).items()} if self.restore else {}
        return {"best": None, "at": 0, "first": None, "stopped": False, "weights": weights}

    def forget(self, gone: frozenset[str], ctx: Context) -> None:
        # What is diverged is judged by scores, which stay; weights of another model are no use.
        if not gone.isdisjoint(ctx.state["weights"]):
            ctx.state["weights"] = {}

    def resized(self, cut: Cut, ctx: Context) -> State:
        state = ctx.state
        if not cut.fits(state["weights"]):  # of the larger network: those of now are the best of the smaller one
            state = {**state, "weights": ctx.snapshot()}
        resized: State = cut.tree(state, ctx.path)
        return resized

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        score, state = self.score_of(scores, self.monitor), ctx.state
        best, reason = state["best"], ""
        if not math.isfinite(score):
            reason = f"{self.monitor} is {score} after epoch {ctx.epoch}"
        elif best is not None:
            limit = highest_allowed(best, state["first"], self.factor, self.floor)
            if score > limit:
                reason = f"{self.monitor} is {score}, above {limit:.6g}; best {best} at epoch {state['at']}"
        if not reason:
            state["first"] = score if state["first"] is None else state["first"]
            if best is None or score < best:
                state["best"], state["at"] = score, ctx.epoch
                state["weights"] = ctx.snapshot() if self.restore else {}
        state["stopped"] = bool(reason)
        return Verdict(stop=bool(reason), reason=reason)

    def final(self, ctx: Context) -> Mapping[str, Tensor]:
        state = ctx.state
        weights: dict[str, Tensor] = state["weights"] if state["stopped"] and state["best"] is not None else {}
        return weights
