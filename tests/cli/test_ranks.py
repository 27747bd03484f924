"""``torchrun -m dashpot``: one sentence from one rank, and no folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("rank", "said"), [("0", "ranks of torchrun must be 1 for a command of dashpot"), ("1", "")])
def test_several_ranks_are_refused_once(rank: str, said: str, tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": rank, "TORCHELASTIC_RUN_ID": "none"}
    command = [sys.executable, "-m", "dashpot", "fit", "--epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)
    assert not list(tmp_path.iterdir())


def test_one_rank_is_a_process_as_any_other(tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "1", "RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    command = [sys.executable, "-m", "dashpot", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
