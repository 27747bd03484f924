"""``dashpot shrink``: a run with a smaller network predicts as before."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dashpot.runs.saved import load_run

QUICK = "--target", "y", "--no-robustness"
GROUPS = "group-lasso:strength=0.03,groups=rows"


@pytest.fixture
def dashpot(command: Callable[..., str]) -> Callable[..., str]:
    return command


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 4))
    path = tmp_path_factory.mktemp("data") / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c", "d", "y"], *([*row, "no" if row[0] > 0 else "yes"] for row in x)])
    return path


def numbers(path: Path) -> list[list[str]]:
    return [row[:2] for row in csv.reader(path.read_text().splitlines())]


def test_a_shrunk_run_predicts_as_before_and_shrinks_no_further(
    dashpot: Callable[..., str], table: Path, tmp_path: Path
) -> None:
    run, small = tmp_path / "run", tmp_path / "small"
    dashpot("fit", table, *QUICK, "--with", GROUPS, "--epochs", 60, "--out", run)
    said = dashpot("shrink", run, "--out", small)
    assert "parameters" in said
    assert f"dashpot predict {small}" in said
    report = json.loads((small / "shrunk.json").read_text())
    assert report["after"]["parameters"] < report["before"]["parameters"]
    assert (small / "model.safetensors").stat().st_size < (run / "model.safetensors").stat().st_size
    for folder in (run, small):
        dashpot("predict", folder, table, "--out", folder / "out.csv")
    assert numbers(run / "out.csv") == numbers(small / "out.csv")
    network, *_ = load_run(small)
    assert sum(p.numel() for p in network.parameters()) == report["after"]["parameters"]
    again = dashpot("shrink", small, "--out", tmp_path / "again", code=2)
    assert "RUN must be a network in which whole units are exactly zero" in again
    assert not (tmp_path / "again").exists()


def test_a_run_is_trained_down_to_a_size(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run, small, again = tmp_path / "run", tmp_path / "small", tmp_path / "again"
    dashpot(
        "fit",
        table,
        "--target",
        "y",
        "--no-robustness",
        "--epochs",
        20,
        "--with",
        "dropout",
        "--with",
        "l1",
        "--out",
        run,
    )
    network, *_ = load_run(run)
    full = sum(p.numel() for p in network.parameters())
    said = dashpot("shrink", run, "--to", "0.3x parameters", "--epochs", 8, "--out", small)
    assert "test accuracy" in said
    assert "ms at batch 64" in said
    assert "without l1" in said  # a second proximal step
    report = json.loads((small / "shrunk.json").read_text())
    assert report["how"] == "trained"
    assert report["epochs"] == 8
    assert report["before"]["parameters"] == full
    assert 0.28 * full <= report["after"]["parameters"] <= 0.3 * full
    assert sum(layer["parameters"][1] for layer in report["by_layer"]) == report["after"]["parameters"]
    assert (small / "shrunk.png").exists()
    assert "a smaller network</title>" in (small / "report.html").read_text()
    dashpot("predict", small, table, "--out", tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    truth = [row["y"] for row in csv.DictReader(table.read_text().splitlines())]
    assert np.mean([row["prediction"] == y for row, y in zip(rows, truth, strict=True)]) > 0.8
    # Once more: the plans follow each other.
    dashpot("shrink", small, "--to", "0.5x macs", "--no-train", "--out", again)
    network, *_ = load_run(again)
    second = json.loads((again / "shrunk.json").read_text())
    assert second["before"] == report["after"]
    assert sum(p.numel() for p in network.parameters()) == second["after"]["parameters"]
    dashpot("predict", again, table, "--out", tmp_path / "out2.csv")


def test_without_data_units_leave_by_their_weights_and_it_is_said(
    dashpot: Callable[..., str], table: Path, tmp_path: Path
) -> None:
    run, moved, half = tmp_path / "run", tmp_path / "moved.csv", ("--to", "0.5x parameters")
    moved.write_text(table.read_text())
    dashpot("fit", moved, *QUICK, "--epochs", 20, "--out", run)
    cut = dashpot("shrink", run, *half, "--no-train", "--out", tmp_path / "cut")
    assert "without training" in cut
    assert "test accuracy" in cut  # the data are there
    moved.unlink()
    said = dashpot("shrink", run, *half, "--out", tmp_path / "small")
    assert "accuracy was not measured" in said
    assert "test accuracy" not in said
    report = json.loads((tmp_path / "small" / "shrunk.json").read_text())
    assert report["how"] == "cut"
    assert report["after"]["parameters"] <= 0.5 * report["before"]["parameters"]
    network, *_ = load_run(run)
    shrunk, *_ = load_run(tmp_path / "small")
    x = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        moved_by = (network(x) - shrunk(x)).abs().max() / network(x).abs().max()
    assert report["changed"] == pytest.approx(float(moved_by), rel=1e-3)
    named = dashpot("shrink", run, *half, "--data", table, "--epochs", 2, "--out", tmp_path / "named")
    assert "test accuracy" in named
    no = dashpot("shrink", run, *half, "--epochs", 3, "--out", tmp_path / "no", code=2)
    assert "--epochs must be given for a training" in no
    assert "--data" in no
    assert not (tmp_path / "no").exists()


def test_sizes_that_cannot_be(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "small"
    dashpot("fit", table, *QUICK, "--epochs", 2, "--out", run)
    for to, told in (
        ("3 frogs", "--to must be a size such as"),
        ("1 GB", "--to must be below the size of the network of RUN"),
        ("3 parameters", "with one unit in each layer"),
        ("1000x faster", "cannot be reached"),
    ):
        said = dashpot("shrink", run, "--to", to, "--epochs", 1, "--out", out, code=2)
        assert told in said
        assert not out.exists()
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("yes", "maybe"))
    said = dashpot("shrink", run, "--to", "0.5x macs", "--data", other, "--out", out, code=2)
    assert "must have the classes of the run" in said


def test_a_run_without_zeros_is_refused(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    dashpot("fit", table, *QUICK, "--epochs", 2, "--out", run)
    said = dashpot("shrink", run, "--out", tmp_path / "small", code=2)
    assert "got 'no zeros'" in said
    assert "group-lasso" in said
    said = dashpot("shrink", tmp_path / "nowhere", "--out", tmp_path / "small", code=2)
    assert "RUN must be the folder of a finished" in said


def test_a_damaged_plan_is_said(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run, small = tmp_path / "run", tmp_path / "small"
    dashpot("fit", table, *QUICK, "--with", GROUPS, "--epochs", 60, "--out", run)
    dashpot("shrink", run, "--out", small)
    setup = json.loads((small / "preprocessing.json").read_text())
    setup["shrunk"][0]["version"] = 7
    (small / "preprocessing.json").write_text(json.dumps(setup))
    said = dashpot("predict", small, table, "--out", tmp_path / "out.csv", code=2)
    assert "version 1 is needed" in said


def test_a_compressed_run_is_small_and_predicts(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = dashpot(
        *(
            "fit",
            table,
            "--target",
            "y",
            "--no-robustness",
            "--with",
            "compress:to=0.4x parameters",
            "--epochs",
            6,
            "--out",
            run,
        )
    )
    assert "the network is smaller" in said
    report = json.loads((run / "shrunk.json").read_text())
    full, small = report["before"]["parameters"], report["after"]["parameters"]
    assert 0.95 * 0.4 * full <= small <= 0.4 * full
    network, _, _ = load_run(run)
    assert sum(p.numel() for p in network.parameters()) == small
    dashpot("predict", run, table, "--out", tmp_path / "predictions.csv")
    assert len(numbers(tmp_path / "predictions.csv")) == 301


def test_low_rank_and_folded_norms_on_request(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run, small, both = tmp_path / "run", tmp_path / "small", tmp_path / "both"
    dashpot(
        "fit",
        table,
        "--target",
        "y",
        "--no-robustness",
        "--with",
        "nuclear-norm:strength=8",
        "--epochs",
        30,
        "--out",
        run,
    )
    said = dashpot("shrink", run, "--low-rank", "--out", small)
    report = json.loads((small / "shrunk.json").read_text())
    assert report["factors"]
    for name, rank in report["factors"].items():
        assert f"{name}: two factors of rank {rank}" in said
    assert "two factors of rank" in (small / "report.html").read_text()
    assert report["after"]["parameters"] < report["before"]["parameters"]
    for folder in (run, small):
        dashpot("predict", folder, table, "--out", folder / "out.csv")
    assert numbers(run / "out.csv") == numbers(small / "out.csv")
    network, *_ = load_run(small)
    assert sum(p.numel() for p in network.parameters()) == report["after"]["parameters"]
    assert sum(layer["parameters"][1] for layer in report["by_layer"]) == report["after"]["parameters"]
    dashpot("shrink", run, "--to", "0.6x parameters", "--no-train", "--low-rank", "--fold", "--out", both)
    second = json.loads((both / "shrunk.json").read_text())
    assert second["before"] == report["before"]
    network, *_ = load_run(both)
    assert sum(p.numel() for p in network.parameters()) == second["after"]["parameters"]
    dashpot("predict", both, table, "--out", both / "out.csv")
    plain = tmp_path / "plain"
    dashpot("fit", table, *QUICK, "--epochs", 1, "--out", plain)
    no = dashpot("shrink", plain, "--low-rank", "--out", tmp_path / "no", code=2)
    assert "No layer is of low rank" in no


def test_scattered_zeros_become_sparse_matrices_where_a_clock_says_so(
    dashpot: Callable[..., str], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, small = tmp_path / "run", tmp_path / "small"
    dashpot(
        "fit",
        table,
        *QUICK,
        "--with",
        "n-of-m:n=1,m=8,on=name:body.3.weight",
        "--net",
        "width=16",
        "--epochs",
        20,
        "--out",
        run,
    )
    monkeypatch.setattr("dashpot.shrinking.scattered.latencies", lambda pairs: [2.0, 1.0])
    said = dashpot("shrink", run, "--sparse", "--out", small)
    assert "a sparse matrix of" in said
    assert json.loads((small / "shrunk.json").read_text())["sparse"]
    for folder in (run, small):
        dashpot("predict", folder, table, "--out", folder / "out.csv")
    assert numbers(run / "out.csv") == numbers(small / "out.csv")
    assert "body" in dashpot("inspect", small)
    refused = dashpot("shrink", small, "--out", tmp_path / "again", code=2)
    assert "it has sparse matrices" in refused
    assert "Traceback" not in refused
