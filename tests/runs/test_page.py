"""The page of a run from its folder, and the command that makes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dashpot.core.errors import DataError, StorageError
from dashpot.report.page.write import render
from dashpot.runs.page import record_of, run_page, side_of, write_run_page
from dashpot.runs.weights import layers_of
from tests.report.page.reading import read
from tests.report.tune_record import searched
from tests.report.typed import FITTED, walked


def folder(where: Path, name: str, content: object) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    (where / name).write_text(json.dumps(content))
    return where


def test_the_page_of_a_folder_shows_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = folder(
        Path("runs/fit-1"), "metrics.json", FITTED.to_dict() | {"data": {"name": "a", "source": "/home/me/a b.csv"}}
    )
    (run / "recipe.toml").write_text('[[technique]]\nname = "l1"\nversion = 2\nstrength = 0.5\n')
    (run / "history.jsonl").write_text('{"epoch": 1, "train_loss": 0.5}\n{"epoch": 2, "train_loss": 0.25}\n')
    save_file({"0.weight": torch.tensor([[0.0, 1.0], [0.0, -2.0]]), "0.bias": torch.ones(2)}, run / "model.safetensors")
    path = write_run_page(run)
    assert path == run / "report.html"
    html = path.read_text()
    seen = read(html)
    assert ["0.weight", "4", "2", "50 %"] in seen.table("layer", "weights")
    texts = [text for _, text in seen.words]
    assert "dashpot predict runs/fit-1 'a b.csv' --out predictions.csv" in texts
    assert "dashpot fit 'a b.csv' --with l1:strength=0.5" in texts
    assert "/home/me" not in html


def test_the_networks_of_an_ensemble_are_counted_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {f"members.{i}.body.weight": torch.tensor(rng.normal(size=(3, 5)) * (i > 0)) for i in range(3)}
    save_file(weights, tmp_path / "m.safetensors")
    (layer,) = layers_of(tmp_path / "m.safetensors")
    assert (layer["name"], layer["values"], layer["zeros"]) == ("body.weight", 45, 15)
    assert sum(layer["counts"]) == 30
    assert layers_of(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, StorageError, "has none. Name the folder"),
        ({"tune.json": "{}"}, StorageError, "not finished: `dashpot tune --resume .*` goes on"),
        ({"report.json": "{"}, StorageError, r"damaged: .* Run `dashpot tune` again"),
        ({"report.json": '{"version": 1}'}, DataError, "which this one lacks"),
        ({"report.json": '{"version": 99}'}, StorageError, "got 99, of a newer Dashpot"),
        ({"metrics.json": "[]"}, DataError, "must hold a JSON object"),
    ],
)
def test_no_run_is_one_message(tmp_path: Path, files: dict[str, str], error: type[Exception], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        record_of(tmp_path)


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    one = side_of(folder(tmp_path / "a", "report.json", searched()))
    two = side_of(folder(tmp_path / "b", "metrics.json", FITTED.to_dict()))
    assert (one.kind, two.kind) == ("tune", "fit")
    assert two.test == {"loss": 0.3}
    with pytest.raises(StorageError, match="must be of `dashpot fit` or `dashpot tune`, got one of `dashpot path`"):
        side_of(folder(tmp_path / "c", "path.json", walked().to_dict()))


def test_a_page_of_a_path_needs_no_model(tmp_path: Path) -> None:
    assert "strength" in render(run_page(folder(tmp_path, "path.json", walked().to_dict())))


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dashpot", "report", *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )


def test_the_command_writes_pages_and_refuses_in_one_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder(tmp_path / name, "metrics.json", FITTED.to_dict() | {"data": {"name": "wine"}})
    done = command("a", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "page: a/report.html")
    done = command("a", "b", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "page: report.html")
    assert "Runs side by side" in (tmp_path / "report.html").read_text()
    for wrong in (
        ("none",),
        ("a/metrics.json",),
        ("a", "--out", "no/x.html"),
        ("a", "--out", "b"),
        ("a", "--out", "new"),
    ):
        done = command(*wrong, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
