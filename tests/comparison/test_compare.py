"""The arms of a comparison are trained together and give what each gives alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.comparison import compare as comparison
from dashpot.comparison.compare import arms_of, compare, train_together
from dashpot.core.technique import Technique
from dashpot.data import Problem
from dashpot.data.rows import Rows
from dashpot.sparsity import points
from dashpot.training.builtin import TrainingLength, split_scores, train

PLAN = TrainingLength(epochs=6, batch_size=32)


def problem(rows: int = 240) -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6))
    return Problem(
        "made", Rows(tuple("abcdef"), matrix=x), np.where(x[:, 0] + 0.5 * rng.normal(size=rows) > 0, "yes", "no")
    )


def alone(data: Problem, recipe: dashpot.Recipe, seed: int) -> Any:
    split = data.split(seed)
    prepared = data.prepare(split.train)
    return train(data, prepared, split, recipe, PLAN, seed=seed, progress=False)


RECIPE = (
    dashpot.WeightDecay(strength=0.1)
    | dashpot.Dropout(p=0.2)
    | dashpot.Mixup(alpha=0.2)
    | dashpot.L1(relative=0.01)
    | dashpot.EarlyStopping(patience=1)
)


def test_alternatives_have_no_arm_together() -> None:
    two = dashpot.L1() | dashpot.GroupLasso()
    assert list(arms_of(two)) == ["baseline", "l1", "group-lasso"]
    apart = dashpot.L1(on="name:head.*") | dashpot.GroupLasso(on="name:body.*")
    assert list(arms_of(apart))[-1] == "all of them"
    notes: list[str] = []
    record = compare(problem(60), two, repeats=1, epochs=1, note=notes.append)
    assert notes[0] == "l1 and group-lasso are alternatives, so there is no arm with all techniques."
    assert [arm.name for arm in record.arms][:3] == list(arms_of(two))


def test_each_arm_is_as_it_is_alone() -> None:
    data = problem()
    split = data.split(3)
    prepared = data.prepare(split.train)
    together = train_together(data, prepared, split, arms_of(RECIPE), PLAN, seed=3)
    assert list(together) == ["baseline", "weight-decay", "dropout", "mixup", "l1", "early-stopping", "all of them"]
    for name, recipe in arms_of(RECIPE).items():
        single = alone(data, recipe, 3)
        assert together[name].epochs == len(single.history), name
        for one, other in zip(together[name].network.parameters(), single.model.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5, msg=name)
        ours, theirs = (
            split_scores(network, prepared, split)["test"] for network in (together[name].network, single.model)
        )
        assert ours == pytest.approx(theirs, rel=1e-4), name


def test_a_record_does_not_depend_on_how_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"repeats": 1, "epochs": 4}
    recipe = dashpot.Dropout(p=0.2) | dashpot.EarlyStopping(patience=2)
    first = compare(problem(), recipe, **options)
    monkeypatch.setattr(comparison, "train_together", lambda *args, **keywords: {})
    second = compare(problem(), recipe, **options)
    assert [arm.name for arm in first.arms] == [arm.name for arm in second.arms]
    for ours, theirs in zip(first.arms, second.arms, strict=True):
        (a,), (b,) = ours.runs, theirs.runs
        assert a.epochs == b.epochs
        assert a.test == pytest.approx(b.test, rel=1e-4)


class Unknown(Technique):
    """No stacked form."""

    summary = ""


def test_what_has_no_stacked_form_and_what_watches_training_scores() -> None:
    data = problem()
    split = data.split(0)
    prepared = data.prepare(split.train)
    recipes = {
        "own": dashpot.Recipe((Unknown(),)),
        "watch": dashpot.Recipe((dashpot.EarlyStopping(monitor="train_loss", mode="min"),)),
        "baseline": dashpot.Recipe(),
    }
    together = train_together(data, prepared, split, recipes, PLAN, seed=0)
    assert set(together) == {"own", "baseline"}
    for one, other in zip(together["own"].network.parameters(), together["baseline"].network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_a_diverging_arm_tells_and_the_others_go_on() -> None:
    record = compare(problem(), dashpot.Recipe((dashpot.InputNoise(std=1e38),)), repeats=1, epochs=3)
    arms = {arm.name: arm.runs[0] for arm in record.arms}
    assert "loss must stay finite" in (arms["input-noise"].error or "")
    assert arms["baseline"].error is None
    assert arms["baseline"].epochs == 3


class Raises(Technique):
    """Raises what no error of Dashpot is."""

    summary = ""

    def on_step(self, view: Any, ctx: Any) -> None:
        if ctx.step > 2:
            raise MemoryError("too large")


def test_an_arm_that_raises_anything_tells_and_the_others_go_on() -> None:
    record = compare(problem(), dashpot.Recipe((Raises(),)), repeats=1, epochs=3)
    arms = {arm.name: arm.runs[0] for arm in record.arms}
    assert arms["raises"].error == "MemoryError('too large')"
    assert arms["baseline"].error is None


def test_a_refused_arm_names_its_reason_and_the_others_go_on() -> None:
    record = compare(problem(), dashpot.Recipe((dashpot.Dropout(p=0.1, on="type:Conv2d"),)), repeats=1, epochs=2)
    arms = {arm.name: arm.runs[0] for arm in record.arms}
    assert "matches no module" in (arms["dropout"].error or "")
    assert arms["baseline"].error is None


def test_a_path_of_fresh_networks_is_the_same_together(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()

    def run() -> dashpot.PathResult:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make = lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
            return dashpot.path(make, (x, y), dashpot.L1(), points=5, cv=2, order="independent", epochs=5, lr=0.01)

    together = run()
    monkeypatch.setattr(points, "trained_together", lambda *args: {})
    single = run()
    np.testing.assert_allclose(together.fold_losses, single.fold_losses, rtol=1e-4)
    assert together.zeros == pytest.approx(single.zeros, abs=0.02)
    assert together.strengths == single.strengths
