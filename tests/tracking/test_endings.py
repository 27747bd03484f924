"""Runs of trackers are ended when what follows a training raises; and the estimators tell theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from sklearn.base import clone

import dashpot
from dashpot.runs import page
from dashpot.tracking import End, tracking
from tests.tracking.kept import Kept

pytestmark = pytest.mark.filterwarnings("ignore::dashpot.data.tables.columnar.DataWarning")  # digits have empty columns
Run = Callable[..., str]
X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


class Full(Exception):
    """A report that cannot be written."""


def full(folder: Path) -> Path:
    raise Full


def test_a_report_that_raises_ends_the_run_as_failed(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    monkeypatch.setattr(page, "write_run_page", full)
    monkeypatch.setattr(tracking, "trackers_of", lambda log: [kept])
    with pytest.raises(Full):
        command("fit", "--epochs", 1, "--no-robustness", "--log", "tensorboard")
    assert [number for number, _, _ in kept.epochs] == [1]
    assert kept.ends == [End("failed", "Full")]


def test_whole_it_ends_once_with_its_scores(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    monkeypatch.setattr(tracking, "trackers_of", lambda log: [kept])
    command("fit", "--epochs", 1, "--no-robustness", "--log", "tensorboard")
    (end,) = kept.ends
    assert end.status == "finished"
    assert "test/accuracy" in end.scores


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of what its store is built on
def test_a_run_of_mlflow_is_no_longer_running(command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "write_run_page", full)
    with pytest.raises(Full):
        command("fit", "--epochs", 1, "--no-robustness", "--log", f"mlflow:{tmp_path / 'store'},experiment=ends")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'store'}/mlflow.db")
    experiment = client.get_experiment_by_name("ends")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["dashpot.ended"]) == ("FAILED", "Full")


# --- estimators ------------------------------------------------------------------------------------------------------


def test_an_estimator_tells_each_fit_and_predicts_the_same() -> None:
    kept = Kept()
    model = dashpot.DashpotClassifier("l1:strength=0.01", epochs=2, width=4, random_state=0, log=kept).fit(X, Y)
    assert [number for number, _, _ in kept.epochs] == [1, 2]
    assert [values["train/loss"] for _, values, _ in kept.epochs] == [row["train_loss"] for row in model.history_]
    assert (kept.starts[0].parameters["l1.strength"], kept.ends[0].status) == (0.01, "finished")
    alone = clone(model).set_params(log=None).fit(X, Y)
    assert np.array_equal(alone.predict_proba(X), model.predict_proba(X))
    model.fit(X, Y)
    assert (len(kept.starts), len(kept.ends)) == (2, 2)


def test_a_search_of_an_estimator_tells_its_candidates() -> None:
    kept = Kept()
    model = dashpot.DashpotRegressor("auto", trials=2, epochs=1, cv=2, width=4, random_state=0, log=kept)
    model.fit(X, X[:, 0])
    (start,), (end,) = kept.starts, kept.ends
    assert model.report_ is not None
    assert start.kind == "tune"
    assert [one.number for one in end.candidates] == [one["number"] for one in model.report_["candidates"]]


def test_a_tracker_that_is_none_is_refused_before_any_work() -> None:
    with pytest.raises(dashpot.DashpotError, match="log"):
        dashpot.DashpotClassifier(log="tensorbord", epochs=1).fit(X, Y)
