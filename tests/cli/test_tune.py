"""``dashpot tune``, run as its user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import typer
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.metrics import accuracy_score, log_loss

DASHPOT = [sys.executable, "-m", "dashpot"]
QUICK = ["--cv", "3", "--epochs", "4", "--workers", "1", "--device", "cpu"]
NAME = "größe ✓"


def run(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*DASHPOT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done


Call = Callable[..., tuple[str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The same in this process, which spares the imports: from arguments to what was printed and what was said."""
    from dashpot.cli import app

    def here(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["dashpot", *map(str, arguments)])
        monkeypatch.setattr(
            app, "app", typer.Typer(name="dashpot", add_completion=False, pretty_exceptions_enable=False)
        )
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        with pytest.raises(SystemExit) as stop:
            app.main()
        said = capsys.readouterr()
        assert (stop.value.code or 0) == code, said.err
        return said.out, said.err

    return here


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small data of every kind."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(0)
    n = 150
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), NAME: rng.choice(["x", "ÿ", "ζ"], n)})
    frame["target"] = np.where(frame.a + (frame[NAME] == "x") + 0.3 * rng.normal(size=n) > 0.3, "gut ✓", "schlecht")
    frame["rare"] = np.where(np.arange(n) < 4, "few", "many")
    frame["price"] = 100 + 20 * frame.a - 5 * frame.b
    frame.to_csv(folder / "tablé.csv", index=False)
    frame.to_parquet(folder / "table.parquet")
    words = np.array(
        [
            " ".join(rng.choice(["good", "fine", "nice", "so"], 6))
            if i % 2
            else " ".join(rng.choice(["bad", "poor", "sad", "so"], 6))
            for i in range(n)
        ]
    )
    pd.DataFrame({"text": words, "label": np.arange(n) % 2}).to_csv(folder / "text.csv", index=False)
    y = rng.integers(0, 2, 60)
    images = rng.integers(0, 80, (60, 8, 8)).astype(np.uint8)
    images[np.arange(60), y * 4] += 150
    np.savez(folder / "images.npz", X=images, y=y)
    return folder


@pytest.fixture(scope="module")
def tuned(place: Path) -> tuple[Path, str]:
    """A search on a table with names beyond ASCII, into a folder of such a name."""
    said = run("tune", "tablé.csv", "--target", "target", "--trials", 4, *QUICK, "--out", "läufe/eins", cwd=place)
    return place / "läufe" / "eins", said.stdout


def test_it_reports_and_writes(tuned: tuple[Path, str]) -> None:
    folder, said = tuned
    names = {path.name for path in folder.iterdir()}
    assert {
        "report.json",
        "model.safetensors",
        "recipe.toml",
        "preprocessing.json",
        "tune.json",
        "race.png",
        "race.svg",
        "robustness.png",
    } <= names
    assert not [name for name in names if name.endswith(".tmp")]
    record = json.loads((folder / "report.json").read_text())
    assert (record["dataset"], record["rows"], record["classes"]) == ("tablé", 150, 2)
    assert "tablé" in said
    worse = record["robustness"]
    assert {cell["corruption"] for cell in worse["cells"]} == set(worse["units"])
    assert len(worse["cells"]) == 5 * len(worse["units"]) > 0
    assert f"{record['test']['chosen']['accuracy']:.4f}" in said
    for part in ("Chosen:", "Candidates", "baseline", "logistic regression", "Robustness: accuracy", "The search took"):
        assert part in said


def test_predict_gives_the_ensembles_probabilities_and_decisions(
    tuned: tuple[Path, str], place: Path, tmp_path: Path
) -> None:
    """The test part again from the file, in another order of columns, scored by scikit-learn, gives the scores of the
    report.
    """
    from dashpot.data import load_problem

    folder, _ = tuned
    frame = pd.read_csv(place / "tablé.csv")
    test = load_problem(place / "tablé.csv", "target").pool_and_test(0)[1]
    frame.iloc[test][["price", NAME, "b", "a", "rare"]].to_csv(tmp_path / "new.csv", index=False)
    run("predict", folder, tmp_path / "new.csv", "--out", tmp_path / "p.csv", cwd=tmp_path)
    found = pd.read_csv(tmp_path / "p.csv")
    truth = frame.target.iloc[test]
    told = json.loads((folder / "report.json").read_text())["test"]["chosen"]
    assert accuracy_score(truth, found.prediction) == pytest.approx(told["accuracy"])
    p = found[["p(gut ✓)", "p(schlecht)"]].to_numpy()
    assert p.sum(1) == pytest.approx(np.ones(len(p)))
    assert log_loss(truth, p, labels=["gut ✓", "schlecht"]) == pytest.approx(told["log_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("data", "options", "checks"),
    [
        pytest.param(
            "tablé.csv",
            ["--target", "price", "--without", "mixup", "--without", "ema"],
            {"task": "regression", "metric": "r2"},
            id="regression",
        ),
        pytest.param("images.npz", [], {"classes": 2, "features": None}, id="images", marks=pytest.mark.slow),
        pytest.param(
            "text.csv",
            ["--target", "label", "--metric", "f1"],
            {"metric": "f1", "classes": 2},
            id="text",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "table.parquet",
            ["--target", "target", "--metric", "log_loss", "--ensemble", "refit"],
            {"metric": "log_loss"},
            id="parquet",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "tablé.csv",
            ["--target", "rare", "--cv", "2", "--metric", "balanced_accuracy"],
            {"folds": 2},
            id="rare",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_kinds_of_data(
    place: Path, tmp_path: Path, call: Call, data: str, options: list[str], checks: dict[str, Any]
) -> None:
    call("tune", place / data, "--trials", 2, *QUICK, "--no-explain", *options, "--out", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {key: record[key] for key in checks} == checks
    assert len(record["candidates"]) == 2
    call("predict", tmp_path / "run", place / data, "--out", tmp_path / "p.csv")
    assert len(pd.read_csv(tmp_path / "p.csv")) == record["rows"]
    if "--without" in options:
        assert not [name for name in record["space"] if name.startswith(("mixup", "ema"))]


def test_techniques_of_ones_own(place: Path, tmp_path: Path, call: Call) -> None:
    options = ["--with", "l1:strength=1e-6..1e-4", "--with", "dropout:p=0.3", "--net", "width=16", "--net", "depth=1"]
    call(
        "tune",
        place / "tablé.csv",
        "--target",
        "target",
        "--trials",
        3,
        *QUICK,
        *options,
        "--no-explain",
        "--out",
        "run",
    )
    space = json.loads((tmp_path / "run" / "report.json").read_text())["space"]
    assert space["l1.strength"] == "1e-06..0.0001 (log)"
    assert {name for name in space if "." not in name and "!" not in name} == {"l1", "dropout", "lr"}
    assert space["net.width"] == "16"


BAD: dict[str, tuple[list[str], list[str]]] = {
    "budget too small": (["--budget", "0.05s"], ["budget must be at least", "first rung"]),
    "budget in words": (["--budget", "soon"], ["--budget", "90s, 10m or 2h", "'soon'"]),
    "budget 0": (["--budget", "0"], ["--budget must be more than 0 seconds", "'0'"]),
    "budget below 0": (["--budget", "-5m"], ["--budget", "'-5m'"]),
    "budget without number": (["--budget", "m"], ["--budget", "'m'"]),
    "budget nan": (["--budget", "nan"], ["--budget", "'nan'"]),
    "one candidate": (["--trials", "1"], ["trials", ">= 2", "1"]),
    "low above high": (["--with", "l1:strength=1e-2..1e-6"], ["L1.strength", "low below high"]),
    "log from 0": (["--with", "l1:strength=0..1e-2"], ["L1.strength", "above 0"]),
    "no such technique": (["--with", "dropuot"], ["'dropuot'", "Did you mean 'dropout'"]),
    "no such field": (["--with", "dropout:q=1"], ["dropout", "'q'"]),
    "without what is not there": (["--without", "sam"], ["--without", "'sam'"]),
    "metric of another task": (["--metric", "rmse"], ["metric", "classification", "'rmse'"]),
    "no such metric": (["--metric", "acuracy"], ["Did you mean 'accuracy'"]),
    "one fold": (["--cv", "1"], ["cv", ">= 2"]),
    "more folds than rows of a class": (["--target", "rare", "--cv", "5"], ["cv must be at most", "smallest class"]),
    "no such sampler": (["--sampler", "best"], ["sampler", "tpe, random"]),
    "no such ensemble": (["--ensemble", "all"], ["ensemble", "finalists, folds, refit"]),
    "no such precision": (["--precision", "half"], ["--precision", "bfloat16"]),
    "no such network": (["--net", "width=0"], ["width", "0"]),
    "no such network option": (["--net", "widht=8"], ["--net", "'widht'"]),
    "no workers": (["--workers", "0"], ["workers", ">= 1"]),
    "no such target": (["--target", "nothing"], ["nothing"]),
    "store that cannot be reached": (["--storage", "redis-not://x"], ["storage"]),
    "resume and data": (["--resume", "."], ["--resume", "alone"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str, place: Path, tmp_path: Path, call: Call) -> None:
    """One message, exit code 2, nothing left behind."""
    options, words = BAD[case]
    arguments = ["tune", place / "tablé.csv", *(["--target", "target"] if "--target" not in options else [])]
    arguments += [] if {"--budget", "--trials"} & set(options) else ["--trials", 4]
    arguments += [] if "--workers" in options else ["--workers", 1]
    _, said = call(*arguments, *options, code=2)
    assert said.count("error:") == 1
    assert all(word in said for word in words), said
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert not list(tmp_path.glob("runs/*"))


def test_bad_input_as_a_command(place: Path, tmp_path: Path) -> None:
    said = run(
        "tune", place / "tablé.csv", "--target", "target", "--budget", "0.05s", "--out", "run", cwd=tmp_path, code=2
    ).stderr
    assert len([line for line in said.splitlines() if line.startswith("error:")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_resume_of_what_is_no_search(tmp_path: Path, call: Call) -> None:
    assert "does not exist" in call("tune", "--resume", "nothing", code=2)[1]
    (tmp_path / "other").mkdir()
    assert "does not exist" in call("tune", "--resume", "other", code=2)[1]
    for text, words in (("{}", "got none, of an earlier Dashpot"), ('{"version": 3}', "got 3, of a newer Dashpot")):
        (tmp_path / "other" / "tune.json").write_text(text)
        assert f"must be of version 2, {words}. Start the search again" in call("tune", "--resume", "other", code=2)[1]
    (tmp_path / "other" / "tune.json").write_text('{"version": 2}')
    assert "damaged" in call("tune", "--resume", "other", code=2)[1]
    (tmp_path / "other" / "tune.json").write_text('{"data": ')
    assert "damaged" in call("tune", "--resume", "other", code=2)[1]
    assert [p.name for p in tmp_path.rglob("*")] == ["other", "tune.json"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--cv", 3], "--cv"),
        (["--trials", 6, "--metric", "f1", "--seed", 7], "--metric --seed"),
        (["--without", "mixup", "--no-explain"], "--without --explain"),
        (["--epochs", 5, "--budget", "1h"], "--epochs"),
    ],
)
def test_resume_refuses_what_would_have_no_effect(
    options: list[Any], named: str, tuned: tuple[Path, str], call: Call
) -> None:
    before = {path: path.read_bytes() for path in tuned[0].rglob("*") if path.is_file()}
    _, said = call("tune", "--resume", tuned[0], *options, code=2)
    assert "--resume must be given alone or with --budget, --trials, --workers, --storage" in said
    assert f"'{named}'" in said
    assert {path: path.read_bytes() for path in tuned[0].rglob("*") if path.is_file()} == before


def test_a_finished_search_is_not_resumed_for_less_time_than_it_took(tuned: tuple[Path, str], call: Call) -> None:
    (tuned[0] / "spent.json").write_text('{"seconds": 12.5}')
    assert "--budget must be more than the 12 s" in call("tune", "--resume", tuned[0], "--budget", "12s", code=2)[1]


def test_folder_in_use_is_not_touched(place: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    call("tune", place / "tablé.csv", "--target", "target", "--trials", 2, *QUICK, "--out", "full", code=2)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]


def started(place: Path, cwd: Path, *options: object) -> subprocess.Popen[str]:
    command = [
        *DASHPOT,
        "tune",
        str(place / "tablé.csv"),
        "--target",
        "target",
        "--workers",
        "1",
        "--device",
        "cpu",
        "--out",
        "run",
        *map(str, options),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.slow
def test_interrupted_gives_the_best_so_far_and_goes_on(place: Path, tmp_path: Path) -> None:
    process = started(place, tmp_path, "--trials", 100000, "--cv", 3, "--epochs", 4)
    candidates, limit = tmp_path / "run" / "candidates", time.monotonic() + 120
    while not list(candidates.glob("*.safetensors")) and time.monotonic() < limit:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-2000:]
    assert "Traceback" not in err
    assert "interrupted: the best so far" in err
    assert "Chosen:" in out
    record = json.loads((tmp_path / "run" / "report.json").read_text())
    assert record["contributions"] == []
    before = len(record["candidates"])
    assert before >= 2
    assert {row["seeds"] for row in record["candidates"]} == {1}
    run("predict", "run", place / "tablé.csv", "--out", "p.csv", cwd=tmp_path)
    # What had no score yet when the interrupt came is not lost: the next process finishes it, whatever the number it is
    # told.
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "run" / "journal.log")))
    begun = sum(
        trial.state.name == "RUNNING" for trial in optuna.load_study(study_name="dashpot", storage=journal).trials
    )
    run("tune", "--resume", "run", "--trials", before + 2, "--workers", 1, cwd=tmp_path)
    again = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(again["candidates"]) == before + max(2, begun)
    said = run("tune", "--resume", "run", "--workers", 1, cwd=tmp_path)
    assert "finished" in said.stderr
    assert "Chosen:" in said.stdout


@pytest.mark.slow
def test_interrupted_before_anything_has_a_score(place: Path, tmp_path: Path) -> None:
    process = started(place, tmp_path, "--budget", "10m")
    limit = time.monotonic() + 120
    while not (tmp_path / "run" / "tune.json").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # Python itself ends by the signal where the interrupt came in the middle of an exec(), such as a dataclass's: to a
    # shell the same 130.
    assert process.returncode in (130, -signal.SIGINT), err[-2000:]
    assert "Traceback" not in err
    assert "interrupted" in err
    assert out == ""
