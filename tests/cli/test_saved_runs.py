"""Saved runs: damaged ones, folders without rights, names beyond ASCII."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dashpot
from dashpot import nets
from dashpot.core.recipe import Recipe
from dashpot.data import ImagePreprocessing
from dashpot.data.problem import Problem
from dashpot.data.rows import Rows
from dashpot.runs.saved import load_run, open_folder, save_model, save_setup

SOURCE = Path(dashpot.__file__).parent


def save(folder: Path, problem: Problem) -> Path:
    prepared = problem.prepare(np.arange(problem.n))
    network = nets.build(problem.kind, prepared.x.shape[1:], max(len(problem.classes), 1))
    save_setup(folder, network, prepared, Recipe())
    save_model(folder, network)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    notes = np.array([f"please answer question {i} now" for i in range(30)], dtype=object)
    columns = {
        "größe": np.arange(30.0),
        "b": np.arange(30.0) % 7,
        "c": np.array(["x", "y", "z"] * 10, dtype=object),
        "note": notes,
    }
    (tmp_path / "run").mkdir()
    return save(tmp_path / "run", Problem("a", Rows(tuple(columns), columns=columns), np.arange(30) % 2))


@pytest.fixture
def image_run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return save(
        tmp_path / "run",
        Problem("a", np.random.default_rng(0).integers(0, 255, (12, 1, 8, 8), dtype=np.uint8), np.arange(12) % 2),
    )


def damage(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = run / "preprocessing.json"
    setup = json.loads(path.read_text(encoding="utf-8"))
    change(setup)
    path.write_text(json.dumps(setup), encoding="utf-8")


def test_whole_runs_load(run: Path) -> None:
    _, preprocessing, target = load_run(run)
    assert preprocessing.numeric == ("größe", "b")  # type: ignore[union-attr]  # of a table
    assert target.classes == ("0", "1")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["inputs"].update(scale=[1.0]),
        lambda s: s["inputs"].update(mean=["1", "2"]),
        lambda s: s["inputs"].update(mean=[1.0, None]),
        lambda s: s["inputs"].update(median=[1.0, float("nan")]),
        lambda s: s["inputs"].update(scale=[1.0, float("inf")]),
        lambda s: s["inputs"].update(scale=[1.0, 0.0]),
        lambda s: s["inputs"].update(numeric="xy"),
        lambda s: s["inputs"].update(numeric=["b"], median=[0.0], mean=[0.0], scale=[1.0]),
        lambda s: s["inputs"].update(nominal={"c": ["x", "y"]}),
        lambda s: s["inputs"].update(nominal=[]),
        lambda s: s["inputs"].update(scaling="other"),
        lambda s: s["inputs"]["text"]["note"]["word_weights"].pop(),
        lambda s: s["target"].update(classes=["0"]),
        lambda s: s["target"].update(task="ranking"),
        lambda s: s["target"].update(scale=0.0),
        lambda s: s["target"].update(mean="a"),
        lambda s: s.update(network=None),
    ],
)
def test_a_damaged_table_run_is_told_when_it_is_loaded(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    damage(run, change)
    with pytest.raises(dashpot.StorageError, match=r"the run in .*run is damaged: .*Train it again"):
        load_run(run)


def test_a_damaged_image_run_is_told_when_it_is_loaded(image_run: Path) -> None:
    assert isinstance(load_run(image_run)[1], ImagePreprocessing)
    for wrong in (
        {"scale": [0.0]},
        {"mean": [0.5, 0.5]},
        {"channels": 3, "mean": [0.5] * 3, "scale": [1.0] * 3},
        {"height": "8"},
    ):
        shutil.copytree(image_run, image_run.parent / "copy")
        # A lambda of the loop.
        damage(image_run.parent / "copy", lambda s, wrong=wrong: s["inputs"].update(wrong))  # type: ignore[misc]
        with pytest.raises(dashpot.StorageError, match="is damaged"):
            load_run(image_run.parent / "copy")
        shutil.rmtree(image_run.parent / "copy")


def test_folders_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: object, **options: object) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    for name in ("iterdir", "exists"):  # by broken calls: who runs the tests may be allowed everything
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, refuse)
            with pytest.raises(dashpot.StorageError, match="--out .* cannot be made: Permission denied"):
                open_folder(tmp_path)
    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(dashpot.StorageError, match="RUN .* cannot be read: Permission denied"):
        load_run(tmp_path)


def test_files_are_utf_8_wherever_they_are_read(run: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        "# für größe\n" + (run / "recipe.toml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    code = (
        "import sys; from pathlib import Path; from dashpot.cli.options import read_recipe; from dashpot.runs.saved"
        " import load_decision, load_run; read_recipe(Path(sys.argv[2]), None); load_decision(sys.argv[1]);"
        " print(ascii(load_run(sys.argv[1])[1].numeric))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(run), str(tmp_path / "recipe.toml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ascii(("größe", "b")), done.stderr[-2000:]


@pytest.mark.parametrize("file", ["runs/saved.py", "cli/options.py", "cli/tune_parts.py", "search/outcome/folder.py"])
def test_no_file_of_a_run_is_read_in_the_systems_encoding(file: str) -> None:
    assert not re.findall(r"read_text\(\)", (SOURCE / file).read_text(encoding="utf-8"))
