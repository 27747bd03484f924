"""A size that a network is to have, as text: ``20k parameters``, ``0.5x macs``, ``1 MB``, ``2x faster``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.schedule import plain
from dashpot.shrinking.costs import Measure

RULE = (
    "a size such as '20k parameters', '0.5x parameters', '0.5x macs', '2M macs' or '1 MB', above 0, shares up to 1x, or"
    " a time such as '2x faster' (of 64 rows) or '2x faster at batch 1', 1x at least"
)
_SIZE = re.compile(
    r"(\d+\.?\d*|\.\d+)\s*(?:(k|m|g|x)\s*(parameters|params|macs|bytes)|(k|m|g)?b|\s(parameters|params|macs|bytes))",
    re.IGNORECASE,
)
_FASTER = re.compile(r"(\d+\.?\d*|\.\d+)\s*x\s+faster(?:\s+at\s+batch\s+(\d+))?", re.IGNORECASE)
BATCH = 64
"""Rows of the call that becomes faster, where nothing is said."""
_TIMES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "x": 1.0}


@dataclass(frozen=True)
class Target:
    """A size.

    Attributes:
        amount: how much, in units of the measure, or as a share of the full network.
        relative: it is a share.
        measure: what is counted; multiply-adds are of one sample. ``"time"`` is measured.
        batch: of a time the rows of the call.
    """

    amount: float
    relative: bool
    measure: Measure
    batch: int = BATCH

    @staticmethod
    def parse(parameter: str, value: Any) -> tuple[Target, str]:
        """The size, and its text in one form.

        Raises:
            ConfigError: it is none.
        """
        faster = _FASTER.fullmatch(value.strip()) if isinstance(value, str) else None
        if faster is not None:
            times, batch = float(faster[1]), int(faster[2] or BATCH)
            if times < 1 or batch < 1:
                raise ConfigError(parameter, RULE, value)
            at = "" if batch == BATCH else f" at batch {batch}"
            return Target(1.0 / times, True, "time", batch), f"{plain(times)}x faster{at}"
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ConfigError(parameter, RULE, value)
        number, scale, word, of_bytes, bare = found.groups()
        scale = (scale or of_bytes or "").lower()
        named = (word or bare or "bytes").lower()
        measure: Measure = "parameters" if named == "params" else named  # type: ignore[assignment]  # by the pattern
        amount, relative = float(number) * _TIMES[scale], scale == "x"
        if amount <= 0 or (relative and amount > 1):
            raise ConfigError(parameter, RULE, value)
        shown = {"k": "k", "m": "M", "g": "G", "x": "x"}.get(scale, "")
        text = plain(float(number))
        return Target(amount, relative, measure), (
            f"{text} {shown}B" if word is None and bare is None else f"{text}{shown} {measure}"
        )

    def of(self, full: float) -> float:
        """The size for a network that has this one."""
        return self.amount * full if self.relative else self.amount
