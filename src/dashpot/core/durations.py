"""Times that a user gives: seconds, or text such as ``"10m"``."""

from __future__ import annotations

import math
from typing import Any

from dashpot.core.errors import ConfigError

RULE = "more than 0 seconds, or a time such as 90s, 10m or 2h"
"""What a time must be."""


def seconds(time: Any, parameter: str = "budget") -> float:
    """``90``, ``"90"``, ``"90s"``, ``"10m"`` or ``"2h"`` as seconds.

    Raises:
        ConfigError: anything else.

    >>> seconds(90), seconds("10m"), seconds("1.5h")
    (90.0, 600.0, 5400.0)
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (time[:-1], units[time[-1]]) if isinstance(time, str) and time[-1:] in units else (time, 1.0)
    try:
        value = math.nan if isinstance(number, bool) else float(number) * unit
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(parameter, RULE, time)
    return value
