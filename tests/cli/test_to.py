"""``--to`` of fit and tune: a network of the size that is asked for, also after the process was killed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dashpot.runs.saved import load_run

QUICK = "--target", "y", "--no-robustness", "--device", "cpu"
SEARCH = "--trials", 3, "--epochs", 4, "--cv", 2, "--workers", 1, "--no-explain", "--net", "width=16"
HALF = "0.5x parameters"


@pytest.fixture
def dashpot(command: Callable[..., str]) -> Callable[..., str]:
    return command


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "table.csv"
    with path.open("w", newline="") as file:
        rows = [[*row, "no" if row[0] > 0 else "yes"] for row in draw.normal(size=(200, 4))]
        csv.writer(file).writerows([["a", "b", "c", "d", "y"], *rows])
    return path


def sizes(folder: Path) -> tuple[int, int]:
    """Parameters before and after, by the file; those of the network that loads are as many."""
    report = json.loads((folder / "shrunk.json").read_text())
    network, *_ = load_run(folder)
    assert sum(p.numel() for p in network.parameters()) == report["after"]["parameters"]
    return report["before"]["parameters"], report["after"]["parameters"]


def test_fit_to_a_size_is_fit_with_compress(dashpot: Callable[..., str], table: Path, tmp_path: Path) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    dashpot("fit", table, *QUICK, "--epochs", 6, "--to", HALF, "--out", short)
    dashpot("fit", table, *QUICK, "--epochs", 6, "--with", f"compress:to={HALF}", "--out", long)
    counts = [sum(p.numel() for p in load_run(run)[0].parameters()) for run in (short, long)]
    assert counts[0] == counts[1]
    assert (short / "recipe.toml").read_text() == (long / "recipe.toml").read_text()


def test_a_search_to_a_size_leaves_a_small_run_that_predicts(
    dashpot: Callable[..., str], table: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said = dashpot("tune", table, *QUICK, *SEARCH, "--to", HALF, "--out", run)
    assert f"dashpot predict {run / 'small'}" in said
    full, small = sizes(run / "small")
    assert small <= 0.5 * full
    dashpot("predict", run / "small", table, "--out", tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 201
    # The process ended before the small network was there: the search knows that it is asked for.
    (run / "small").rename(run / ".small")
    (run / ".small" / "model.safetensors").unlink()
    again = dashpot("tune", "--resume", run)
    assert f"dashpot predict {run / 'small'}" in again
    assert sizes(run / "small") == (full, small)
    assert not (run / ".small").exists()
    assert "its network comes down" not in dashpot("tune", "--resume", run)


@pytest.mark.parametrize("asked", ["2x fasterr", "0 parameters", "3x parameters"])
@pytest.mark.parametrize("order", ["fit", "tune"])
def test_a_size_that_cannot_be_read_is_told_before_anything_is_made(
    order: str, asked: str, dashpot: Callable[..., str], table: Path, tmp_path: Path
) -> None:
    said = dashpot(order, table, *QUICK, "--to", asked, "--out", tmp_path / "run", code=2)
    assert said.startswith("error: --to must be a size such as")
    assert f"got '{asked}'" in said
    assert not (tmp_path / "run").exists()


def test_networks_of_words_keep_their_size(dashpot: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,y\n" + "".join(f"{'good' if k % 2 else 'bad'} words number {k},{k % 2}\n" for k in range(60)))
    said = dashpot("tune", path, *QUICK, "--kind", "text", "--to", HALF, "--out", tmp_path / "run", code=2)
    assert "--to must be given for tables, images or signals" in said
    assert not (tmp_path / "run").exists()
