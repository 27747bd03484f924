"""Stopping by several scores: when all of them, or any, no longer improve."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Choice, Domain, Flag, Range
from dashpot.core.running.context import Context
from dashpot.core.stacks.between_epochs import BetweenEpochs
from dashpot.core.technique import Scores, State, Verdict
from dashpot.techniques.stopping.best_weights import DEFAULT_MONITOR, BestWeights, improves

_MODES = ("min", "max")


def read_monitors(text: str) -> tuple[tuple[str, str], ...]:
    """Scores with the direction that is good; empty where it cannot be read.

    >>> read_monitors("val_loss, val_accuracy:max")
    (('val_loss', 'min'), ('val_accuracy', 'max'))
    """
    found = []
    for part in text.split(","):
        name, colon, mode = (piece.strip() for piece in part.partition(":"))
        mode = mode if colon else "min" if name == DEFAULT_MONITOR else ""
        if not name or mode not in _MODES:
            return ()
        found.append((name, mode))
    return tuple(found) if len({name for name, _ in found}) == len(found) else ()


@dataclass(frozen=True)
class Monitors(Domain):
    """Scores with their directions, as text."""

    @property
    def rule(self) -> str:
        return "scores with their directions, each once, such as val_loss:min,val_accuracy:max"

    def check(self, parameter: str, value: Any) -> str:
        found = read_monitors(value) if isinstance(value, str) else ()
        if not found:
            raise ConfigError(parameter, self.rule, value, "A direction is never guessed from a name.")
        return ",".join(f"{name}:{mode}" for name, mode in found)

    def parse(self, parameter: str, text: str) -> str:
        return self.check(parameter, text)


class MultiMetricStopping(BestWeights):
    r"""End training when all of several scores have not improved for a while, or any of them, and leave the best
    weights of the first one in the model.

    With the last epoch :math:`b_i` in which score i improved, as :class:`~dashpot.EarlyStopping` judges it, epoch t
    ends the training if

    .. math:: t - b_i \ge \mathrm{patience} \quad \text{for all } i \text{ (or any } i\text{)}

    Args:
        monitors: the scores, keys of what ``session.epoch`` gets, each with ``:min`` or ``:max``; only ``val_loss`` may
            do without. The best epoch is that of the first.
        when: ``"all"``: stop only when none improves any more; ``"any"``: when one of them does not.
        patience: epochs in a row without an improvement; 0 acts as 1.
        min_delta: δ >= 0, by which a score must improve, in the units of each.
        min_epochs: no stop before this many epochs.
        restore: put the best weights back; without it the last ones stay.

    Raises:
        ConfigError: monitors without a direction, or one that is there twice.
        UnknownNameError: ``session.epoch`` got scores without a monitored one.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.stopping import MultiMetricStopping
        >>> model = torch.nn.Linear(1, 1)
        >>> stopping = MultiMetricStopping("val_loss:min,val_accuracy:max", patience=2)
        >>> session = stopping.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> scores = [(1.0, 0.5), (1.1, 0.6), (1.2, 0.6), (1.3, 0.5)]
        >>> [session.epoch({"val_loss": loss, "val_accuracy": hits}).stop for loss, hits in scores]
        [False, False, False, True]

    Paper: none; Prechelt's patience ("Early Stopping - But When?", 1998) for each score.

    When not to use it: where one score decides, :class:`~dashpot.EarlyStopping` says so more plainly. With ``"all"``, a
    score that creeps upwards for ever lets training go on for ever: give a ``min_delta``.
    """

    summary = "stops when all, or any, of several scores no longer improve"
    stacked = BetweenEpochs

    monitors: Annotated[str, Monitors()] = field(default="val_loss:min", kw_only=False)
    when: Annotated[Literal["all", "any"], Choice(("all", "any"))] = "all"
    patience: Annotated[int, Range(0, float("inf"), integer=True)] = 10
    min_delta: Annotated[float, Range(0.0, float("inf"))] = 0.0
    min_epochs: Annotated[int, Range(0, float("inf"), integer=True)] = 0
    restore: Annotated[bool, Flag()] = True

    @property
    def watching(self) -> tuple[str, ...]:
        return tuple(name for name, _ in read_monitors(self.monitors))

    def fresh(self, epoch: int) -> State:
        count = len(self.watching)
        return {**super().fresh(epoch), "bests": [None] * count, "improved": [epoch] * count}

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        state, better = ctx.state, False
        bests, improved = list(state["bests"]), list(state["improved"])
        known = read_monitors(self.monitors)
        for k, (name, mode) in enumerate(known):
            score = self.score_of(scores, name, "monitors")
            if improves(score, bests[k], mode, self.min_delta):
                bests[k], improved[k] = score, ctx.epoch
                if k == 0:
                    better = True
                    self.keep(score, ctx)
        state["bests"], state["improved"] = bests, improved
        waited = [ctx.epoch - at for at in improved]
        late = [count > 0 and count >= max(self.patience, 1) for count in waited]
        stop = (all(late) if self.when == "all" else any(late)) and ctx.epoch >= self.min_epochs
        said = [
            f"{name} has not improved for {count} epoch{'s' * (count > 1)}"
            for (name, _), count, done in zip(known, waited, late, strict=True)
            if done
        ]
        best = f"best {known[0][0]} {state['best']:.6g} at epoch {state['best_epoch']}"
        return Verdict(stop=stop, best=better, reason=f"{' and '.join(said)}; {best}" if stop else "")
