"""Test-time augmentation on the command line: as a run was saved, and otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import dashpot
from dashpot.cli import fit, predict
from dashpot.core.digits import digits
from dashpot.data import load_problem, load_rows
from dashpot.runs.saved import load_run
from dashpot.training.versions import TTANetwork


def run(*arguments: object) -> str:
    app = typer.Typer(name="dashpot", add_completion=False)
    for command in (fit, predict):
        command.register(app)
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(done.exception, dashpot.DashpotError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, left in (("left", True), ("right", False)):
        (place / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 90, (8, 8), dtype=np.uint8)
            pixels[:, slice(0, 4) if left else slice(4, 8)] += 80
            Image.fromarray(pixels).save(place / "images" / name / f"{i}.png")
    told = run("fit", place / "images", "--epochs", 2, "--tta", "vertical-flip", "--out", place / "run")
    assert "mean over 2 versions of each image: VerticalFlip(p=0.5)" in told
    return place


def probabilities(folder: Path, *options: object) -> np.ndarray:
    run("predict", folder / "run", folder / "images", "--out", folder / "p.csv", *options)
    return np.loadtxt(folder / "p.csv", delimiter=",", skiprows=1, usecols=(2, 3))


def test_predict_does_as_the_run_was_saved_or_as_it_is_told(folder: Path) -> None:
    network, preprocessing, target = load_run(folder / "run")
    assert isinstance(network, TTANetwork)
    x = torch.as_tensor(load_rows(folder / "images", preprocessing, target.name, target.weight)[0])
    plain, _, _ = load_run(folder / "run", None)
    with torch.no_grad():
        there, back, side = (plain(t).softmax(1).numpy() for t in (x, x.flip(2), x.flip(3)))
    np.testing.assert_allclose(probabilities(folder), (there + back) / 2, atol=1e-5)
    np.testing.assert_allclose(probabilities(folder, "--tta", "none"), there, atol=1e-5)
    np.testing.assert_allclose(probabilities(folder, "--tta", "flip"), (there + side) / 2, atol=1e-5)
    drawn = probabilities(folder, "--tta", "translation", "--tta", "flip", "--tta-draws", 3)
    expected = dashpot.tta_predict(plain, x, "translation | flip", draws=3).mean
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-5)


def test_scores_of_the_report_are_of_the_averaged_answers(folder: Path) -> None:
    record = json.loads((folder / "run" / "metrics.json").read_text())
    assert json.loads((folder / "run" / "preprocessing.json").read_text())["tta"]["draws"] is None
    last = [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()][-1]
    assert record["valid"]["loss"] == pytest.approx(last["val_loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tta", "mixup"), "recipe of tta must be of techniques that change single images"),
        (("--tta", "none", "--tta", "flip"), 'tta must be "none" alone'),
        (("--tta-draws", 3), "draws of tta must be given with techniques"),
    ],
)
def test_refusals_leave_nothing_behind(folder: Path, options: tuple[object, ...], message: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=message):
        run("fit", folder / "images", "--epochs", 1, "--out", folder / "other", *options)
    assert not (folder / "other").exists()
    with pytest.raises(dashpot.ConfigError, match=message):
        run("predict", folder / "run", folder / "images", "--out", folder / "other.csv", *options)


def test_a_table_has_no_versions(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,target\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(40)))
    with pytest.raises(dashpot.ConfigError, match="tta must be None for other inputs than images"):
        run("fit", table, "--target", "target", "--epochs", 1, "--tta", "flip", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run("fit", table, "--target", "target", "--epochs", 1, "--out", tmp_path / "run")
    with pytest.raises(dashpot.ConfigError, match="tta must be None for other inputs than images"):
        run("predict", tmp_path / "run", table, "--out", tmp_path / "p.csv", "--tta", "flip")
    damaged = tmp_path / "run" / "preprocessing.json"
    damaged.write_text(json.dumps({**json.loads(damaged.read_text()), "tta": {"recipe": ["nothing"], "draws": 2}}))
    with pytest.raises(dashpot.StorageError, match="is damaged: technique must be one of"):
        load_run(tmp_path / "run")


def log_loss(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(x), y))


@pytest.mark.parametrize(("technique", "helps"), [("vertical-flip", True), ("horizontal-flip", False)])
def test_auto_averages_where_the_validation_rows_gain(
    folder: Path, tmp_path: Path, technique: str, helps: bool
) -> None:
    # Mirrored left and right, the classes change places.
    options = ("--with", f"{technique}:p=0.01", "--epochs", 12, "--seed", 1)
    said = run("fit", folder / "images", *options, "--tta", "auto", "--out", tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "preprocessing.json").read_text())
    problem = load_problem(folder / "images")
    split = problem.split(1)
    x, y = problem.prepare(split.train).part(split.valid)
    plain = load_run(tmp_path / "run", None)[0]
    alone, both = (log_loss(net, x, y) for net in (plain, load_run(tmp_path / "run", technique)[0]))
    assert (both < alone) == helps == ("tta" in saved)
    assert f"log loss on the validation rows {digits(both)}, without {digits(alone)}" in said
    assert ("are the mean over 2 mirror images" in said) == helps


def test_auto_without_flips_says_so(folder: Path, tmp_path: Path) -> None:
    said = run("fit", folder / "images", "--epochs", 1, "--tta", "auto", "--out", tmp_path / "run")
    assert "the recipe has no flips to average over" in said
