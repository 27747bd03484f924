"""Runs of Weights & Biases, whose offline file is read back; and trackio, whose interface a small module stands for."""

from __future__ import annotations

import json
import struct
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dashpot
from dashpot.tracking import Candidate, End, Start, Trackio, WandB

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def fit(log: Any) -> dashpot.FitResult:
    torch.manual_seed(0)
    return dashpot.fit(
        torch.nn.Linear(3, 1), (X, X[:, :1]), recipe="l1:strength=0.05", epochs=2, progress=False, log=log
    )


def records(data: bytes) -> Iterator[bytes]:
    """The records of an offline file: after 7 bytes blocks of 32 KiB in LevelDB's log format, of a checksum, a length
    and a kind (1 whole, 2 first, 3 middle, 4 last) before each part.
    """
    at, whole = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        if at + 7 + length > len(data):
            return  # it is still being written
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


def finished(file: Path) -> list[Any]:
    """What the file holds once its run has ended in it: a process of the library's own writes it, in its own time."""
    from wandb.proto.wandb_internal_pb2 import Record

    until = time.monotonic() + 120
    while True:
        found = [Record.FromString(data) for data in records(file.read_bytes())]
        if any(record.HasField("exit") for record in found) or time.monotonic() > until:
            return found
        time.sleep(0.2)


def test_the_offline_file_holds_epochs_configuration_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    result = fit("wandb:digits,mode=offline")
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows, project, config, exit_code = [], "", {}, None
    for record in finished(file):
        if record.HasField("history"):
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
        elif record.HasField("run"):
            project = record.run.project
            config |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
        elif record.HasField("exit"):
            exit_code = record.exit.exit_code
    epochs = [row for row in rows if "train/loss" in row]
    assert [(row["_step"], row["train/loss"]) for row in epochs] == [
        (row["epoch"], pytest.approx(row["train_loss"])) for row in result.history
    ]
    assert (project, exit_code) == ("digits", 0)
    assert config["l1.strength"] == 0.05
    assert 'name = "l1"' in config["recipe.toml"]


class StandIn(types.ModuleType):
    """Records the calls that trackio's interface has."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.calls: list[tuple[str, Any]] = []

    def init(
        self, project: str, name: str | None = None, config: dict[str, Any] | None = None, resume: str = "never"
    ) -> StandIn:
        self.calls.append(("init", {"project": project, "name": name, "config": config, "resume": resume}))
        return self

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.calls.append(("log", (step, metrics)))

    def log_artifact(self, artifact: Any) -> None:
        self.calls.append(("log_artifact", artifact))

    def finish(self) -> None:
        self.calls.append(("finish", None))

    def Table(self, columns: list[str], data: list[list[Any]]) -> Any:  # noqa: N802  (trackio's name)
        return [dict(zip(columns, row, strict=True)) for row in data]


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "trackio", module)
    return module


def test_trackio_is_told_the_same_in_its_own_interface(trackio: StandIn) -> None:
    result = fit(Trackio("digits"))
    kinds = [kind for kind, _ in trackio.calls]
    assert kinds == ["init", "log", "log", "log", "finish"]
    begun = trackio.calls[0][1]
    assert (begun["project"], begun["resume"]) == ("digits", "never")
    assert begun["config"]["l1.strength"] == 0.05
    steps = [(told[0], told[1]["train/loss"]) for kind, told in trackio.calls[1:3] if kind == "log"]
    assert steps == [(row["epoch"], row["train_loss"]) for row in result.history]
    assert trackio.calls[3][1][1]["ended"] == "finished: all epochs done"


def test_trackio_goes_on_by_name_and_shows_candidates_as_a_table(trackio: StandIn) -> None:
    log = Trackio()
    token = log.begin(Start("tune-1", "tune"))
    log.begin(Start("tune-1", "tune", token=token))
    assert [call["resume"] for _, call in trackio.calls] == ["never", "allow"]
    assert trackio.calls[0][1]["name"] == trackio.calls[1][1]["name"] == token
    log.end(End(candidates=[Candidate(0, "L1", "complete", {"lr": 0.5}, {"score": 0.25}, chosen=True)]))
    told = [call[1] for kind, call in trackio.calls if kind == "log"]
    row = {"number": 0, "state": "complete", "chosen": True, "recipe": "L1", "score": 0.25, "lr": "0.5"}
    assert {"candidates": [row]} in told


def test_the_project_is_the_place() -> None:
    assert (WandB().place, WandB("a", mode="offline").mode) == ("dashpot", "offline")
