"""Runs of MLflow, read back with its own client."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient

import dashpot
from dashpot.tracking import Candidate, End, MLflow, Start, TrackerWarning

# Its store uses what its own database library deprecates.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all, since making its tables takes seconds."""
    return tmp_path_factory.mktemp("mlflow")


def client(place: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")


def test_a_training_is_a_run_that_a_resumed_one_goes_on_with(place: Path, tmp_path: Path) -> None:
    def fit(resume: bool) -> dashpot.FitResult:
        torch.manual_seed(0)
        log = MLflow(place, experiment="fit")
        return dashpot.fit(
            torch.nn.Linear(3, 1),
            (X, X[:, :1]),
            recipe="l1:strength=0.05",
            epochs=2,
            progress=False,
            log=log,
            checkpoint=tmp_path,
            resume=resume,
        )

    result = fit(resume=False)
    fit(resume=True)
    store = client(place)
    experiment = store.get_experiment_by_name("fit")
    assert experiment is not None
    (run,) = store.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["l1.strength"] == "0.05"
    assert run.data.params["versions.torch"] == torch.__version__
    points = store.get_metric_history(run.info.run_id, "train/loss")
    assert [(p.step, p.value) for p in points] == [(row["epoch"], row["train_loss"]) for row in result.history]
    assert {"plan.txt", "recipe.toml"} <= {found.path for found in store.list_artifacts(run.info.run_id)}


def test_a_search_is_a_run_with_nested_ones_and_its_report(place: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("{}")
    log = MLflow(place, experiment="tune")
    log.begin(Start("tune-1", "tune", {"data.rows": 40}))
    found = [Candidate(k, "L1", "complete", {"lr": 0.5**k}, {"score": k / 4}, chosen=k == 1) for k in range(2)]
    log.end(End("interrupted", "Ctrl-C", {"test/chosen/r2": 0.5}, [report], found, {"winner.toml": "text"}))
    store = client(place)
    experiment = store.get_experiment_by_name("tune")
    assert experiment is not None
    runs = {run.info.run_name: run for run in store.search_runs([experiment.experiment_id])}
    assert set(runs) == {"tune-1", "candidate-0", "candidate-1"}
    parent = runs["tune-1"]
    assert parent.info.status == "KILLED"
    assert parent.data.metrics["test/chosen/r2"] == 0.5
    assert {"report.json", "winner.toml"} == {f.path for f in store.list_artifacts(parent.info.run_id)}
    nested = runs["candidate-1"]
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (nested.data.params["lr"], nested.data.metrics["score"]) == ("0.5", 0.25)
    assert nested.data.tags["dashpot.chosen"] == "true"


def test_without_a_server_the_training_goes_on() -> None:
    model = torch.nn.Linear(3, 1)
    log = "mlflow:http://127.0.0.1:9"  # a port that nobody listens on
    with pytest.warns(TrackerWarning, match="mlflow failed to begin"):
        result = dashpot.fit(model, (X, X[:, :1]), epochs=2, progress=False, log=log)
    assert len(result.history) == 2
