"""``dashpot fit --net``: options of the network from the command line."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from dashpot.cli import fit, predict, robustness
from dashpot.core.errors import ConfigError, DashpotError
from dashpot.runs.saved import load_run

APP = typer.Typer()
for module in (fit, predict, robustness):
    module.register(APP)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("net"), np.random.default_rng(0)
    y = np.arange(60) % 2
    table = rng.normal(size=(60, 2)) + y[:, None]
    lines = [f"{a},{b},{'nm'[k]}" for (a, b), k in zip(table, y, strict=True)]
    (folder / "table.csv").write_text("\n".join(["a,b,y", *lines]))
    np.savez(folder / "images.npz", X=rng.integers(0, 255, (60, 8, 8), dtype=np.uint8), y=y)
    np.savez(folder / "signals.npz", X=rng.normal(size=(60, 2, 16)).astype(np.float32), y=y)
    (folder / "zoo.py").write_text(
        "from torch import nn\n"
        "def make(width=2):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 2))\n"
    )
    return folder


def run(place: Path, *arguments: str) -> str:
    found = CliRunner().invoke(APP, ["fit", *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.parametrize(
    ("data", "net", "count"),
    [
        # Weights and biases by hand: 2 -> 5 -> 2, with normalization's scale and shift in place of the first bias.
        ("table.csv --target y", "width=5 depth=1", 2 * 5 + 5 + 5 * 2 + 2),
        ("table.csv --target y", "width=5 depth=1 norm=batch", 2 * 5 + 2 * 5 + 5 * 2 + 2),
        # The same, and a factor for each column.
        ("table.csv --target y", "width=5 depth=1 activation=gelu", 2 + 2 * 5 + 5 + 5 * 2 + 2),
        ("signals.npz", "net=mlp width=3 depth=1", 32 * 3 + 2 * 3 + 3 * 2 + 2),
        ("images.npz --model ZOO", "width=7", 64 * 7 + 7 + 7 * 2 + 2),
    ],
)
def test_the_network_has_the_options_that_were_named(
    place: Path, tmp_path: Path, data: str, net: str, count: int
) -> None:
    name, *more = data.replace("ZOO", f"{place}/zoo.py:make").split()
    options = [part for option in net.split() for part in ("--net", option)]
    out = tmp_path / "run"
    said = run(place, str(place / name), *more, "--epochs", "1", "--out", str(out), *options)
    assert f"({count:,} trainable values)" in said


def test_a_saved_run_has_its_options(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(place, str(place / "images.npz"), "--epochs", "1", "--out", str(out), "--net", "width=4", "--net", "se=true")
    network, _, _ = load_run(out)
    assert (network.options["width"], network.options["se"]) == (4, True)  # type: ignore[index]  # a ConvNet has them


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("widht=4", "--net must be one of net, width, depth, .*'widht'"),
        ("width=none", "width must be a whole number"),
        ("net=resnet width=0", "width must be a whole number >= 1"),
    ],
)
def test_a_bad_option_is_refused_before_there_is_a_folder(place: Path, tmp_path: Path, net: str, message: str) -> None:
    out = tmp_path / "run"
    options = [part for option in net.split() for part in ("--net", option)]
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(APP, ["fit", str(place / "images.npz"), "--out", str(out), *options], catch_exceptions=False)
    assert not out.exists()


def test_a_network_of_ones_own_says_which_keywords_it_has(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"callable as model\(depth=2\).*The names in net= are its keywords"):
        CliRunner().invoke(
            APP,
            ["fit", str(place / "images.npz"), "--model", f"{place}/zoo.py:make", "--net", "depth=2"],
            catch_exceptions=False,
        )


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_learning_rates_of_ones_own_network(place: Path, tmp_path: Path) -> None:
    """With a decay near 0 all but the last layer stay where they began."""
    own = (str(place / "images.npz"), "--model", f"{place}/zoo.py:make", "--no-robustness")
    for epochs in ("1", "3"):
        run(place, *own, "--epochs", epochs, "--out", str(tmp_path / epochs), "--lr", "0.02", "--lr-decay", "1e-9")
    one, three = weights_of(tmp_path / "1"), weights_of(tmp_path / "3")
    moved = {name: float((one[name] - three[name]).abs().max()) for name in one if name.endswith("weight")}
    first, last = sorted(moved)
    assert moved[first] < 1e-7
    assert moved[last] > 1e-3
    rates = [json.loads(line)["lr"] for line in (tmp_path / "3" / "history.jsonl").read_text().splitlines()]
    assert 0.002 < max(rates) <= 0.02
    assert json.loads((tmp_path / "3" / "metrics.json").read_text())["training"] == {
        "model": f"{place}/zoo.py:make",
        "lr": 0.02,
        "lr_decay": 1e-9,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lr 0", "lr must be a number > 0"),
        ("--lr nan", "lr must be a number > 0"),
        ("--lr-decay 1.5", r"lr_decay must be a number in \(0, 1\]"),
        ("--with stochastic-depth", "built-in network has branches with residual=True .--net residual=true"),
    ],
)
def test_a_bad_rate_is_refused_and_leaves_no_folder(place: Path, tmp_path: Path, words: str, message: str) -> None:
    out = tmp_path / "run"
    every = ["fit", str(place / "images.npz"), "--epochs", "1", "--out", str(out), *words.split()]
    with pytest.raises(DashpotError, match=message):
        CliRunner().invoke(APP, every, catch_exceptions=False)
    assert not out.exists()


def test_the_command_on_the_page_makes_the_same_network(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--net", "width=6", "--net", "residual=true", "--lr", "0.004", "--with", "stochastic-depth:p=0.2"]
    run(place, str(place / "images.npz"), "--epochs", "1", "--out", str(tmp_path / "first"), *words)
    page = html.unescape((tmp_path / "first" / "report.html").read_text())
    (command,) = set(re.findall(r"dashpot fit images\.npz[^<]*", page))
    monkeypatch.chdir(place)
    run(place, *shlex.split(command)[2:], "--epochs", "1", "--out", str(tmp_path / "second"))
    first, second = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_robustness_of_a_run_with_ones_own_network(place: Path, tmp_path: Path) -> None:
    data, model = str(place / "images.npz"), f"{place}/zoo.py:make"
    run(place, data, "--model", model, "--epochs", "1", "--out", str(tmp_path / "run"), "--no-robustness")
    words = ["robustness", str(tmp_path / "run"), data, "--corruption", "noise", "--out", str(tmp_path / "worse")]
    with pytest.raises(ConfigError, match="--model must be given for a run whose network is one of your own"):
        CliRunner().invoke(APP, words, catch_exceptions=False)
    found = CliRunner().invoke(APP, [*words, "--model", model], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    assert "dashpot robustness run images.npz --model zoo.py:make" in page
    assert str(place) not in page
