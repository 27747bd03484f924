"""Small problems, with and without folds, and candidates for them."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

import dashpot
from dashpot.data import Problem
from dashpot.data.rows import to_rows
from dashpot.evaluation.metrics import find_metric
from dashpot.nets import MLP
from dashpot.search.config import SearchConfig
from dashpot.search.outcome.result import TuneResult
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.run import Search
from dashpot.search.space.distributions import Categorical, Numeric
from dashpot.search.space.space import Candidate, Space
from dashpot.search.space.technique import technique_spaces

ROWS, FOLDS = 120, 3
TRAINING = TrainingBudget(epochs=6, batch_size=16, rungs=(1, 3), folds=FOLDS, parallel=6)
SHORT: dict[str, Any] = {
    "trials": 6,
    "cv": 3,
    "epochs": 6,
    "device": "cpu",
    "bfloat16": False,
    "networks": ("width=16", "depth=1"),
}


def make(options: Mapping[str, Any]) -> nn.Module:
    return MLP(5, 3, width=int(options.get("width", 8)), depth=1)


def values_net(options: Mapping[str, Any]) -> nn.Module:
    return MLP(5, 1, width=int(options.get("width", 8)), depth=1)


def small_task(*, regression: bool = False, seed: int = 0, noise: float = 0.7, **options: Any) -> Task:
    """Rows 0 to 119 in three folds; the last 20 rows are a test part that no fold has."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS + 20, 5, generator=g)
    y = x[:, :3].add(noise * torch.randn(ROWS + 20, 3, generator=g)).argmax(1)
    if regression:
        y = (x[:, 0] - x[:, 1]).add(noise * torch.randn(ROWS + 20, generator=g)).unsqueeze(1)
    parts = np.array_split(np.random.default_rng(seed).permutation(ROWS), FOLDS)
    folds = [
        (np.sort(np.concatenate([p for k, p in enumerate(parts) if k != f])), np.sort(parts[f])) for f in range(FOLDS)
    ]
    metric = find_metric("r2" if regression else "accuracy", "regression" if regression else "classification")
    settings: dict[str, Any] = {"scale": 10.0 if regression else 1.0, "device": "cpu", "bfloat16": False, **options}
    return Task(
        x=x,
        y=y,
        folds=folds,
        make=values_net if regression else make,
        metric=metric,
        classes=0 if regression else 3,
        seed=seed,
        **settings,
    )


def small_space(*texts: Any, net: bool = True) -> Space:
    parts = technique_spaces(
        texts or ("l1:strength=1e-5..1e-2", "dropout:p=0.1..0.5", dashpot.EarlyStopping(patience=1000))
    )
    return Space(
        parts, lr=Numeric(1e-4, 1.0, log=True), net={"width": Categorical((8, 12))} if net else None, lr_default=1e-2
    )


def candidate(*techniques: Any, lr: float = 1e-2, width: int = 8) -> Candidate:
    """A candidate with any recipe."""
    recipe = dashpot.Recipe(techniques)
    return Candidate(recipe, lr, {"width": width}, {**{t.name: True for t in recipe}, "lr": lr, "net.width": width})


def race(
    task: Task,
    candidates: Sequence[Candidate],
    training: TrainingBudget = TRAINING,
    *,
    folds: Sequence[int] = range(FOLDS),
    rungs: Any = None,
    **options: Any,
) -> list[Trial]:
    """Run candidates, numbered from 0."""
    return Race(task, training, [Trial(i, c) for i, c in enumerate(candidates)], folds=folds, **options).run(rungs)


def trial(number: int, scores: Sequence[float], size: int = 0, **fields: Any) -> Trial:
    """A finished candidate with made-up scores and so many techniques."""
    techniques = [dashpot.L1(strength=1e-3), dashpot.Dropout(p=0.1), dashpot.Mixup(alpha=0.2), dashpot.EMA(decay=0.9)][
        :size
    ]
    made = candidate(*techniques, lr=1e-3 * (number + 1))
    return Trial(number, made, "complete", scores=list(scores), **fields)


def tuned(data: Any, **options: Any) -> TuneResult:
    """``dashpot.tune`` with keywords of its own and of its configuration."""
    own = inspect.signature(dashpot.tune).parameters
    config = {name: options.pop(name) for name in list(options) if name not in own}
    return dashpot.tune(data, **options, config=SearchConfig(**config))


def table(n: int = 120, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"a": rng.normal(size=n), "b": rng.normal(size=n), "c": rng.choice([f"level {i}" for i in range(12)], n)}
    )
    return Problem(
        "made",
        to_rows(frame),
        np.where(frame.a + rng.normal(size=n) > 0.8, "yes", "no").astype(object),
        target_name="t",
    )


def regression(n: int = 120, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return Problem(
        "made", to_rows(pd.DataFrame(x, columns=list("abc"))), 500 + 40 * x[:, 0] + rng.normal(size=n), "regression"
    )


def searching(problem: Problem, folder: Path, **options: Any) -> Search:
    return Search(problem, SearchConfig(**{"trials": 4, "cv": 3, "device": "cpu", **options}), folder)


def iris() -> Problem:
    data = load_iris()
    return Problem("iris", to_rows(data.data), np.array(data.target_names)[data.target].astype(object))


class Clock(ModuleType):
    """Stands in for the module ``time``: tells what it is told to tell, and else what ``time`` does."""

    def __init__(self, **told: Any) -> None:
        super().__init__("time")
        self.__dict__.update(told)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def own_clock(patch: pytest.MonkeyPatch, monotonic: Callable[[], float], **told: Any) -> None:
    """Give Dashpot a clock of the test's own. The process keeps its clock: other libraries' threads wait by it."""
    clock = Clock(monotonic=monotonic, **told)
    for name, module in list(sys.modules.items()):
        held = getattr(module, "time", None) if name.startswith("dashpot.") else None
        if held is time or isinstance(held, Clock):
            patch.setattr(module, "time", clock)
