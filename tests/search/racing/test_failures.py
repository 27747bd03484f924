"""A search never dies of one candidate: whatever a technique, a network or a loss raises, at whatever moment, its
candidates fail and say why, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.fields.domains import Range
from dashpot.core.technique import Technique, Verdict
from dashpot.search.racing.race import Race
from dashpot.search.racing.trial import POPULATION, TrainingBudget, Trial
from dashpot.search.setup import conflicts, watched
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from tests.search.helpers import FOLDS, candidate, race, small_space, small_task, tuned

FAULT: dict[str, Any] = {"when": "", "error": RuntimeError}


@pytest.fixture(autouse=True)
def no_fault() -> Iterator[None]:
    FAULT.update(when="", error=RuntimeError)
    yield
    FAULT.update(when="")


def raise_when(moment: str, now: bool = True) -> None:
    if now and FAULT["when"] == moment:
        raise FAULT["error"](f"at {moment}")


class Faulty(Technique):
    """Does nothing, and raises when the test says so."""

    summary = "raises"
    size: Annotated[float, Range(0.01, 1.0, search=(0.1, 0.5))] = 0.2

    def init(self, view: Any, ctx: Any) -> dict[str, Any]:
        raise_when("attach")
        return {}

    def on_step(self, view: Any, ctx: Any) -> None:
        raise_when("first step", ctx.step == 1)
        raise_when("later step", ctx.step == 6)
        raise_when("last epoch", ctx.step > 25)

    def on_epoch(self, scores: Any, ctx: Any) -> Verdict:
        return Verdict()

    def weights(self, ctx: Any) -> Mapping[str, Any]:
        raise_when("evaluation")
        return {}

    def final(self, ctx: Any) -> Mapping[str, Any]:
        raise_when("export")
        return {}


class FaultyNet(nn.Module):
    """Raises, where the test says so, if it is wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        raise_when("network is built", width == 12)
        self.first, self.second, self.wide = nn.Linear(5, width), nn.Linear(width, 3), width == 12

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise_when("forward pass", self.wide)
        raise_when("training", self.wide and self.training)
        raise_when("prediction", self.wide and not self.training)
        return self.second(torch.relu(self.first(x)))


def faulty_net(options: Mapping[str, Any]) -> nn.Module:
    return FaultyNet(int(options["width"]))


TECHNIQUE = ("attach", "first step", "later step", "last epoch", "evaluation", "export")
NETWORK = ("network is built", "forward pass", "training", "prediction")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("moment", TECHNIQUE)
def test_a_technique_that_raises_fails_alone(moment: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashpot.search.racing.race.most", lambda: threads)
    others = [candidate(), candidate(dashpot.L1(strength=1e-3)), candidate(dashpot.Dropout(p=0.3), lr=5e-3)]
    expected = race(small_task(), others, rungs=())
    FAULT["when"] = moment
    bad, *found = race(small_task(), [candidate(Faulty()), *others], rungs=())
    assert (bad.state, bad.score, bad.reason) == ("failed", np.inf, f"RuntimeError: at {moment}")
    for one, same in zip(found, expected, strict=True):
        assert one.state == "complete"
        assert one.scores == pytest.approx(same.scores, rel=1e-3)


@pytest.mark.parametrize("error", [np.linalg.LinAlgError, MemoryError, KeyError, dashpot.ConflictError])
def test_whatever_is_raised(error: type[Exception]) -> None:
    FAULT.update(when="later step", error=error)
    bad, good = race(small_task(), [candidate(Faulty()), candidate()], rungs=())
    assert (bad.state, good.state) == ("failed", "complete")
    assert "at later step" in bad.reason


@pytest.mark.parametrize("moment", NETWORK)
def test_a_network_that_raises_fails_alone_even_without_a_technique(moment: str) -> None:
    FAULT["when"] = moment
    bad, good = race(replace(small_task(), make=faulty_net), [candidate(width=12), candidate()])
    assert bad.state == "failed"
    assert bad.reason.endswith((f"RuntimeError: at {moment}", f"RuntimeError: at {moment}."))
    assert (good.state, len(good.tensors)) == ("complete", FOLDS)


def test_a_loss_that_raises_for_one_candidate() -> None:
    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if float(out.detach().abs().max()) > 1e3:
            raise ValueError("too large")
        return (out.reshape(len(y), -1) - y.reshape(len(y), -1)).square().mean(1)

    bad, good = race(small_task(regression=True, loss=loss), [candidate(lr=1e6), candidate()])
    assert (bad.state, bad.reason, good.state) == ("failed", "ValueError: too large", "complete")


def test_in_a_population_those_that_took_nothing_over_go_on() -> None:
    FAULT["when"] = "later step"
    training = TrainingBudget(8, 16, (), FOLDS, 6, POPULATION)
    made = [candidate(), *[candidate(Faulty(size=0.1 * k), lr=10 ** (-k)) for k in range(1, 4)]]
    trials = [Trial(i, c) for i, c in enumerate(made)]
    near = small_space().baseline()
    Race(small_task(), training, trials, folds=range(FOLDS), protected=[0], explore=lambda c, rng: near).run()
    assert trials[0].state == "complete"
    assert all(r.state == "failed" for r in trials[1:] if not r.lineage)


def search(**options: Any) -> Any:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 5)).astype("float32")
    y = np.where(x[:, 0] > 0.5, "a", np.where(x[:, 1] > 0, "b", "c"))

    def make(width: int = 8) -> nn.Module:
        return FaultyNet(width)

    short = {"trials": 8, "epochs": 4, "cv": 2, "device": "cpu", "bfloat16": False, "progress": False}
    return tuned((x, y), **{"model": make, **short, **options})


@pytest.mark.parametrize("moment", ["attach", "later step", "evaluation"])
def test_a_search_ends_and_says_what_failed_and_why(moment: str) -> None:
    FAULT["when"] = moment
    result = search(recipe=[Faulty(), "dropout:p=0.1,on=type:Linear"])
    failed = [c for c in result.report.candidates if c.state == "failed"]
    assert failed
    assert {c.reason for c in failed} == {f"RuntimeError: at {moment}"}
    assert all("Faulty" in c.recipe for c in failed)
    assert f"{len(failed)} of 8 candidates failed: RuntimeError: at {moment} ({len(failed)})." in result.summary()
    assert result.predict(np.zeros((2, 5), dtype="float32")).shape == (2,)


@pytest.mark.parametrize("moment", NETWORK)
def test_a_search_of_networks_of_which_some_raise(moment: str) -> None:
    FAULT["when"] = moment
    result = search(recipe=["l1"], net={"width": (8, 12)}, sampler="quasi-random", trials=12)
    states = {c.params["net.width"]: set() for c in result.report.candidates}
    for c in result.report.candidates:
        states[c.params["net.width"]].add(c.state)
    assert states[12] == {"failed"}
    assert "complete" in states[8]


def test_where_all_fail_it_is_said_at_once_and_why() -> None:
    class Never(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training and len(x):
                raise ValueError("no way")
            return super().forward(x)

    began = time.monotonic()
    for limits in ({"trials": 40}, {"trials": None, "budget": 60.0}):
        with pytest.raises(dashpot.ConfigError, match="some candidate trains, got 'ValueError: no way'"):
            search(model=lambda: Never(5, 3), recipe=["l1"], **limits)
    assert time.monotonic() - began < 50  # and not after the budget


def overlapping(*texts: str) -> Space:
    return Space(technique_spaces(texts), lr=Numeric(1e-3, 1e-2, log=True))


@pytest.mark.parametrize(
    ("texts", "together"),
    [
        (("l1", "group-lasso"), False),
        (("max-norm", "hard-threshold"), False),
        (("l1:on=name:layers.0.*", "group-lasso"), False),  # in other words the same weights
        (("l1:on=type:Linear", "max-norm"), False),
        (("l1", "dropout"), True),
    ],
)
def test_no_candidate_has_two_techniques_that_want_the_same(texts: tuple[str, ...], together: bool) -> None:
    task = small_task()
    space = overlapping(*texts)
    names = list(task.make({}).state_dict())
    space = overlapping(*(text.replace("layers.0.*", names[0]) for text in texts))
    space = space.with_conflicts(conflicts(space, task))
    assert (space.default().size == 2) is together
    both = {**space.default().params, **{part.name: True for part in space.techniques}}
    assert (sum(space.settled(both)[part.name] for part in space.techniques) == 2) is together
    kept = space.with_lr(Numeric(1e-4, 1e-3)).with_batches(Numeric(8, 16, integer=True), 8)
    assert kept.alternatives == space.alternatives


@pytest.mark.parametrize("monitor", ["train_loss", "val_nope", "val_r2", "loss"])
def test_early_stopping_on_what_a_race_does_not_score_is_refused_with_what_it_does(monitor: str) -> None:
    with pytest.raises(dashpot.UnknownNameError, match="one of val_loss, val_accuracy, val_balanced_accuracy"):
        search(recipe=[f"early-stopping:monitor={monitor},mode=min"])


def test_the_scores_that_can_be_watched_are_those_of_the_task() -> None:
    assert set(watched(small_task(regression=True))) == {"val_loss", "val_r2", "val_rmse"}
    result = search(recipe=["early-stopping:monitor=val_accuracy,mode=max"])
    assert {c.state for c in result.report.candidates} <= {"complete", "pruned"}


def test_a_given_value_is_fixed_and_a_relative_strength_takes_the_place_of_the_other() -> None:
    for text in ("l1:relative=0.05", "l1:strength=0.01", "elastic-net:relative=0.1,l1_ratio=0.5"):
        (part,) = technique_spaces([text])
        assert not part.fields
    (part,) = technique_spaces(["l1:relative=0.01..0.1"])
    assert set(part.fields) == {"relative"}


def test_no_file_is_left_by_a_search_that_failed(tmp_path: Path) -> None:
    FAULT["when"] = "forward pass"
    with pytest.raises(dashpot.DashpotError):
        search(model=lambda: FaultyNet(12), recipe=["l1"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
