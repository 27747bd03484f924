"""``torchrun -m dashpot``: ``fit`` trains over ranks; other commands say one sentence, and make no folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

FIT = ["-m", "dashpot", "fit", "--epochs", "2", "--with", "l1:strength=0.001", "--no-robustness"]


@pytest.mark.parametrize(
    ("rank", "said"), [("0", "ranks of torchrun must be 1 for other commands than dashpot fit"), ("1", "")]
)
def test_several_ranks_are_refused_once(rank: str, said: str, tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": rank, "TORCHELASTIC_RUN_ID": "none"}
    command = [sys.executable, "-m", "dashpot", "tune", "--trials", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)
    assert not list(tmp_path.iterdir())


def test_a_budget_is_refused_before_ranks_meet(tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    command = [sys.executable, "-m", "dashpot", "fit", "--budget", "10s"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--budget must be left out with several ranks of torchrun" in done.stderr
    assert not list(tmp_path.iterdir())


def test_one_rank_is_a_process_as_any_other(tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "1", "RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    command = [sys.executable, "-m", "dashpot", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.distributed
def test_two_ranks_train_what_one_process_does(tmp_path: Path) -> None:
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command, out in (([sys.executable], "one"), (ranks, "two")):
        done = subprocess.run(
            [*command, *FIT, "--out", out], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("saved in") == 1
    one, two = (load_file(tmp_path / out / "model.safetensors") for out in ("one", "two"))
    assert_close(two, one, rtol=1e-3, atol=1e-4)
    scores = [json.loads((tmp_path / out / "metrics.json").read_text())["test"] for out in ("one", "two")]
    assert scores[1] == pytest.approx(scores[0], rel=1e-3)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


@pytest.mark.slow
@pytest.mark.distributed
def test_ranks_with_other_data_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    table = tmp_path / "rank.py"
    # Each rank in a folder of its own, as on machines of their own.
    table.write_text(
        "import os, sys, runpy\n"
        "os.makedirs(rank := os.environ['RANK'], exist_ok=True)\n"
        "os.chdir(rank)\n"
        "rows = [f'{i},{i % 7},{int(i % 3 == 0)}' for i in range(60)]\n"
        "open('t.csv', 'w').write('a,b,y\\n' + '\\n'.join(rows if rank == '0' else rows[::-1]))\n"
        "sys.argv = ['dashpot', 'fit', 't.csv', '--target', 'y', '--epochs', '1', '--out', 'run']\n"
        "runpy.run_module('dashpot', run_name='__main__')\n"
    )
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(table)]
    done = subprocess.run(ranks, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode != 0
    assert done.stderr.count("error: all ranks must have the same data, and rank 1 has") == 1
    assert sorted(path.name for path in tmp_path.glob("?/*")) == ["t.csv", "t.csv"]
