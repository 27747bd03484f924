"""``dashpot fit --net``: options of the network from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from dashpot.cli import fit, predict
from dashpot.core.errors import ConfigError
from dashpot.runs.saved import load_run

APP = typer.Typer()
for module in (fit, predict):
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
