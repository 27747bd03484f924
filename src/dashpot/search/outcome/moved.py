"""The data of a search that has begun: where they were, beside the run if both were moved, or where the user says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dashpot.core.errors import ConfigError, DashpotError, StorageError
from dashpot.data import Problem, load_problem

LEVELS = 3
"""Folders above the run in which data of the same name are looked for."""


def whereabouts(folder: Path, source: Path | None) -> dict[str, Any]:
    """The place of the data, by itself and as seen from the run."""
    if source is None:
        return {"data": None, "beside": None}
    whole = source.resolve()
    try:
        beside = os.path.relpath(whole, folder.resolve())
    except ValueError:  # on another drive
        beside = None
    return {"data": str(whole), "beside": beside}


def places(folder: Path, stored: Mapping[str, Any]) -> Iterator[Path]:
    """Where the data may be, likeliest first."""
    first = Path(stored["data"])
    yield first
    if stored.get("beside"):
        yield folder.resolve() / stored["beside"]
    here = folder.resolve()
    for parent in (here, *list(here.parents)[:LEVELS]):
        yield parent / first.name


def reopened(folder: Path, stored: Mapping[str, Any], given: Path | None = None) -> tuple[Problem, Path | None]:
    """The data of the search in ``folder``, and where they are.

    Args:
        stored: the content of its ``tune.json``.
        given: where the user says that they are.

    Raises:
        ConfigError: they are not those with which the search began.
        StorageError: they are not found.
    """
    wanted = stored.get("fingerprint")

    def read(place: Path | None) -> Problem:
        said = stored.get("reading", {})
        return load_problem(place, stored["target"], stored["task"], stored.get("weights"), **said)

    if given is None and stored["data"] is None:
        return read(None), None
    others: list[str] = []
    for place in dict.fromkeys([given] if given is not None else places(folder, stored)):
        if given is None and not place.exists():
            continue
        try:
            problem = read(place)
        except DashpotError as error:
            if given is not None or place == Path(stored["data"]):
                raise
            others.append(f"{place} ({error})")  # something else of this name
            continue
        if wanted is None or problem.fingerprint == wanted:
            return problem, place.resolve()
        others.append(f"{place} (fingerprint {problem.fingerprint})")
    if others:
        rule = f"the data with which the search in {folder} began (fingerprint {wanted})"
        raise ConfigError("--data", rule, "; ".join(others), "Point at them, or start a new search.")
    raise StorageError(
        f"the data of this search are no longer at {stored['data']}, nor beside the run. Say where they are:"
        f" `dashpot tune --resume {folder} --data PATH`."
    )
