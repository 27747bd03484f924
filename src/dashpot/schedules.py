"""Numbers that follow the training, to stand for any number of a technique.

``Dropout(p=schedules.linear(0.3, 0.0))`` is ``Dropout(p="0.3to0")``; the text is the same on the command line and in
TOML. See :class:`~dashpot.core.fields.schedule.Schedule`.
"""

from __future__ import annotations

from typing import Any

from dashpot.core.fields.schedule import Moment, Schedule

__all__ = ["Moment", "Schedule", "cosine", "linear", "window"]

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
