"""Networks of one's own on images from the command line: --model of fit, tune and predict."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from dashpot.cli import fit, predict, tune
from dashpot.core.errors import ConfigError
from dashpot.runs.factories import load_factory
from dashpot.runs.saved import load_run

APP = typer.Typer()
for module in (fit, predict, tune):
    module.register(APP)
SIDE = 26
ZOO = f"""
import torch
from torch import nn

class Fixed(nn.Module):
    '''Takes images of {SIDE} pixels only.'''

    def __init__(self, width=4):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 5, 4), nn.Linear(width * 36, 2)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))

def other(width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * {SIDE} * {SIDE}, 2))

def five(width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * {SIDE} * {SIDE}, 5))

number = 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 100, (90, SIDE, SIDE, 3), dtype=np.uint8), np.arange(90) % 2
    x[y == 1, :, : SIDE // 2] += 120
    np.savez(folder / "photos.npz", X=x, y=np.array(["left", "none"])[1 - y])
    (folder / "zoo.py").write_text(ZOO)
    return folder


@pytest.fixture(scope="module")
def run_of_fit(place: Path) -> Path:
    command(
        "fit",
        place / "photos.npz",
        "--model",
        f"{place / 'zoo.py'}:Fixed",
        "--epochs",
        15,
        "--tta",
        "flip",
        "--with",
        "random-crop:padding=0.1",
        "--out",
        place / "run",
    )
    return place / "run"


def command(*words: Any, fails: bool = False) -> str:
    result = CliRunner().invoke(APP, [str(word) for word in words])
    if fails:
        assert isinstance(result.exception, ConfigError) or result.exit_code == 2, result.output
        return str(result.exception) if isinstance(result.exception, ConfigError) else result.output
    assert result.exception is None, result.exception
    return result.output


def column(file: Path, name: str) -> list[str]:
    with open(file, encoding="utf-8") as lines:
        return [row[name] for row in csv.DictReader(lines)]


def test_fit_and_predict(place: Path, run_of_fit: Path) -> None:
    model = f"{place / 'zoo.py'}:Fixed"
    command("predict", run_of_fit, place / "photos.npz", "--out", place / "p.csv", "--model", model)
    truth = np.load(place / "photos.npz")["y"]
    assert np.mean(np.array(column(place / "p.csv", "prediction")) == truth) > 0.9
    # The network has the numbers by which it standardizes, and both mirror images one answer.
    network, how, _ = load_run(run_of_fit, make=load_factory(model))
    x = torch.from_numpy(how.transform(np.load(place / "photos.npz")["X"].transpose(0, 3, 1, 2)))
    assert x.dtype == torch.uint8
    torch.testing.assert_close(network(x).softmax(1), network(x.flip(3)).softmax(1))
    assert {"augment.png", "confusion.png", "mistakes.png"} <= {path.name for path in run_of_fit.iterdir()}


def test_a_run_says_which_function_is_missing_or_wrong(place: Path, run_of_fit: Path) -> None:
    words = "predict", run_of_fit, place / "photos.npz", "--out", place / "none.csv"
    assert "--model must be given for a run whose network is one of your own" in command(*words, fails=True)
    wrong = command(*words, "--model", f"{place / 'zoo.py'}:other", fails=True)
    assert "--model must be the function that made the network of this run" in wrong
    assert not (place / "none.csv").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("five", "one logit per class"),
        ("number", "It is int"),
        ("nothing", "has no attribute 'nothing'"),
    ],
)
def test_functions_that_do_not_fit(place: Path, name: str, message: str) -> None:
    told = command(
        "fit", place / "photos.npz", "--model", f"{place / 'zoo.py'}:{name}", "--out", place / name, fails=True
    )
    assert message in told
    assert name in told
    assert not (place / name).exists()


@pytest.mark.parametrize("text", ["zoo", ":make", "no_such_module:make", "none.py:make"])
def test_text_that_names_no_function(place: Path, text: str) -> None:
    told = command("fit", place / "photos.npz", "--model", text, "--out", place / "text", fails=True)
    assert "--model must be MODULE:FUNCTION or FILE.py:FUNCTION" in told


def test_tune_races_at_full_size_with_techniques_on_images_and_can_be_used(place: Path) -> None:
    model = f"{place / 'zoo.py'}:Fixed"
    words = "tune", place / "photos.npz", "--trials", 3, "--epochs", 2, "--cv", 2, "--no-explain", "--workers", 1
    command(*words, "--model", model, "--net", "width=2,4", "--out", place / "search")
    report = json.loads((place / "search" / "report.json").read_text(encoding="utf-8"))
    params = [candidate["params"] for candidate in report["candidates"]]
    assert {one["net.width"] for one in params} <= {2, 4}
    assert any(one.get("horizontal-flip") or one.get("random-crop") for one in params)
    command("predict", place / "search", place / "photos.npz", "--out", place / "q.csv", "--model", model)
    assert set(column(place / "q.csv", "prediction")) <= {"left", "none"}
    told = command("tune", "--resume", place / "search", "--trials", 4, fails=True)
    assert "--model must be" in told
    assert "zoo.py:Fixed, as when the search began" in told


LAZY = """
from torch import nn

def make(width=8):
    return nn.Sequential(nn.LazyLinear(width), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))
"""


def test_lazy_layers_take_their_shapes_from_the_data(command: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    draw = np.random.default_rng(0)
    rows = "\n".join(f"{a},{b},{'no' if a > 0 else 'yes'}" for a, b in draw.normal(size=(120, 2)))
    (tmp_path / "data.csv").write_text(f"a,b,y\n{rows}\n")
    own, run = ("--model", f"{tmp_path / 'lazy.py'}:make"), tmp_path / "run"
    short = ("--trials", 2, "--epochs", 3, "--cv", 2, "--workers", 1, "--no-explain", "--no-robustness")
    command("tune", tmp_path / "data.csv", "--target", "y", *own, *short, "--out", run)
    command("predict", run, tmp_path / "data.csv", *own, "--out", tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 121
