"""Files are written as a whole or not at all, from bytes, text, or by a function that writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import dashpot
from dashpot.core.files import write_atomic
from dashpot.core.tree import save_tensors
from dashpot.runs.saved import save_model


def test_a_function_writes_and_what_was_there_survives_its_failure(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, lambda name: Path(name).write_text("one") and None)
    assert path.read_text() == "one"

    def fails(name: str) -> None:
        Path(name).write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(dashpot.StorageError, match=r"file could not be written: No space left on device. What was"):
        write_atomic(path, fails)
    assert path.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_tensors_for_which_there_is_no_room_are_one_message(tmp_path: Path) -> None:
    """Under a limit for the size of files, in a process of its own."""
    code = (
        "import resource, signal, sys, torch, dashpot;"
        "from dashpot.core.tree import save_tensors;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY));\n"
        "try: save_tensors(sys.argv[1], {'a': torch.zeros(1_000_000)})\n"
        "except dashpot.StorageError as error: print(error)"
    )
    path = tmp_path / "model.safetensors"
    save_tensors(path, {"a": torch.ones(3)})
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "model.safetensors could not be written" in done.stdout
    assert "too large" in done.stdout
    assert torch.equal(load_file(path)["a"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_weights_are_not_held_twice_while_they_are_written(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch; from pathlib import Path; from dashpot.runs.saved import save_model;"
        "network = torch.nn.Linear(10_000, 10_000);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; save_model(Path(sys.argv[1]), network);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024  # of the largest resident size, in bytes
    assert int(done.stdout) * unit < 10_000 * 10_000 * 4 / 2


def test_tied_and_cut_out_weights_are_saved_whole(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    large = torch.arange(12.0).reshape(3, 4)
    network[0].register_buffer("part", large[:, :2])
    network[0].register_buffer("other", large[:, 2:])
    save_model(tmp_path, network)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == network.state_dict().keys()
    assert all(torch.equal(t, saved[name]) for name, t in network.state_dict().items())
