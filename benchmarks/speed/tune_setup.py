"""What the parts of the search benchmark share: a search over embedded data, clocks, and arms in processes of their
own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

CANDIDATES, ETA = 64, 3
WARM_EPOCHS, COLD_EPOCHS, FOLDS, OFFERED = (9, 54), 108, 3, 40
"""Of the whole training: a short race, in which setting up weighs most, and a longer one; a cold one for which plain
PyTorch takes more than a minute.
"""
Clocks = dict[str, float]


def clocks(since: float) -> Clocks:
    """Wall seconds since ``since`` and CPU seconds of this process and the compilers it ran."""
    used = os.times()
    return {"wall": time.time() - since, "cpu": used.user + used.system + used.children_user + used.children_system}


def search_of(data: str, seed: int, epochs: int, folder: Path) -> Any:
    """``dashpot.tune``'s search over a set of scikit-learn's, without a test part, so that all rows are
    in the folds.
    """
    import torch
    from sklearn import datasets

    from dashpot.data import Problem
    from dashpot.data.rows import Rows
    from dashpot.search.config import SearchConfig
    from dashpot.search.run import Search

    torch.set_num_threads(1)
    table = getattr(datasets, f"load_{data}")()
    problem = Problem(data, Rows(tuple(map(str, table.feature_names)), matrix=table.data), table.target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = Search(
            problem,
            SearchConfig(trials=10**6, cv=FOLDS, test=False, epochs=epochs, seed=seed, explain=False, device="cpu"),
            folder,
        )
    # The plain loop's scores have no temperature fitted: then neither have ours.
    search.task = replace(search.task, calibrated=False)
    return search


def training_of(search: Any, folds: int, parallel: int) -> Any:
    from dashpot.search.racing.trial import TrainingBudget, default_rungs
    from dashpot.training.defaults import batch_size_for

    epochs = search.config.epochs
    return TrainingBudget(epochs, batch_size_for(len(search.task.folds[0][0])), default_rungs(epochs), folds, parallel)


def evaluations_of(training: Any) -> set[int]:
    """When a race scores: the same evaluations for all arms."""
    from dashpot.search.racing.planning import EVALUATIONS

    return {*training.rungs, *(max(1, round(training.epochs * k / EVALUATIONS)) for k in range(1, EVALUATIONS + 1))}


def in_a_process(arm: str, cache: str | None = None, **options: Any) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"XDG_CACHE_HOME": cache} if cache else {})}
    text = json.dumps({"arm": arm, "started": time.time(), **options})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("tune.py")), "--arm", text],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
