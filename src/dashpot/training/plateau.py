"""A learning rate that falls when a score no longer improves; a function of the scores so far, so nothing is saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.techniques.stopping.best_weights import DEFAULT_MONITOR, improves


@dataclass(frozen=True)
class Plateau:
    """A factor of the learning rate by the scores of the epochs so far, for ``fit(..., schedule=...)``; made by
    :func:`dashpot.schedules.reduce_on_plateau`.

    >>> plateau = Plateau("val_loss", "min", factor=0.5, patience=0)
    >>> [plateau.after([{"val_loss": loss} for loss in seen]) for seen in ([], [2.0], [2.0, 3.0], [2.0, 3.0, 1.0])]
    [1.0, 1.0, 0.5, 0.5]
    """

    monitor: str
    mode: str
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    cooldown: int = 0
    lowest: float = 0.0

    def after(self, history: Sequence[Mapping[str, float]]) -> float:
        """The factor in the epoch after these."""
        best, waited, cooling, factor = None, 0, 0, 1.0
        for row in history:
            score = float(row[self.monitor])
            if improves(score, best, self.mode, self.min_delta):
                best, waited = score, 0
            else:
                waited += 1
            if cooling:
                cooling, waited = cooling - 1, 0
            if waited > self.patience:
                factor, cooling, waited = max(factor * self.factor, self.lowest), self.cooldown, 0
        return factor


def reduce_on_plateau(
    monitor: str = DEFAULT_MONITOR,
    *,
    mode: str | None = None,
    factor: float = 0.1,
    patience: int = 10,
    min_delta: float = 0.0,
    cooldown: int = 0,
    min_factor: float = 0.0,
) -> Plateau:
    """A learning rate that is multiplied by ``factor`` when a score has not improved for more than ``patience`` epochs,
    for ``fit(..., schedule=...)``. In a loop of your own ``torch.optim.lr_scheduler.ReduceLROnPlateau`` does the same,
    since no technique owns the learning rate.

    Args:
        monitor: the score, a column of ``result.history``.
        mode: ``"min"`` or ``"max"``; it must be given for any monitor but the default.
        factor: in (0, 1).
        patience: epochs in a row without an improvement that are borne, as in torch.
        min_delta: by which a score must improve, in its own units.
        cooldown: epochs after a reduction in which none is counted.
        min_factor: the least that is left of the first learning rate, in [0, 1].

    Raises:
        ConfigError: a number outside its range, or a monitor without a direction.

    Example:
        >>> import torch, dashpot
        >>> from dashpot import schedules
        >>> x = torch.randn(64, 5); data = (x, x[:, :1])
        >>> rate = schedules.reduce_on_plateau(patience=1, factor=0.5)
        >>> model = torch.nn.Linear(5, 1)
        >>> result = dashpot.fit(model, data, valid=data, schedule=rate, lr=1e-2, epochs=2, progress=False)
        >>> [row["lr"] for row in result.history]  # the first two are borne
        [0.01, 0.01]
        >>> rate.after([{"val_loss": loss} for loss in (1.0, 2.0, 3.0)])
        0.5
    """
    if not isinstance(monitor, str) or not monitor.strip():
        raise ConfigError("monitor", "a non-empty text", monitor)
    if mode not in ("min", "max", None) or (mode is None and monitor != DEFAULT_MONITOR):
        rule = f"'min' or 'max' for the monitor {monitor!r}"
        raise ConfigError("mode", rule, mode, "A direction is never guessed from a name.")
    return Plateau(
        monitor,
        mode or "min",
        check_number("factor", factor, Range(0.0, 1.0, open="both", fixed=True)),
        check_whole("patience", patience, low=0),
        check_number("min_delta", min_delta, Range(0.0, math.inf, fixed=True)),
        check_whole("cooldown", cooldown, low=0),
        check_number("min_factor", min_factor, Range(0.0, 1.0, fixed=True)),
    )
