"""Event files, read back with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from typer.testing import CliRunner

import dashpot
from dashpot.cli import fit as fit_command
from dashpot.cli import predict as predict_command
from dashpot.tracking import Candidate, End, Start, TensorBoard, TrackerWarning

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def read(folder: Path) -> Any:
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    found.Reload()
    return found


def fit(place: Path, epochs: int = 3, **options: Any) -> dashpot.FitResult:
    torch.manual_seed(0)
    log = TensorBoard(place)
    model = torch.nn.Linear(3, 1)
    return dashpot.fit(
        model, (X, X[:, :1]), recipe="l1:strength=0.05", epochs=epochs, progress=False, log=log, **options
    )


def test_scalars_of_all_epochs_and_the_recipe_are_in_the_files(tmp_path: Path) -> None:
    result = fit(tmp_path)
    (folder,) = tmp_path.iterdir()
    found = read(folder)
    for name, key in (("train/loss", "train_loss"), ("loss/data", "objective"), ("lr", "lr")):
        points = [(e.step, e.value) for e in found.Scalars(name)]
        assert points == [(row["epoch"], pytest.approx(row[key])) for row in result.history]
    assert {"loss/penalty", "loss/total", "penalty/l1", "zeros/all", "zeros/weight"} <= set(found.Tags()["scalars"])
    text = found.Tensors("recipe.toml/text_summary")[0].tensor_proto.string_val[0].decode()
    assert 'name = "l1"' in text
    assert "strength = 0.05" in text


def test_a_resumed_run_writes_beside_the_first_and_shows_no_epoch_twice(tmp_path: Path) -> None:
    class Ends(dashpot.tracking.Tracker):
        def epoch(self, number: int, values: Any, notes: Any) -> None:
            if number == 2:
                raise KeyboardInterrupt

    place = tmp_path / "logs"
    options: dict[str, Any] = {"epochs": 3, "progress": False, "checkpoint": tmp_path / "run"}
    for resume in (False, True):
        torch.manual_seed(0)
        model, log = torch.nn.Linear(3, 1), [TensorBoard(place), *([] if resume else [Ends()])]
        try:
            dashpot.fit(model, (X, X[:, :1]), log=log, resume=resume, **options)
        except KeyboardInterrupt:
            assert not resume
    (folder,) = place.iterdir()
    assert [e.step for e in read(folder).Scalars("train/loss")] == [1, 2, 3]


def test_a_place_that_cannot_be_written_loses_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(TrackerWarning, match="tensorboard failed to begin"):
        result = fit(tmp_path / "file")
    assert len(result.history) == 3


def test_candidates_are_rows_of_the_table_of_hyper_parameters(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, run="search")
    board.begin(Start("tune-1", "tune"))
    one = Candidate(4, "L1", "complete", {"lr": 0.5, "l1": True}, {"score": 0.25}, chosen=True)
    board.end(End(scores={"test/chosen/accuracy": 0.75}, candidates=[one]))
    assert read(tmp_path / "search").Scalars("test/chosen/accuracy")[0].value == 0.75
    found = read(tmp_path / "search" / "candidate-4")
    assert found.Scalars("score")[0].value == 0.25
    data = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(data).session_start_info.hparams
    assert values["lr"].number_value == 0.5
    assert values["l1"].number_value == 1


def test_the_command_line_logs_the_report_and_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    for command in (fit_command, predict_command):
        command.register(app)
    rows = [f"{a},{b},{'nm'[int(a > 0)]}" for a, b, _ in X.tolist()]
    Path("table.csv").write_text("\n".join(["a,b,y", *rows]))
    arguments = [
        "fit",
        "table.csv",
        "--target",
        "y",
        "--epochs",
        "1",
        "--no-robustness",
        "--log",
        "tensorboard:logs",
        "--out",
        "run",
    ]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("run-")
    tags = read(folder).Tags()
    assert "curves" in tags["images"]
    assert {"metrics.json/text_summary", "parameters/text_summary"} <= set(tags["tensors"])
    assert "test/accuracy" in tags["scalars"]
    with pytest.raises(dashpot.UnknownNameError, match="tensorboard"):
        CliRunner().invoke(app, ["fit", "--log", "tensorbord", "--out", "other"], catch_exceptions=False)
    assert not (tmp_path / "other").exists()
