"""Early stopping: end training when a score no longer improves, and keep the best weights."""

from dataclasses import field
from typing import Annotated, Literal

from dashpot.core.fields.domains import Choice, Flag, Name, Range
from dashpot.core.preset import Preset
from dashpot.core.running.context import Context
from dashpot.core.stacks.between_epochs import BetweenEpochs
from dashpot.core.technique import Scores, Verdict
from dashpot.techniques.stopping.best_weights import DEFAULT_MONITOR, BestWeights, improves


class EarlyStopping(BestWeights):
    r"""End training when a score has not improved for a while, and leave the best weights in the model.

    An epoch improves if :math:`s < s_\mathrm{best} - \delta` (mode ``min``) or :math:`s > s_\mathrm{best} + \delta`
    (mode ``max``); δ is absolute, so negative scores are no trouble. NaN is never best and a tie keeps the earlier.
    The best weights are a deep copy (of the averages, if the recipe keeps any); they are saved in the session's state
    and put back on every way out: stopped, ran to the end, interrupted.

    Args:
        monitor: the score to watch, a key of what ``session.epoch`` gets. ``"val_refined_loss"`` (mode ``min``) is
            the log loss of the validation rows after the temperature that suits them best, which ``fit`` takes where
            something watches it: what a calibrated model will have, whatever over-confidence it has now (Berta,
            Holzmüller, Jordan and Bach, "Rethinking Early Stopping: Refine, Then Calibrate", 2025).
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
    stacked = BetweenEpochs

    monitor: Annotated[str, Name()] = field(default=DEFAULT_MONITOR, kw_only=False)
    mode: Annotated[Literal["min", "max"] | None, Choice(("min", "max"), optional=True)] = None
    patience: Annotated[int, Range(0, float("inf"), integer=True)] = 10
    min_delta: Annotated[float, Range(0.0, float("inf"))] = 0.0
    min_epochs: Annotated[int, Range(0, float("inf"), integer=True)] = 0
    restore: Annotated[bool, Flag()] = True

    @property
    def watching(self) -> tuple[str, ...]:
        return (self.monitor,)

    def validate(self) -> None:
        self.demand_direction(self.monitor, self.mode)

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        score, state = self.score_of(scores, self.monitor), ctx.state
        better = improves(score, state["best"], self.mode or "min", self.min_delta)
        if better:
            self.keep(score, ctx)
        waited = ctx.epoch - state["best_epoch"]
        stop = waited > 0 and waited >= max(self.patience, 1) and ctx.epoch >= self.min_epochs
        reason = (
            f"{self.monitor} has not improved for {waited} epoch{'s' * (waited > 1)}; best {state['best']:.6g} at epoch"
            f" {state['best_epoch']}"
            if stop
            else ""
        )
        return Verdict(stop=stop, best=better, reason=reason)
