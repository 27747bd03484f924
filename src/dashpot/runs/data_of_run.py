"""The data of a saved run, prepared as in its training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from dashpot.core.errors import DashpotError, DataError
from dashpot.data import Prepared, Problem, Split, Target, load_problem
from dashpot.data.kinds import Prepares
from dashpot.data.tables.preprocessing import Preprocessing

FOUND = "found"
"""The data of the run, where they still are."""
SOURCE = "source"
"""Where the data of a run lay, in its record."""


def trained_on(folder: Path) -> tuple[str | None, int]:
    """The fingerprint of the data that a run was trained on, and the seed of its split; None where it is not known."""
    for name, data, settings in (("metrics.json", "data", ""), ("tune.json", "", "config")):
        try:
            record = json.loads((folder / name).read_text(encoding="utf-8"))
            given, own = (record[part] if part else record for part in (data, settings))
            return str(given["fingerprint"]), int(own["seed"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None, 0


def source_of(folder: Path, how: Prepares, target: Target) -> tuple[bool, Path | None]:
    """Whether the data of a run are still where they were, and where; None are the digits.

    Only what has the same content counts.
    """
    for name in ("metrics.json", "tune.json"):
        try:
            told = json.loads((folder / name).read_text(encoding="utf-8"))["data"]
            told = told[SOURCE] if isinstance(told, dict) else told
            path = None if told is None else Path(told)
            if path is not None and not path.exists():
                continue
            if problem_of(path, how, target).fingerprint == trained_on(folder)[0]:
                return True, path
        except (DashpotError, OSError, ValueError, AttributeError, KeyError, TypeError):
            continue
    return False, None


def problem_of(data: str | Path | None, how: Prepares, target: Target) -> Problem:
    """Data with a target, read as those of the run.

    Raises:
        ConfigError, DataError, StorageError: as of reading them.
    """
    names = target.name or None, target.task, target.weight or None
    if data is None or Path(data).is_dir() or Path(data).suffix == ".npz":
        names = None, target.task, None  # no table
    kind = how.kind if how.kind in ("text", "signal") and names[0] is not None else None
    return load_problem(data, *names, kind=kind)


def prepared_of(
    folder: Path, data: str | Path | None, how: Prepares, target: Target
) -> tuple[Problem, Prepared, Split, bool]:
    """The data prepared by what the run has learned, the split (another of other data), and whether they are the run's.

    Raises:
        DataError: data of another kind, or with classes that the run does not know.
    """
    problem = problem_of(data, how, target)
    known, seed = trained_on(folder)
    same = problem.fingerprint == known
    if not same and isinstance(how, Preprocessing) and how.nominal:
        # Of what was nominal in training the new rows alone may read as numbers.
        problem = load_problem(
            data, target.name or None, target.task, target.weight or None, categorical=tuple(how.nominal)
        )
    if problem.kind != how.kind:
        raise DataError(f"{problem.name} must be of kind {how.kind}, as in training, got {problem.kind}.")
    if target.classes:
        unknown = sorted(set(problem.classes) - set(target.classes))
        if unknown:
            raise DataError(
                f"{problem.name} must have the classes of the run, {', '.join(target.classes[:8])}; it also has"
                f" {', '.join(map(repr, unknown[:4]))}."
            )
        code = np.array([target.classes.index(name) for name in problem.classes], np.int64)
        y = torch.from_numpy(code[problem.labels])
    else:
        y = torch.from_numpy(((problem.labels - target.mean) / target.scale).astype(np.float32))
    x = torch.from_numpy(np.asarray(how.transform(problem.inputs)))
    prepared = Prepared(x, y, how, target, how.feature_names, problem.weights)
    return problem, prepared, problem.split(seed if same else 0), same
