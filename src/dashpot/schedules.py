"""Numbers that follow the training, to stand for any number of a technique.

``Dropout(p=schedules.linear(0.3, 0.0))`` is ``Dropout(p="0.3to0")``; the text is the same on the command line and in
TOML. See :class:`~dashpot.core.fields.schedule.Schedule`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.fields.schedule import SHAPES, Moment, Schedule
from dashpot.training.plateau import Plateau, reduce_on_plateau

__all__ = [
    "Moment",
    "Plateau",
    "Rate",
    "Schedule",
    "cosine",
    "cyclic",
    "linear",
    "reduce_on_plateau",
    "swa",
    "window",
]

STEPS = 10**6
"""Into so many a run is divided where only its progress is known."""

# They return Any, so that a type checker lets them stand where a technique's field is a number.


def linear(start: float, end: float, *, begin: str | Moment | None = None, until: str | Moment | None = None) -> Any:
    """From ``start`` to ``end`` in a straight line.

    Args:
        start, end: the two values.
        begin: when it begins, such as ``"10%"``, ``"5epochs"`` or ``"500steps"``; before it is ``start``. None: with
            the run.
        until: when it ends; from then on it is ``end``. None: with the run.

    Raises:
        ConfigError: values that are not finite, or moments that cannot be read or are in the wrong order.

    Example:
        >>> import dashpot
        >>> from dashpot import schedules
        >>> print(dashpot.Dropout(p=schedules.linear(0.3, 0.0)))
        Dropout(p='0.3to0')
        >>> schedules.linear(0.0, 1e-4, until="10%").value(5, steps=100)
        5e-05
    """
    return Schedule(start, end, "linear", begin, until)  # type: ignore[arg-type]  # text is read by the class


def cosine(start: float, end: float, *, begin: str | Moment | None = None, until: str | Moment | None = None) -> Any:
    """From ``start`` to ``end`` by half a cosine wave: slow, fast, slow.

    Args:
        start, end, begin, until: as for :func:`linear`.

    Raises:
        ConfigError: as for :func:`linear`.

    Example:
        >>> from dashpot import schedules
        >>> [round(schedules.cosine(0.3, 0.0).value(step, steps=4), 4) for step in range(5)]
        [0.3, 0.2561, 0.15, 0.0439, 0.0]
    """
    return Schedule(start, end, "cosine", begin, until)  # type: ignore[arg-type]  # text is read by the class


def window(number: float, *, start: str | Moment | None = None, until: str | Moment | None = None) -> Any:
    """``number`` between two moments, and the field's off value outside.

    Args:
        number: the value inside.
        start, until: its moments, as for :func:`linear`; give at least one.

    Raises:
        ConfigError: no moment, or as for :func:`linear`; a field without an off value refuses it.

    Example:
        >>> import dashpot
        >>> from dashpot import schedules
        >>> sam = dashpot.SAM(rho=schedules.window(0.05, start="90%"))
        >>> [sam.at(step, steps=100).rho for step in (0, 89, 90, 99)]
        [0.0, 0.0, 0.05, 0.05]
    """
    return Schedule(number, number, "linear", start, until)  # type: ignore[arg-type]  # text is read by the class


def swa(start: str | Moment = "75%", final: float = 0.05, anneal: str = "cosine") -> Rate:
    r"""The learning rate that suits :class:`~dashpot.averaging.SWA`, for ``fit(..., schedule=...)``: it falls until the
    averaging begins, and stays there.

    .. math:: f(t) = \mathrm{final} + (1 - \mathrm{final})\, \tfrac{1 + \cos(\pi t / t_0)}{2} \text{ for } t < t_0,
        \quad \mathrm{final} \text{ after}

    Args:
        start: a share of the run such as ``"75%"``, the technique's own ``start``.
        final: what is left of the learning rate from then on, in (0, 1].
        anneal: ``"cosine"`` or ``"linear"``.

    Raises:
        ConfigError: a start that is no share of the run, or numbers that are none of these.

    Example:
        >>> from dashpot import schedules
        >>> rate = schedules.swa(start="50%", final=0.1, anneal="linear")
        >>> [round(rate(t), 3) for t in (0.0, 0.25, 0.5, 1.0)]
        [1.0, 0.55, 0.1, 0.1]
    """
    moment = Moment.parse("start", start)
    if moment.unit != "%" or not moment.amount:
        raise ConfigError("start", "a share of the run above 0%, such as 75%", str(start))
    if anneal not in SHAPES:
        raise ConfigError("anneal", f"one of {', '.join(SHAPES)}", anneal)
    final = check_number("final", final, Range(0.0, 1.0, open="low"))
    return Rate(Schedule(1.0, final, anneal, until=moment) if final < 1 else None)  # type: ignore[arg-type]  # checked


def cyclic(cycles: int) -> Rate:
    r"""Cosine waves from the full learning rate to zero, again and again: at the end of each the weights are a model of
    their own, for a snapshot ensemble or a :func:`dashpot.soup`.

    .. math:: f(t) = \tfrac{1}{2} + \tfrac{1}{2} \cos(\pi\, (c\,t \bmod 1))

    Args:
        cycles: c >= 1.

    Raises:
        ConfigError: no whole number >= 1.

    Example:
        >>> from dashpot import schedules
        >>> rate = schedules.cyclic(2)
        >>> [round(rate(t), 3) for t in (0.0, 0.25, 0.499, 0.5, 1.0)]
        [1.0, 0.5, 0.0, 1.0, 0.0]

    Paper: Huang et al., "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017.
    """
    return Rate(Schedule(1.0, 0.0, "cosine"), check_whole("cycles", cycles))


@dataclass(frozen=True)
class Rate:
    """A factor of the learning rate as a function of progress in [0, 1], for ``fit(..., schedule=...)``.

    Attributes:
        within: the factor in the course of a cycle; None: 1 throughout.
        cycles: how often it begins anew.
    """

    within: Schedule | None
    cycles: int = 1

    def __call__(self, progress: float) -> float:
        if self.within is None:
            return 1.0
        place = progress * self.cycles
        place = 1.0 if progress >= 1 else place - math.floor(place)
        # Schedules count steps; a thousandth of a thousandth of the run is fine enough for any.
        value = self.within.value(round(place * STEPS), STEPS)
        assert value is not None, "it is no window"
        return value
