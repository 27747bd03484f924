"""The networks and out-of-fold outputs of finished candidates, as files, so that they need not be
trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dashpot.core.errors import StorageError
from dashpot.core.tree import load_tree, save_tree
from dashpot.report.tune.trial_record import TrialRecord
from dashpot.search.racing.trial import Stage, Trial
from dashpot.search.space.space import Candidate

FOLDER = "candidates"


def path_of(folder: Path, number: int, repeat: int = 0) -> Path:
    """The file of a candidate (and of a further seed of it)."""
    return folder / FOLDER / (f"{number}.safetensors" if repeat == 0 else f"{number}-{repeat}.safetensors")


def save(folder: Path, trial: Trial) -> None:
    """Write a complete trial, as a whole or not at all."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    tree = {
        "trial": trial.record().to_dict(),
        "outputs": {str(i): out.contiguous() for i, out in enumerate(trial.outputs)},
        "folds": {
            str(i): {name: t.contiguous() for name, t in tensors.items()} for i, tensors in enumerate(trial.tensors)
        },
    }
    save_tree(tree, path_of(folder, trial.number, trial.repeat))


def folds_of(folder: Path, number: int, repeat: int = 0) -> int:
    """On how many folds a candidate's networks are here, without reading them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path_of(folder, number, repeat)), framework="pt") as file:
            return sum(name.startswith("/outputs/") for name in file.keys())  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError):
        return 0


def load(
    folder: Path, number: int, candidate: Candidate, repeat: int = 0, lineage: Sequence[Stage] = ()
) -> Trial | None:
    """A trial from its file, or None where there is none, or it is damaged or of another candidate: then it is trained
    again.
    """
    path = path_of(folder, number, repeat)
    if not path.exists():
        return None
    try:
        tree = load_tree(path)
        record = TrialRecord.from_dict(tree["trial"])
        known = {str(c.params): c for c in (candidate, *(stage.candidate for stage in lineage))}
        wanted = Trial(number, candidate, repeat=repeat, lineage=list(lineage)).record()
        if (record.params, record.stages, record.repeat) != (wanted.params, wanted.stages, repeat):
            return None
        trial = Trial.of(record, lambda params: known[str(dict(params))])
        trial.outputs = [tree["outputs"][str(i)] for i in range(len(tree["outputs"]))]
        trial.tensors = [tree["folds"][str(i)] for i in range(len(tree["folds"]))]
    except (StorageError, KeyError, TypeError, ValueError):
        return None
    return trial
