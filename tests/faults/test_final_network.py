"""A search over images, killed while its final network trains: it goes on from its last epoch."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults.tuning import ended, start

pytestmark = pytest.mark.faults
BUDGET = 60


def pictures(path: Path) -> Path:
    """240 images of 24 pixels, of two classes by the half that is bright."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    x = rng.integers(0, 90, (240, 24, 24)).astype(np.uint8)
    x[y == 1, :12] += 120
    np.savez(path, X=x, y=y)
    return path


def epochs(folder: Path) -> int:
    try:
        return len((folder / "final" / "history.jsonl").read_text().splitlines())
    except OSError:
        return 0


def seconds(folder: Path) -> float:
    return float(json.loads((folder / "spent.json").read_text())["seconds"])


def test_a_killed_final_network_goes_on(tmp_path: Path) -> None:
    data, folder, started = pictures(tmp_path / "pictures.npz"), tmp_path / "run", time.monotonic()
    options = ["--with", "weight-decay", "--with", "label-smoothing", "--workers", 1, "--no-explain"]
    with ended([start(data, *options, "--budget", f"{BUDGET}s", "--out", folder, cwd=tmp_path, log="log")]) as leaders:
        while epochs(folder) < 3:
            assert leaders[0].poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() - started < BUDGET, "no final network"
            time.sleep(0.05)
        spent = seconds(folder)
        while seconds(folder) <= spent:  # the clock goes on while one long training says nothing
            assert leaders[0].poll() is None, "it ended before the clock was kept"
            time.sleep(0.05)
        leaders[0].kill()
        leaders[0].wait()
        assert not (folder / "report.json").exists()
        before = (folder / "final" / "history.jsonl").read_text().splitlines()
        leaders.append(start("--resume", folder, "--workers", 1, cwd=tmp_path, log="log"))
        assert leaders[1].wait(2 * BUDGET) == 0, (tmp_path / "log").read_text()
    report = json.loads((folder / "report.json").read_text())
    after = (folder / "final" / "history.jsonl").read_text().splitlines()
    assert after[: len(before)] == before, "epochs that were trained are not trained again"
    assert len(after) > len(before)
    assert f"{len(after)} epochs at full size" in report["final"]
    assert report["test"]["chosen"]["accuracy"] > 0.9
    assert report["seconds"] < 1.3 * BUDGET
    assert (tmp_path / "log").read_text().count("candidates, epoch 1/") <= 1, "it races once"
