"""Candidates that fail: why, and when a search has no hope."""

from __future__ import annotations

from collections.abc import Sequence

from dashpot.core.errors import ConfigError
from dashpot.search.racing.trial import Trial

NOT_FINITE = "its loss became NaN or infinite"
NO_OUTPUTS = "its outputs were never finite"


def hopeless(trials: Sequence[Trial]) -> bool:
    """Whether all of a race failed by errors, which others will not escape; a loss that is infinite may be finite at
    another learning rate.
    """
    return all(r.state == "failed" and r.reason not in ("", NOT_FINITE, NO_OUTPUTS) for r in trials)


def none_trains(trials: Sequence[Trial]) -> ConfigError:
    """That no candidate trained, and why."""
    found = dict.fromkeys(r.reason for r in trials if r.reason not in ("", NOT_FINITE, NO_OUTPUTS))
    got, way = ("; ".join(list(found)[:3]), "") if found else ("one in which every loss became infinite", LOWER)
    return ConfigError("space", "one in which some candidate trains", got, way)


LOWER = "Lower the learning rates."
