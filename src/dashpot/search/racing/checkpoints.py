"""The networks and out-of-fold outputs of finished candidates, as files: what is on the disk need not be
trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import StorageError
from dashpot.core.tree import load_tree, save_tree
from dashpot.search.racing.trial import Stage, Trial
from dashpot.search.space.space import Candidate

FOLDER = "candidates"


def path_of(folder: Path, number: int, repeat: int = 0) -> Path:
    """The file of a candidate (and of a further seed of it)."""
    return folder / FOLDER / (f"{number}.safetensors" if repeat == 0 else f"{number}-{repeat}.safetensors")


def save(folder: Path, runner: Trial) -> None:
    """Write a complete runner, as a whole or not at all."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    tree = {
        "params": dict(runner.candidate.params),
        "lineage": plain(runner.lineage),
        "scores": [float(s) for s in runner.scores],
        "train_score": runner.train_score,
        "epochs": runner.epochs,
        "best_epoch": runner.best_epoch,
        "planned": runner.planned,
        "ended": runner.ended,
        "history": [[e, s] for e, s in runner.history if np.isfinite(s)],
        "seconds": runner.seconds,
        "outputs": {str(i): out.contiguous() for i, out in enumerate(runner.outputs)},
        "folds": {
            str(i): {name: t.contiguous() for name, t in tensors.items()} for i, tensors in enumerate(runner.tensors)
        },
    }
    save_tree(tree, path_of(folder, runner.number, runner.repeat))


def folds_of(folder: Path, number: int, repeat: int = 0) -> int:
    """On how many folds a candidate's networks are here, without reading them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path_of(folder, number, repeat)), framework="pt") as file:
            return sum(name.startswith("/outputs/") for name in file.keys())  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError):
        return 0


def plain(lineage: Sequence[Stage]) -> list[list[Any]]:
    """The stages that a network's strengths went through, as plain JSON."""
    return [[stage.epoch, dict(stage.candidate.params)] for stage in lineage]


def load(
    folder: Path, number: int, candidate: Candidate, repeat: int = 0, lineage: Sequence[Stage] = ()
) -> Trial | None:
    """A runner from its file, or None where there is none, or it is damaged or of another candidate: then it is trained
    again.
    """
    path = path_of(folder, number, repeat)
    if not path.exists():
        return None
    try:
        tree = load_tree(path)
        if dict(tree["params"]) != dict(candidate.params) or tree.get("lineage", []) != plain(lineage):
            return None
        runner = Trial(number, candidate, "complete", epochs=int(tree["epochs"]), repeat=repeat, lineage=list(lineage))
        runner.scores, runner.train_score = [float(s) for s in tree["scores"]], tree["train_score"]
        runner.history = [(int(e), float(s)) for e, s in tree["history"]]
        runner.seconds, runner.best_epoch, runner.planned = (
            float(tree["seconds"]),
            int(tree["best_epoch"]),
            int(tree["planned"]),
        )
        runner.ended = bool(tree.get("ended", False))
        runner.outputs = [tree["outputs"][str(i)] for i in range(len(tree["outputs"]))]
        runner.tensors = [tree["folds"][str(i)] for i in range(len(tree["folds"]))]
    except (StorageError, KeyError, TypeError, ValueError):
        return None
    return runner
