"""Which trials of a study count for a candidate: a worker may have died, and another taken over its trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.report.tune.trial_record import TrialRecord, demand_version

TAKEN, ASIDE = "taken over by", "set aside"
"""Attributes of trials that do not count."""
RECORD = "record"
"""The attribute that holds the record of a trial."""
FORMAT = 2
"""Of what a study holds beside Optuna's own; 1 was before the records of trials were typed, and wrote no number."""


def record_of(trial: Any) -> TrialRecord | None:
    """The record of a trial, as far as its worker wrote it.

    Raises:
        StorageError: another version has written it.
    """
    data = trial.user_attrs.get(RECORD)
    return None if data is None else TrialRecord.from_dict(data)


def counted(trial: Any) -> bool:
    """Whether a trial counts for a candidate: not if its worker died (a copy does), and not if it was one too many."""
    return not (trial.state.name == "FAIL" and (TAKEN in trial.user_attrs or ASIDE in trial.user_attrs))


def root(trial: Any) -> int:
    """The trial that this one is a copy of; its own number if it is none."""
    return int(trial.user_attrs.get("again", trial.number))


def candidates(trials: Sequence[Any]) -> dict[int, list[Any]]:
    """Every candidate by its first trial, with the trials that have been made for it; those beyond a limit are none."""
    found: dict[int, list[Any]] = {}
    for trial in trials:
        if root(trial) != trial.number or not (trial.state.name == "FAIL" and ASIDE in trial.user_attrs):
            found.setdefault(root(trial), []).append(trial)
    return found


def full(trials: Sequence[Any], most: int) -> bool:
    """Whether a study has as many candidates as it may have, and none of them waits."""
    return len(candidates(trials)) >= most and all(t.state.name != "WAITING" for t in trials)


def unwanted(trials: Sequence[Any], number: int, most: int | None) -> str | None:
    """Why a trial is one too many, of those up to its number: two workers may have made a copy of the same, or asked
    for the last candidate at the same moment.

    The lower number was first.
    """
    found = candidates(trials)
    mine = next(first for first, family in found.items() if any(t.number == number for t in family))
    if mine != number:
        other = next((t.number for t in found[mine] if t.number < number and counted(t)), None)
        return None if other is None else f"candidate {mine} is trained as {other}"
    return f"beyond the limit of {most}" if most is not None and len(found) > most else None


def demand_same(study: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to join a study with other settings.

    Raises:
        StorageError: an earlier or a newer Dashpot has begun it.
        ConfigError: which differ.
    """
    demand_version(
        f"the format of {study}",
        theirs.get("format"),
        FORMAT,
        "Go on with the version that began it, or name another study (--study) or folder.",
    )
    # A study from before it was written says nothing of the network.
    theirs = {"network": ours.get("network"), **theirs}
    different = [key for key in {**ours, **theirs} if key != "format" and theirs.get(key) != ours.get(key)]
    if different:
        old, new = ({key: side.get(key) for key in different} for side in (theirs, ours))
        raise ConfigError(
            study,
            f"of the same {' and '.join(different)} ({short(old, new)})",
            short(new, old),
            "Join with the same data, options and version, or name another study (--study).",
        )


def short(value: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What differs, and not what is the same."""
    parts = []
    for key, part in value.items():
        theirs = other.get(key)
        if isinstance(part, Mapping) and isinstance(theirs, Mapping):
            part = {k: part.get(k, "absent") for k in {**part, **theirs} if part.get(k) != theirs.get(k)}
        parts.append(f"{key} {part if isinstance(part, str) else str(part)}")
    text = ", ".join(parts)
    return text if len(text) <= 200 else text[:197] + "..."
