"""A training to a time: the learning rate falls to zero by then, whatever the pace does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dashpot
from dashpot.training.builtin import TrainingLength

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


class Seconds:
    """A clock that goes on by a step's time whenever a batch is taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: float = 1.0) -> None:
        self.at, self.each, self.steps = 100.0, each, 0
        monkeypatch.setattr("dashpot.training.clock.time.monotonic", lambda: self.at)

    def hook(self, model: nn.Module, _: Any) -> None:
        if model.training:
            self.steps += 1
            self.at += self.each


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    return Seconds(monkeypatch)


def fit(seconds: Seconds, rates: list[float] | None = None, **options: Any) -> dashpot.FitResult:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    model.register_forward_pre_hook(seconds.hook)

    def schedule(progress: float) -> float:
        if rates is not None:
            rates.append(progress)
        return 1 - progress

    chosen = {"batch_size": 8, "schedule": schedule, "progress": False, **options}
    return dashpot.fit(model, (X, Y), **chosen)


def test_it_ends_in_time_with_the_learning_rate_at_its_end(seconds: Seconds) -> None:
    rates: list[float] = []
    result = fit(seconds, rates, budget=10)
    assert rates == pytest.approx([k / 10 for k in range(10)])  # and no further step
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert (result.stopped, seconds.steps) == ("the time is up", 10)
    assert [row["spent"] for row in result.history] == [4, 8, 10]
    assert result.history[-1]["lr"] == pytest.approx(1e-3 * 0.1)


def test_it_ends_in_time_where_the_pace_falls(seconds: Seconds) -> None:
    rates: list[float] = []

    def slower(progress: float) -> float:
        rates.append(progress)
        seconds.each = 1.0 if progress < 0.3 else 3.0
        return 1 - progress

    assert fit(seconds, schedule=slower, budget="20s").stopped == "the time is up"
    assert seconds.at < 100 + 20 + 3
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.45, 0.6, 0.75, 0.9])


def test_what_is_further_along_counts_epochs_or_time(seconds: Seconds) -> None:
    rates: list[float] = []
    assert fit(seconds, rates, budget=1000, epochs=2).stopped == "all epochs done"
    assert rates == pytest.approx([k / 8 for k in range(8)])


def test_an_epoch_has_at_least_one_step(seconds: Seconds) -> None:
    seconds.each = 50.0
    result = fit(seconds, budget=10)
    assert (seconds.steps, len(result.history), result.stopped) == (1, 1, "the time is up")
    assert result.history[0]["objective"] > 0


def test_a_resumed_training_has_the_time_that_is_left(seconds: Seconds, tmp_path: Path) -> None:
    whole, first, rest = [], [], []  # type: ignore[var-annotated]  # progress of each step
    fit(seconds, whole, budget=16)

    def killed(progress: float) -> float:
        first.append(progress)
        if len(first) == 6:  # in the second epoch
            raise KeyboardInterrupt
        return 1 - progress

    with pytest.raises(KeyboardInterrupt):
        fit(seconds, schedule=killed, budget=16, checkpoint=tmp_path)
    seconds.at += 1000  # what passed in between does not count
    result = fit(seconds, rest, budget=16, checkpoint=tmp_path, resume=True)
    rest = rest[1:]  # the first compares the schedule with the saved rates
    assert rest == pytest.approx(whole[4:])
    assert len(result.history) == 4
    assert result.history[-1]["spent"] == 16
    assert fit(seconds, budget=16, checkpoint=tmp_path, resume=True).stopped == "the time is up"


def test_a_resumed_training_may_have_another_budget(seconds: Seconds, tmp_path: Path) -> None:
    first, rest = [], []  # type: ignore[var-annotated]  # progress of each step

    def killed(progress: float) -> float:
        first.append(progress)
        if len(first) == 9:
            raise KeyboardInterrupt
        return 1 - progress

    with pytest.raises(KeyboardInterrupt):
        fit(seconds, schedule=killed, budget=16, checkpoint=tmp_path)
    fit(seconds, rest, budget=12, checkpoint=tmp_path, resume=True)
    # From where it was saved, half of the way, to the end in the four seconds that are left.
    assert rest[2:] == pytest.approx([0.5 + 0.5 * k / 4 for k in range(4)])


def test_another_schedule_is_refused_with_a_budget_too(seconds: Seconds, tmp_path: Path) -> None:
    fit(seconds, budget=8, checkpoint=tmp_path)
    with pytest.raises(dashpot.ConfigError, match=r"^schedule must be that of the saved run, whose learning rate"):
        fit(seconds, schedule=lambda t: 1 - t / 2, budget=8, checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget must be more than 0 seconds, or a time such as 90s, 10m or 2h, got 0"),
        ({"budget": "soon"}, "budget must be more than 0 seconds"),
        ({"budget": True}, "budget must be more than 0 seconds"),
        ({"budget": 5, "epochs": 0}, "epochs must be"),
    ],
)
def test_bad_budgets(seconds: Seconds, options: dict[str, Any], message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=re.escape(message)):
        fit(seconds, **options)


def test_schedules_over_shares_of_the_run_need_epochs(seconds: Seconds) -> None:
    recipe = "weight-decay:strength=0.1@from=50%"
    with pytest.raises(dashpot.ConflictError, match="Pass epochs, too"):
        fit(seconds, budget=5, recipe=recipe)
    assert fit(seconds, budget=5, epochs=3, recipe=recipe).stopped == "the time is up"
    assert fit(seconds, budget=5, recipe="weight-decay:strength=0.1@from=3steps").stopped == "the time is up"


def test_progress_shows_the_time_that_is_left(seconds: Seconds, capsys: pytest.CaptureFixture[str]) -> None:
    fit(seconds, budget=16, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", str(k)] for k in (1, 2, 3, 4)]
    assert [line.split("  ")[-1] for line in lines] == ["12 s left", "8 s left", "4 s left", "0 s left"]


def test_without_validation_rows_few_training_rows_are_scored(seconds: Seconds, monkeypatch: Any) -> None:
    seen: list[int] = []
    monkeypatch.setattr("dashpot.training.training.SCORED", 5)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 2))
    model.register_forward_pre_hook(seconds.hook)
    model.register_forward_pre_hook(lambda m, args: None if m.training else seen.append(len(args[0])))
    dashpot.fit(model, (X, Y), batch_size=8, budget=4, progress=False)
    assert seen[-1] == 5


def test_the_built_in_network_has_its_usual_length_or_a_time() -> None:
    usual = TrainingLength.default("image", 4000)
    assert (usual.epochs, usual.budget) == (16, None)
    timed = TrainingLength.default("image", 4000, budget=60.0)
    assert (timed.epochs, timed.budget, timed.schedule) == (None, 60.0, "one-cycle")
    assert TrainingLength.default("image", 4000, 5, "1m").epochs == 5
