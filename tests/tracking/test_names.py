"""Trackers by name: what is refused before any work."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dashpot
from dashpot.tracking import MLflow, TensorBoard, Tracker, WandB, trackers_of


def test_names_places_and_options() -> None:
    found = trackers_of(
        ["tensorboard:logs/a", ("mlflow:http://127.0.0.1:5000,experiment=digits", "wandb:p,mode=offline"), Tracker()]
    )
    board, flow, biases, own = found
    assert isinstance(board, TensorBoard)
    assert board.place == "logs/a"
    assert isinstance(flow, MLflow)
    assert (flow.place, flow.experiment) == ("http://127.0.0.1:5000", "digits")
    assert isinstance(biases, WandB)
    assert (biases.place, biases.mode) == ("p", "offline")
    assert type(own) is Tracker
    assert trackers_of(None) == []
    assert trackers_of("mlflow")[0].place is None


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("tensorbord", "Did you mean 'tensorboard'"),
        ("mlflow:place,experimnt=a", "one of experiment, run, got 'experimnt'"),
        ("wandb:a,b", "wandb:PLACE,option=value"),
        (3, "a tracker's name, a tracker, or a list of these, got 3"),
        (Tracker, "an object with the methods begin, epoch and end"),
    ],
)
def test_what_is_no_tracker_is_refused_before_any_work(log: Any, words: str) -> None:
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    with pytest.raises(dashpot.ConfigError, match=words):
        dashpot.fit(model, "no data", log=log)  # which would be refused next
    with pytest.raises(dashpot.ConfigError, match=words):
        dashpot.tune("nowhere.csv", log=log)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_one_that_is_not_installed_names_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashpot.tracking.names.find_spec", lambda module: None)
    install = "pip install trackio" if name == "trackio" else rf"pip install 'dashpot\[{name}\]'"
    with pytest.raises(dashpot.ConfigError, match=install):
        dashpot.fit(torch.nn.Linear(2, 1), "no data", log=f"{name}:place")
