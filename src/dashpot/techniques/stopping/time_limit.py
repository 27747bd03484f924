"""A time limit: end training after the epoch in which a time has passed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from dashpot.core.durations import RULE, seconds
from dashpot.core.fields.domains import Domain
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Scores, State, Verdict
from dashpot.techniques.stopping.best_weights import Stopping


@dataclass(frozen=True)
class Duration(Domain):
    """A time, as text such as ``"90s"``, ``"10m"`` or ``"2h"``; a number is seconds."""

    @property
    def rule(self) -> str:
        return RULE

    def check(self, parameter: str, value: Any) -> str:
        number = seconds(value, parameter)
        unit = isinstance(value, str) and value[-1:] in ("s", "m", "h")
        return str(value) if unit else f"{number:.12g}s"

    def parse(self, parameter: str, text: str) -> str:
        return self.check(parameter, text)


class TimeLimit(Stopping):
    r"""End training after the first epoch at whose end a time has passed.

    .. math:: \text{stop after epoch } t \text{ if } \sum_{\text{lives}} (\text{now} - \text{attached}) \ge \text{limit}

    The clock starts when the session is attached; evaluation counts. Of a resumed run the times of all lives up to
    their last epoch are added. Under DistributedDataParallel the mean of the ranks' clocks decides, for all alike. The
    weights are those of the last epoch, or the best ones where another technique keeps them.

    Args:
        limit: seconds, or text such as ``"90s"``, ``"10m"`` or ``"2h"``.

    Raises:
        ConfigError: no time above 0.
        ConflictError: in a search or a population, which train many networks side by side.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.stopping import TimeLimit
        >>> model = torch.nn.Linear(1, 1)
        >>> session = TimeLimit("1h").attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.epoch({}).stop
        False

    Paper: none.

    When not to use it: ``fit(budget="10m")`` also lets the learning rate fall by the clock, so that it is where its
    schedule ends when the time is up, and ends within an epoch.
    """

    summary = "stops after the epoch in which a time has passed"
    waivers: ClassVar[Mapping[str, str]] = {
        **Stopping.waivers,
        "acts": "it follows a clock, not scores",
    }

    limit: Annotated[str, Duration()] = field(default="1h", kw_only=False)

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"spent": 0.0, "before": 0.0, "began": ctx.attached_at}

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        state = ctx.state
        if state["began"] != ctx.attached_at:  # saved in another life
            state["began"], state["before"] = ctx.attached_at, state["spent"]
        state["spent"] = state["before"] + time.monotonic() - ctx.attached_at
        spent = ctx.over_ranks(state["spent"])
        stop = spent >= seconds(self.limit)
        return Verdict(stop=stop, reason=f"the time limit of {self.limit} is over" if stop else "")
