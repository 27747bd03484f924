"""Killed while it trains on pictures from a mapped file: a resumed run is the run, and no picture is decoded again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.faults

MAPPED = "import sys; from dashpot.data.pictures import cache; cache.SHARE = 0; sys.argv[0] = 'dashpot'; "
COMMAND = [sys.executable, "-c", MAPPED + "from dashpot.cli import main; main()"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``pictures`` of two classes, bright on the left or on the right."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DASHPOT_NO_COMPILER", "1")  # in an empty cache folder kernels would be compiled anew
    noise = np.random.default_rng(0)
    for i in range(90):
        pixels = noise.integers(0, 200, (16, 16, 3), dtype=np.uint8)
        pixels[:, 8 * (i % 2) : 8 * (i % 2) + 8] += 40
        folder = tmp_path / "pictures" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *arguments], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def killed_when(place: Path, condition: Callable[[], bool], *arguments: str) -> None:
    """Start it, and kill it with SIGKILL as soon as the condition holds."""
    process = subprocess.Popen([*COMMAND, *arguments], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)
    process.kill()
    process.wait()


def decoded_once(place: Path) -> tuple[int, int]:
    """Which file holds the decoded pictures, and since when."""
    (kept,) = (place / "cache" / "dashpot" / "images").glob("*.pixels")
    return os.stat(kept).st_ino, os.stat(kept).st_mtime_ns


def test_a_killed_fit_on_mapped_pictures_goes_on_bit_for_bit(place: Path) -> None:
    fit = ("fit", "pictures", "--epochs", "40", "--seed", "3", "--with", "horizontal-flip", "--with", "ema:decay=0.9")
    run(place, *fit, "--out", "whole")
    before, saved = decoded_once(place), place / "parts" / "checkpoint.safetensors"
    killed_when(place, saved.exists, *fit, "--out", "parts")
    assert not (place / "parts" / "model.safetensors").exists()
    assert "resumed after" in run(place, *fit, "--out", "parts", "--resume").stderr
    assert (place / "parts/model.safetensors").read_bytes() == (place / "whole/model.safetensors").read_bytes()
    assert decoded_once(place) == before


def test_a_killed_tune_on_mapped_pictures_goes_on(place: Path) -> None:
    journal = place / "run" / "journal.log"
    tune = ("tune", "pictures", "--trials", "4", "--epochs", "4", "--cv", "3", "--with", "horizontal-flip")
    killed_when(place, lambda: journal.exists() and b"params" in journal.read_bytes(), *tune, "--out", "run")
    before = decoded_once(place)
    run(place, "tune", "--resume", "run")
    report = json.loads((place / "run" / "report.json").read_text())
    assert "accuracy" in report["test"]["chosen"]
    assert decoded_once(place) == before
