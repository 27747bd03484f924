"""Prechelt's criteria: stop by the generalization loss, or by what it is beside the progress of the training."""

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

from dashpot.core.fields.domains import Choice, Flag, Name, Range
from dashpot.core.running.context import Context
from dashpot.core.stacks.between_epochs import BetweenEpochs
from dashpot.core.technique import Scores, State, Verdict
from dashpot.techniques.stopping.best_weights import DEFAULT_MONITOR, BestWeights, improves


def generalization_loss(score: float, best: float) -> float:
    """By how many percent a loss is above its lowest so far.

    >>> generalization_loss(1.5, 1.25)
    20.0
    """
    if math.isnan(score) or score == math.inf:
        return math.inf
    return _share(100.0, score - best, best)


def progress(strip: Sequence[float]) -> float:
    """By how many thousandths the mean training loss of a strip of epochs is above its lowest.

    >>> progress([3.0, 2.0, 1.0])
    1000.0
    """
    return _share(1000.0, sum(strip) / len(strip) - min(strip), min(strip))


def _share(scale: float, difference: float, of: float) -> float:
    """Of what may be zero: nothing is 0 of it, and anything is infinitely more."""
    if difference <= 0:
        return 0.0
    return scale * difference / abs(of) if of else math.inf


class PrecheltStopping(BestWeights):
    r"""End training when the validation loss has risen by so much (GL), or by so much for what training still gains
    (PQ), and leave the best weights in the model.

    .. math:: \mathrm{GL}(t) = 100 \left(\frac{E_\mathrm{va}(t)}{\min_{t' \le t} E_\mathrm{va}(t')} - 1\right)
        \qquad P_k(t) = 1000 \left(\frac{\sum_{t'=t-k+1}^{t} E_\mathrm{tr}(t')}{k \min_{t'=t-k+1}^{t} E_\mathrm{tr}(t')}
        - 1\right)

    ``"gl"`` stops after the first epoch with :math:`\mathrm{GL}(t) > \alpha`, ``"pq"`` after the first strip of k
    epochs with :math:`\mathrm{GL}(t) / P_k(t) > \alpha`: while the training loss still falls fast, a rise may be made
    up for. A loss that is not finite is an infinite generalization loss. Both want losses above 0; of negative ones the
    size of the best is taken.

    Args:
        monitor: the validation loss, good low, a key of what ``session.epoch`` gets.
        criterion: ``"gl"`` or ``"pq"``.
        alpha: α > 0: percent for GL (Prechelt tried 1 to 5), the quotient for PQ (0.5 to 3).
        strip: k >= 2, epochs, for PQ.
        train_monitor: the training loss, for PQ.
        min_epochs: no stop before this many epochs.
        restore: put the best weights back; without it the last ones stay.

    Raises:
        ConfigError: a value outside its range.
        UnknownNameError: ``session.epoch`` got scores without a monitored one.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.stopping import PrecheltStopping
        >>> model = torch.nn.Linear(1, 1)
        >>> session = PrecheltStopping(alpha=5.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> [session.epoch({"val_loss": loss}).stop for loss in (2.0, 1.0, 1.04, 1.06)]
        [False, False, False, True]

    Paper: Prechelt, "Early Stopping - But When?", Neural Networks: Tricks of the Trade 1998.

    When not to use it: with noisy validation losses patience (:class:`~dashpot.EarlyStopping`) is steadier. PQ reads
    the training loss in evaluation mode, which ``fit`` takes, and searches and populations do not.
    """

    summary = "stops by the generalization loss, or by it beside training progress"
    stacked = BetweenEpochs

    monitor: Annotated[str, Name()] = field(default=DEFAULT_MONITOR, kw_only=False)
    criterion: Annotated[Literal["gl", "pq"], Choice(("gl", "pq"))] = "gl"
    alpha: Annotated[float, Range(0.0, float("inf"), open="low", fixed=True)] = 5.0
    strip: Annotated[int, Range(2, float("inf"), integer=True)] = 5
    train_monitor: Annotated[str, Name()] = "train_loss"
    min_epochs: Annotated[int, Range(0, float("inf"), integer=True)] = 0
    restore: Annotated[bool, Flag()] = True

    @property
    def watching(self) -> tuple[str, ...]:
        return (self.monitor, self.train_monitor) if self.criterion == "pq" else (self.monitor,)

    def fresh(self, epoch: int) -> State:
        return {**super().fresh(epoch), "strip": []}

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        score, state = self.score_of(scores, self.monitor), ctx.state
        better = improves(score, state["best"], "min", 0.0)
        if better:
            self.keep(score, ctx)
        lost = math.inf if state["best"] is None else generalization_loss(score, state["best"])
        said = f"{self.monitor} is {lost:.3g} % above its lowest"
        if self.criterion == "pq":
            state["strip"] = [*state["strip"], self.score_of(scores, self.train_monitor, "train_monitor")]
            if len(state["strip"]) < self.strip:
                return Verdict(best=better)
            gained, state["strip"] = progress(state["strip"]), []
            lost = 0.0 if lost == 0 else lost / gained if gained > 0 else math.inf
            said += f", {lost:.3g} times the progress of {self.strip} epochs"
        stop = lost > self.alpha and ctx.epoch >= self.min_epochs
        best = f"; best {state['best']} at epoch {state['best_epoch']}"
        return Verdict(stop=stop, best=better, reason=said + best if stop else "")
