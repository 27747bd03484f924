"""``dashpot tune --schedule``, run as its user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashpot.search.racing.planning import exchanges

OPTIONS = [
    "--target",
    "target",
    "--cv",
    "3",
    "--epochs",
    "9",
    "--trials",
    "12",
    "--workers",
    "1",
    "--device",
    "cpu",
    "--no-explain",
]
FEW = ["--with", "l1", "--with", "dropout", "--net", "width=8,16", "--net", "depth=1"]


def run(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashpot", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schedules") / "table.csv"
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    frame["target"] = np.where(frame.a + 0.5 * rng.normal(size=120) > 0, "yes", "no")
    frame.to_csv(path, index=False)
    return path


def searched(
    table: Path, cwd: Path, schedule: str, *more: object
) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    done = run("tune", table, *OPTIONS, *FEW, "--schedule", schedule, "--out", "run", *more, cwd=cwd)
    return json.loads((cwd / "run" / "report.json").read_text()), done


@pytest.mark.slow
def test_hyperband(table: Path, tmp_path: Path) -> None:
    record, done = searched(table, tmp_path, "hyperband")
    assert record["race"]["schedule"] == "hyperband"
    assert "in the races after it later" in done.stderr
    assert record["strengths"] == []
    left = {row["epochs"] for row in record["candidates"]}
    assert left == {1, 3, 9}
    assert next(row for row in record["candidates"] if row["name"] == "baseline")["state"] == "complete"


@pytest.mark.slow
def test_none_is_pruned(table: Path, tmp_path: Path) -> None:
    record, done = searched(table, tmp_path, "none")
    assert {(row["state"], row["epochs"]) for row in record["candidates"]} == {("complete", 9)}
    assert "pruned" not in done.stderr.splitlines()[0]


@pytest.mark.slow
def test_population_by_two_workers_and_resumed(table: Path, tmp_path: Path) -> None:
    record, done = searched(table, tmp_path, "population", "--workers", "2")
    assert "none pruned" in done.stderr
    rows = record["candidates"]
    assert len(rows) == 12
    assert {row["epochs"] for row in rows} == {9}
    changed = [row for row in rows if row["stages"]]
    assert changed
    for row in changed:
        assert row["stages"][0]["epoch"] == 0
        assert {s["epoch"] for s in row["stages"][1:]} <= set(exchanges(9))
        assert row["stages"][-1]["params"] == row["params"]
    chosen = next(row for row in rows if row["number"] == record["chosen"])
    assert record["strengths"] == chosen["stages"]
    assert ("its strengths changed while it trained" in done.stdout) == bool(chosen["stages"])
    run("predict", "run", table, "--out", "p.csv", cwd=tmp_path)
    before = {row["number"]: row["stages"] for row in rows}
    run("tune", "--resume", "run", "--trials", 16, "--workers", "1", cwd=tmp_path)
    again = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(again["candidates"]) == 16
    assert {row["number"]: row["stages"] for row in again["candidates"] if row["number"] in before} == before


def test_unknown(table: Path, tmp_path: Path) -> None:
    done = run("tune", table, *OPTIONS, "--schedule", "asha", cwd=tmp_path, code=2)
    assert "schedule must be one of halving, hyperband, none, population, got 'asha'" in done.stderr
    assert list(tmp_path.iterdir()) == []
