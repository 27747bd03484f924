"""Teachers that are runs: whether they were trained on inputs that were prepared as those of a training are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dashpot.core.errors import ConflictError
from dashpot.data.kinds import Prepares
from dashpot.runs.saved import load_run
from dashpot.techniques.outputs.distillation import Distillation, SavedRun


def demand_same_inputs(techniques: Iterable[Any], how: Prepares, classes: Iterable[Any]) -> None:
    """Refuse a teacher from a run that reads its inputs or its answers otherwise than the network that it is to teach.

    Args:
        techniques: of the recipe.
        how, classes: of the training; no classes for values.

    Raises:
        ConflictError: naming the run and what differs.
    """
    for technique in techniques:
        if isinstance(technique, Distillation) and isinstance(technique.teacher, SavedRun):
            technique.teacher()  # what is no run is refused by its own words
            _demand(technique.teacher.folder, how, tuple(map(str, classes)))


def _demand(folder: str, how: Prepares, classes: tuple[str, ...]) -> None:
    _, theirs, target = load_run(folder, tta=None)
    told = f"Distillation.teacher {folder}"
    if theirs.kind != how.kind or tuple(theirs.shape) != tuple(how.shape):
        raise ConflictError(
            f"{told} takes {theirs.kind} inputs of shape {list(theirs.shape)}, and these are {how.kind} of shape"
            f" {list(how.shape)}. Train a teacher on the same data."
        )
    if tuple(target.classes) != classes:
        raise ConflictError(
            f"{told} knows {_shown(target.classes)}, and the target here has {_shown(classes)}. Train a teacher on the"
            " same target."
        )
    # Networks for images hold the scale of their pixels; of all else it is part of what was prepared.
    if how.kind != "image" and _plain(theirs) != _plain(how):
        raise ConflictError(
            f"{told} was trained on the same kind of data, prepared otherwise: with other training rows, another scale"
            " or another reading of columns. Train it by the same command, on the same data and --seed, or name a"
            " function module:function that makes a teacher for inputs as they are here."
        )


def _plain(how: Prepares) -> str:
    return json.dumps(how.to_dict(), sort_keys=True, default=str)


def _shown(classes: tuple[str, ...]) -> str:
    return f"the classes {', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''}" if classes else "values"
