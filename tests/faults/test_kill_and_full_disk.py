"""Killed at random moments, and out of disk: nothing that was there is lost, and a resumed run is the run."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

RECIPE = [
    "--with",
    "mixup",
    "--with",
    "dropout:p=0.2",
    "--with",
    "l1:strength=1e-4",
    "--with",
    "ema:decay=0.99",
    "--with",
    "early-stopping:patience=30",
]
FIT = [sys.executable, "-m", "dashpot", "fit", "--epochs", "60", "--seed", "3", *RECIPE]


def test_ten_kills_and_resumes_give_the_same_weights(tmp_path: Path) -> None:
    started = time.monotonic()
    subprocess.run([*FIT, "--out", "whole"], cwd=tmp_path, check=True, capture_output=True)
    length = time.monotonic() - started
    moments, killed = random.Random(0), 0
    command = [*FIT, "--out", "parts", "--resume"]
    # The first kill comes early, before anything was saved; the others at any moment of a run.
    for attempt in range(10):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.1, 1.0 if attempt == 0 else 0.9 * length))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert killed >= 3
    assert "resumed after" in done.stderr or "nothing left to do" in done.stderr
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    assert len((whole / "history.jsonl").read_text().splitlines()) == len(
        (parts / "history.jsonl").read_text().splitlines()
    )


def test_kills_on_both_sides_of_a_cut_give_the_same_small_network(tmp_path: Path) -> None:
    """Units leave the network several times on the way; a run goes on from each size."""
    cut = (
        "from dashpot.training import checkpoint, compressing; checkpoint.EACH = compressing.PAYS = 0;"  # each epoch
        "from dashpot.cli import main; main()"
    )
    recipe = [
        "--with",
        "compress:to=0.1x parameters",
        "--with",
        "ema:decay=0.9",
        "--with",
        "early-stopping:patience=30",
    ]
    command = [sys.executable, "-c", cut, "fit", "--epochs", "30", "--seed", "3", "--no-robustness", *recipe, "--out"]
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True)
    rows, killed = tmp_path / "parts" / "history.jsonl", 0
    for epochs in (2, 6, 9, 12, 14, 17, 24):
        process = subprocess.Popen(
            [*command, "parts", "--resume"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (rows.exists() and len(rows.read_text().splitlines()) >= epochs):
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    subprocess.run([*command, "parts", "--resume"], cwd=tmp_path, check=True, capture_output=True)
    assert killed >= 3
    whole, parts = ((tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "parts"))
    assert whole == parts
    sizes = json.loads((tmp_path / "parts" / "shrunk.json").read_text())
    assert sizes["after"]["parameters"] <= 0.1 * sizes["before"]["parameters"]


def test_a_full_disk_is_one_message_and_damages_nothing(tmp_path: Path) -> None:
    subprocess.run([*FIT[:4], "--epochs", "2", "--out", "run"], cwd=tmp_path, check=True, capture_output=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    # A limit on file sizes stops writes as a full disk does; the checkpoint (about 2 MB) does not fit under 100 kB.
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.argv = ['dashpot', *sys.argv[1:]];"
        "from dashpot.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "fit", "--epochs", "2", "--out", "other"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.tmp"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
