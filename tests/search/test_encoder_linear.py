"""A linear model of an encoder's vectors beside those of words in a search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from dashpot import nets
from dashpot.core.errors import ConfigError, DataError
from dashpot.evaluation.metrics import METRICS
from dashpot.nets import TextFeatures
from dashpot.nets.features_linear import fit_features
from dashpot.search import texts
from dashpot.search.encoder_linear import STRENGTHS, encoder_trials, has_vectors
from dashpot.search.racing.task import Task
from dashpot.texts.lexicon import Lexicon

BEFORE = 6
LEXICON = Lexicon.fit([["a", "red", "car"], ["a", "blue", "house"], ["the", "red", "car"], ["the", "blue", "car"]])


def vectors(rows: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows whose vectors tell the class, but for noise, and whose words do not."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % max(classes, 2)
    made = torch.randn(rows, BEFORE, generator=g) + 1.5 * nn.functional.one_hot(y, BEFORE)
    words = torch.from_numpy(LEXICON.transform([["a", "car"]] * rows))
    x = torch.cat([made.view(torch.int32), words], dim=1)
    return x, y if classes else made[:, :2].sum(dim=1) + 0.1 * torch.randn(rows, generator=g)


def task_of(classes: int, rows: int = 120) -> Task:
    x, y = vectors(rows, classes)

    def make(options: Any) -> nn.Module:
        net = nets.build("text", x.shape[1:], max(classes, 1), **{**LEXICON.sizes, "before": BEFORE, **options})
        if isinstance(net, nets.TextBag):
            net.read(LEXICON)
        return net

    parts = np.array_split(np.arange(rows), 3)
    folds = [(np.setdiff1d(np.arange(rows), part), part) for part in parts]
    metric = METRICS["accuracy" if classes else "r2"]
    return Task(x=x, y=y, folds=folds, make=make, metric=metric, classes=classes, seed=0, modality="text")


@pytest.mark.parametrize(("outputs", "classes"), [(2, 2), (3, 3), (4, 3)])
def test_classes_are_at_the_optimum(outputs: int, classes: int) -> None:
    x, y = vectors(60, classes)
    weight = np.linspace(0.5, 2.0, 60)
    net = fit_features(TextFeatures(outputs, before=BEFORE, width=0), x, y, C=0.3, weight=weight)
    v = x[:, :BEFORE].contiguous().view(torch.float32).double()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.tensor(flat, requires_grad=True)
        w, b = p[: classes * BEFORE].view(classes, BEFORE), p[classes * BEFORE :]
        each = nn.functional.cross_entropy(v @ w.T + b, y, reduction="none") * torch.from_numpy(weight)
        # Of two classes scikit-learn holds the one margin, which is the difference of two weights of opposite sign.
        size = (w[1] - w[0]).square().sum() / 2 if classes == 2 else w.square().sum() / 2
        value = size + 0.3 * each.sum()
        value.backward()
        return value.item(), p.grad.numpy()

    best = minimize(objective, np.zeros(classes * (BEFORE + 1)), jac=True, tol=1e-12).x
    w, b = torch.from_numpy(best[: classes * BEFORE]).view(classes, BEFORE), torch.from_numpy(best[classes * BEFORE :])
    wanted, found = (v @ w.T + b).softmax(dim=1), net(x).double().softmax(dim=1)
    assert torch.allclose(found[:, :classes], wanted, atol=2e-3)
    assert (found[:, classes:] < 1e-3).all()


def test_values_are_at_the_optimum() -> None:
    x, y = vectors(60, 0)
    net = fit_features(TextFeatures(1, before=BEFORE, width=0), x, y, C=0.5)
    v = x[:, :BEFORE].contiguous().view(torch.float32).double().numpy()
    centred = v - v.mean(axis=0)
    w = np.linalg.solve(
        centred.T @ centred + 2 * np.eye(BEFORE), centred.T @ (y.double().numpy() - y.double().mean().item())
    )
    assert np.allclose(net(x).detach().numpy().ravel(), centred @ w + y.mean().item(), atol=1e-4)


@pytest.mark.parametrize("classes", [3, 0])
def test_it_is_judged_on_folds_that_it_has_not_seen_and_fitted_to_all_rows(classes: int) -> None:
    task, pool = task_of(classes), np.arange(120)
    assert has_vectors(task)
    found = texts.linear_trials(task, [0, 2], pool)
    (trial,) = [one for one in found if str(one.candidate.params["linear"]).startswith("encoder")]
    assert trial is found[0]  # words tell nothing here
    assert trial.number == (-5 if classes else -2)
    C, by = float(trial.candidate.params["C"]), float(trial.candidate.params["temperature"])
    for place, fold in enumerate((0, 2)):
        train, valid = map(torch.as_tensor, task.folds[fold])
        net = fit_features(TextFeatures(max(classes, 1), before=BEFORE, width=0), task.x[train], task.y[train], C=C)
        assert torch.allclose(net(task.x[valid]) / by, trial.outputs[place], atol=1e-4)
    whole = fit_features(TextFeatures(max(classes, 1), before=BEFORE, width=0), task.x, task.y, C=C)
    ((title, model),) = [pair for pair in texts.linear_models(task, found).items() if "encoder" in pair[0]]
    assert title.startswith("logistic" if classes else "ridge")
    assert torch.allclose(model(task.x), whole(task.x) / by, atol=1e-4)
    others = [
        np.mean(
            task.scores([fitted(task, classes, fold, other) for fold in (0, 2)], [task.folds[f][1] for f in (0, 2)])
        )
        for other in STRENGTHS
    ]
    assert STRENGTHS.index(C) == int(np.argmin(others))


def fitted(task: Task, classes: int, fold: int, C: float) -> torch.Tensor:
    train, valid = map(torch.as_tensor, task.folds[fold])
    net = fit_features(TextFeatures(max(classes, 1), before=BEFORE, width=0), task.x[train], task.y[train], C=C)
    return net(task.x[valid]).detach()


def test_without_vectors_there_is_none() -> None:
    task = task_of(2)
    plain = replace(task, make=lambda options: nets.build("text", (3,), 2, **{**LEXICON.sizes, **options}))
    assert not has_vectors(plain)
    assert encoder_trials(plain, [0], np.arange(10), -9) == []


def test_what_cannot_be_is_refused() -> None:
    x, y = vectors(20, 2)
    with pytest.raises(ConfigError, match="width of the network must be 0"):
        fit_features(TextFeatures(2, before=BEFORE), x, y)
    with pytest.raises(ConfigError, match="C must be"):
        fit_features(TextFeatures(2, before=BEFORE, width=0), x, y, C=0.0)
    with pytest.raises(DataError, match="two classes or more"):
        fit_features(TextFeatures(2, before=BEFORE, width=0), x, torch.zeros(20, dtype=torch.int64))
