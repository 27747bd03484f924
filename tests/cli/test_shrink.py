"""``dashpot shrink``: a run with a smaller network predicts as before."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dashpot.cli.app import main
from dashpot.runs.saved import load_run

GROUPS = "group-lasso:strength=0.03,groups=rows"


@pytest.fixture
def dashpot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command in an empty folder: what it says, and that it ends as expected."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["dashpot", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.err
        assert "Traceback" not in said.err
        return said.out + said.err

    return run


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
    dashpot("fit", table, "--target", "y", "--with", GROUPS, "--epochs", 60, "--out", run)
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


def test_a_run_without_zeros_is_refused(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    dashpot("fit", table, "--target", "y", "--epochs", 2, "--out", run)
    said = dashpot("shrink", run, "--out", tmp_path / "small", code=2)
    assert "got 'no zeros'" in said
    assert "group-lasso" in said
    said = dashpot("shrink", tmp_path / "nowhere", "--out", tmp_path / "small", code=2)
    assert "RUN must be the folder of a finished" in said


def test_a_damaged_plan_is_said(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run, small = tmp_path / "run", tmp_path / "small"
    dashpot("fit", table, "--target", "y", "--with", GROUPS, "--epochs", 60, "--out", run)
    dashpot("shrink", run, "--out", small)
    setup = json.loads((small / "preprocessing.json").read_text())
    setup["shrunk"][0]["version"] = 7
    (small / "preprocessing.json").write_text(json.dumps(setup))
    said = dashpot("predict", small, table, "--out", tmp_path / "out.csv", code=2)
    assert "version 1 is needed" in said


def test_a_compressed_run_is_small_and_predicts(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = dashpot(
        *("fit", table, "--target", "y", "--with", "compress:to=0.4x parameters", "--epochs", 6, "--out", run)
    )
    assert "the network is smaller" in said
    report = json.loads((run / "shrunk.json").read_text())
    full, small = report["before"]["parameters"], report["after"]["parameters"]
    assert 0.95 * 0.4 * full <= small <= 0.4 * full
    network, _, _ = load_run(run)
    assert sum(p.numel() for p in network.parameters()) == small
    dashpot("predict", run, table, "--out", tmp_path / "predictions.csv")
    assert len(numbers(tmp_path / "predictions.csv")) == 301
