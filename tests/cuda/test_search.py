"""A race and a search on the device."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from torch import nn

import dashpot
from dashpot.search.racing.memory import free, most_members
from tests.cuda.helpers import DEVICE, cuda, table

pytestmark = cuda

D: Any = dashpot


def numbers() -> tuple[np.ndarray, np.ndarray]:
    x, y = table(160, "cpu")
    return x.numpy(), np.array(["a", "b", "c"])[y.numpy()]


def parts() -> tuple[Any, Any, Any]:
    """Task, space and training budget of a small search, without a study."""
    from dashpot.data import Problem
    from dashpot.data.rows import to_rows
    from dashpot.evaluation.metrics import find_metric
    from dashpot.search.racing.trial import TrainingBudget
    from dashpot.search.setup import make_task
    from dashpot.search.space.defaults import default_space

    x, y = numbers()
    problem = Problem("data", to_rows(x), y)
    pool, _ = problem.pool_and_test(0)
    prepared = problem.prepare(pool)
    metric = find_metric("accuracy", "classification", 3)
    task = make_task(problem, prepared, pool, 2, metric, 0, DEVICE, None)
    space = default_space(problem, prepared, None, (), ())
    return task, space, TrainingBudget(6, 32, (2,), 2, 4)


def test_a_race() -> None:
    from dashpot.search.outcome import ensemble
    from dashpot.search.racing.race import Race
    from dashpot.search.racing.trial import Trial

    task, space, budget = parts()
    candidates = [
        space.default(),
        space.baseline(),
        *(space.without(space.default(), n) for n in ("mixup", "l1", "ema")),
    ]
    trials = [Trial(number, candidate) for number, candidate in enumerate(candidates)]
    race = Race(task, budget, trials, folds=range(2))
    race.run()
    complete = [t for t in trials if t.state == "complete"]
    assert complete
    for t in complete:
        assert np.isfinite(t.scores).all()
        assert all(v.device.type == "cpu" for own in t.tensors for v in own.values())
        assert all(out.device.type == "cpu" for out in t.outputs)
    assert len([t for t in trials if t.state == "pruned"]) >= 2
    choice = ensemble.choose(complete)
    final = ensemble.assemble(task, complete, choice, range(2), "finalists")
    out = D.scores(final.network, task.x, task.y)
    assert out["accuracy"] > 0.6


def test_memory() -> None:
    task, space, _ = parts()
    assert free(DEVICE) > 1e6
    assert most_members(task, [space.default()]) >= 1


if importlib.util.find_spec("optuna") is not None:

    def test_a_short_search() -> None:
        x, y = numbers()
        options: dict[str, Any] = {"trials": 4, "epochs": 4, "cv": 2, "progress": False, "device": DEVICE}
        result = D.tune((x, y), **options)
        assert result.predict_proba(x[:7]).shape == (7, 3)
        assert float((result.predict(x) == y).mean()) > 0.6
        assert next(result.network.parameters()).device.type == "cpu"
        assert result.record["test"]["chosen"]["accuracy"] > 0.4

    def test_a_network_of_ones_own() -> None:
        x, y = table(120)

        def make(width: int = 8) -> nn.Module:
            return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))

        config = D.SearchConfig(trials=3, epochs=3, cv=2, explain=False, device=DEVICE)
        result = D.tune((x, y), model=make, net={"width": [4, 8]}, config=config, progress=False)
        assert np.allclose(result.predict_proba(x.cpu()).sum(1), 1)
        assert torch.equal(torch.as_tensor(result.predict(x)), torch.as_tensor(result.predict(x.cpu())))


if importlib.util.find_spec("sklearn") is not None:

    def test_an_estimator() -> None:
        x, y = numbers()
        model = D.DashpotClassifier(
            recipe=D.Mixup(alpha=0.2) | D.L1(strength=1e-4), epochs=15, device=DEVICE, random_state=0
        ).fit(x, y)
        assert model.score(x, y) > 0.7
        assert next(model.model_.parameters()).device.type == "cpu"
