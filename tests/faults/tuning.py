"""Shared by the tests that kill searches: small data, the command, and what must hold of a study in the end, seen
through Optuna alone.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from sklearn.metrics import log_loss
from sqlalchemy.pool import NullPool

TUNE = [sys.executable, "-m", "dashpot", "tune"]


def small_table(path: Path, seed: int = 0) -> Path:
    """240 rows of two classes, with an interaction."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, 240))
    label = np.where(a + b * c + 0.5 * rng.normal(size=240) > 0, "yes", "no")
    path.write_text("a,b,c,target\n" + "".join(f"{x},{y},{z},{t}\n" for x, y, z, t in zip(a, b, c, label, strict=True)))
    return path


def start(*arguments: object, cwd: Path, log: str) -> subprocess.Popen[bytes]:
    """A `dashpot tune` that writes what it says to a file."""
    with open(cwd / log, "ab") as file:
        return subprocess.Popen([*TUNE, *map(str, arguments)], cwd=cwd, stdout=file, stderr=file)


@contextlib.contextmanager
def ended(workers: list[subprocess.Popen[bytes]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are all ended in the end, whatever happens."""
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def seen(name: str, url: str) -> optuna.Study:
    """A study through Optuna alone, without a connection that stays."""
    storage = optuna.storages.RDBStorage(
        url.replace("postgresql:", "postgresql+psycopg:"),
        engine_kwargs={"poolclass": NullPool},
        # Whoever looks at a study while its first worker makes the tables would make them, too.
        skip_table_creation=True,
    )
    return optuna.load_study(study_name=name, storage=storage)


def aside(trial: Any) -> bool:
    """Not a candidate of its own: given back by a dead worker's heir, or one too many."""
    return trial.state.name == "FAIL" and bool({"taken over by", "set aside"} & set(trial.user_attrs))


def drawn(trial: Any) -> dict[str, Any]:
    """Its point, as far as it is known: given from the queue, and drawn; a worker may have been killed before it drew
    all.
    """
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def demand_whole(study: optuna.Study, count: int) -> None:
    """Every candidate accounted for, none twice."""
    trials = study.get_trials()
    assert [t.number for t in trials] == list(range(len(trials)))
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    candidates = [t for t in trials if not aside(t)]
    assert len(candidates) == count
    points: dict[str, list[Any]] = {}
    for trial in candidates:
        points.setdefault(str(sorted(trial.params.items())), []).append(
            (trial.number, trial.state.name, trial.user_attrs)
        )
    assert not {point: same for point, same in points.items() if len(same) > 1}
    for trial in trials:
        if "taken over by" in trial.user_attrs and aside(trial):
            first = trial.user_attrs.get("again", trial.number)
            stand = [t for t in candidates if first in (t.number, t.user_attrs.get("again"))]
            assert len(stand) == 1, f"candidate {first} is counted {len(stand)} times"
            assert drawn(trial).items() <= drawn(stand[0]).items()
    for trial in candidates:
        if trial.state.name == "COMPLETE":
            assert trial.value is not None
            assert np.isclose(trial.value, np.mean(trial.user_attrs["record"]["fold_scores"]))


def recomputed(folder: Path, number: int, params: dict[str, Any]) -> float:
    """A candidate's score from the networks in its file: its own forward passes, scikit-learn's log-loss, one
    temperature for all folds.
    """
    from dashpot.evaluation.calibration import fit_temperature
    from dashpot.search.outcome.folder import read_config
    from dashpot.search.racing.checkpoints import load
    from dashpot.search.run import Search

    problem, options, _ = read_config(folder)
    search = Search(problem, options, folder)
    trial = load(folder, number, search.space.candidate(params))
    assert trial is not None, f"no networks of candidate {number} in {folder}"
    logits, truth = [], []
    for tensors, (_, valid) in zip(trial.tensors, search.task.folds, strict=True):
        network = search.task.make(dict(trial.candidate.net))
        network.load_state_dict(dict(tensors), strict=False)
        rows = torch.as_tensor(valid)
        with torch.no_grad():
            logits.append(network.eval()(search.prepared.x[rows]).double())
        truth.append(search.prepared.y[rows].numpy())
    temperature = fit_temperature(torch.cat(logits).numpy(), np.concatenate(truth))
    return float(
        np.mean([log_loss(y, (out / temperature).softmax(1).numpy()) for y, out in zip(truth, logits, strict=True)])
    )
