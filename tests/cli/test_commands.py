"""The command line, run as its user runs it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import dashpot
from dashpot.core.fields.codec import loads
from dashpot.report.robustness.record import RobustnessRecord

DASHPOT = [sys.executable, "-m", "dashpot"]


def run(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*DASHPOT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    n = 150
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), "c": rng.choice(["x", "y"], n)})
    frame["target"] = np.where(frame.a + (frame.c == "x") > 0.3, "good", "bad")
    frame["price"] = 100 + 20 * frame.a - 5 * frame.b
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(csv: Path) -> Path:
    run(
        "fit",
        csv,
        "--target",
        "target",
        "--with",
        "mixup:alpha=0.2",
        "--with",
        "l1:strength=1e-3",
        "--epochs",
        50,
        "--out",
        "run",
        cwd=csv.parent,
    )
    return csv.parent / "run"


def test_fit_writes_everything(fitted: Path) -> None:
    names = {path.name for path in fitted.iterdir()}
    assert {
        "model.safetensors",
        "recipe.toml",
        "preprocessing.json",
        "history.jsonl",
        "metrics.json",
        "curves.png",
        "curves.svg",
        "robustness.svg",
    } <= names
    assert loads((fitted / "recipe.toml").read_text()) == dashpot.Mixup(alpha=0.2) | dashpot.L1(strength=1e-3)
    metrics = json.loads((fitted / "metrics.json").read_text())
    for part in ("train", "valid", "test"):
        assert set(metrics[part]) == {"loss", "accuracy", "balanced_accuracy"}
    assert metrics["test"]["accuracy"] > 0.75
    assert 0 < metrics["exact_zeros"]["all"] < 1
    assert "head.weight" in metrics["exact_zeros"]
    assert metrics["gaps"]["train - test"] == pytest.approx(metrics["train"]["accuracy"] - metrics["test"]["accuracy"])
    assert metrics["versions"]["torch"] == torch.__version__
    assert len((fitted / "history.jsonl").read_text().splitlines()) == 50
    assert not [name for name in names if name.endswith(".tmp")]
    worse = RobustnessRecord.from_dict(metrics["robustness"])
    assert {"noise", "missing values"} <= set(worse.units)
    assert (worse.metric, worse.draws) == ("accuracy", 3)
    assert all(cell.low is not None for cell in worse.cells if len(cell.scores) > 1)


def test_a_refused_resume_leaves_the_run_as_it_was(fitted: Path, csv: Path, tmp_path: Path) -> None:
    run_folder = shutil.copytree(fitted, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    options = ["--target", "target", "--epochs", 50, "--out", "run", "--resume"]
    run("fit", csv, *options, "--with", "l1", "--seed", 1, cwd=tmp_path, code=2)
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


def test_predict_by_name_in_any_order(fitted: Path, csv: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(csv)
    frame[["price", "c", "b", "a"]].to_csv(tmp_path / "new.csv", index=False)
    run("predict", fitted, csv, "--out", tmp_path / "p.csv", cwd=tmp_path)
    run("predict", fitted, tmp_path / "new.csv", "--out", tmp_path / "q.csv", cwd=tmp_path)
    p, q = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(tmp_path / "q.csv")
    pd.testing.assert_frame_equal(p, q)
    assert (p.prediction == frame.target).mean() > 0.8
    np.testing.assert_allclose(p["p(bad)"] + p["p(good)"], 1, atol=1e-5)
    frame.drop(columns="c").to_csv(tmp_path / "short.csv", index=False)
    assert (
        "missing: 'c'"
        in run("predict", fitted, tmp_path / "short.csv", "--out", tmp_path / "r.csv", cwd=tmp_path, code=2).stderr
    )
    assert not (tmp_path / "r.csv").exists()


def test_a_regression_predicts_in_its_own_units(csv: Path, tmp_path: Path) -> None:
    run("fit", csv, "--target", "price", "--no-robustness", "--epochs", 60, "--out", "run", cwd=tmp_path)
    run("predict", "run", csv, "--out", "p.csv", cwd=tmp_path)
    frame = pd.read_csv(csv)
    residual = pd.read_csv(tmp_path / "p.csv").prediction - frame.price
    assert 1 - residual.var() / frame.price.var() > 0.8
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 < metrics["test"]["rmse"] < frame.price.std()


def test_images_from_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(15):
            Image.fromarray((level + rng.integers(-40, 40, (12, 12, 3))).astype(np.uint8)).save(
                tmp_path / "images" / name / f"{i}.png"
            )
    run("fit", "images", "--no-robustness", "--epochs", 8, "--out", "run", "--with", "dropout:p=0.1", cwd=tmp_path)
    run("predict", "run", "images", "--out", "p.csv", cwd=tmp_path)
    p = pd.read_csv(tmp_path / "p.csv")
    assert (p.prediction == p.row.str.split("/").str[0]).mean() > 0.9


def test_compare_on_paired_splits_with_references(csv: Path, tmp_path: Path) -> None:
    options = ["--with", "l2:strength=1e-3", "--with", "dropout:p=0.2", "--repeats", 2, "--epochs", 5, "--out", "out"]
    done = run("compare", csv, "--target", "target", *options, cwd=tmp_path)
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    arms = {arm["name"]: arm for arm in record["arms"]}
    expected = [
        "baseline",
        "l2",
        "dropout",
        "all of them",
        "logistic regression, L2",
        "logistic regression, L1",
        "histogram gradient boosting",
    ]
    assert list(arms) == expected
    assert all(len(arm["runs"]) == 2 and not any(run["error"] for run in arm["runs"]) for arm in arms.values())
    assert all(name in done.stdout for name in ("all of them", "histogram gradient", "2 splits"))
    lines = done.stdout.strip().splitlines()
    at = lines.index("next:")
    assert lines[at - 2 : at] == ["figure: out/compare.png", "page: out/report.html"]
    assert any(f"dashpot tune {csv} --target target" in line for line in lines[at + 1 :])
    assert (tmp_path / "out" / "compare.svg").exists()


def test_a_technique_that_is_off_contributes_exactly_nothing(csv: Path, tmp_path: Path) -> None:
    run(
        "compare",
        csv,
        "--target",
        "price",
        "--with",
        "l1:strength=0",
        "--repeats",
        1,
        "--epochs",
        3,
        "--out",
        "out",
        cwd=tmp_path,
    )
    arms = {arm["name"]: arm for arm in json.loads((tmp_path / "out" / "compare.json").read_text())["arms"]}
    assert arms["l1"]["runs"][0]["test"] == arms["baseline"]["runs"][0]["test"]
    assert {"ridge regression", "lasso"} <= set(arms)


def test_techniques(tmp_path: Path) -> None:
    listed = run("techniques", cwd=tmp_path).stdout
    assert all(name in listed for name in ("mixup", "early-stopping", "elastic-net"))
    card = run("techniques", "mixup", cwd=tmp_path).stdout
    for part in ("Zhang et al.", "When not to use it", "alpha = 0.2", "searched from 0.05 to 2", "off at 0"):
        assert part in card


def test_a_recipe_file_and_with_add_up(csv: Path, fitted: Path, tmp_path: Path) -> None:
    options = [
        "--recipe",
        fitted / "recipe.toml",
        "--with",
        "ema:decay=0.9",
        "--epochs",
        2,
        "--no-robustness",
        "--out",
        "run",
    ]
    run("fit", csv, "--target", "target", "--no-robustness", *options, cwd=tmp_path)
    assert [t.name for t in loads((tmp_path / "run" / "recipe.toml").read_text())] == ["mixup", "l1", "ema"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "absent.csv", "--target", "y"], "must exist"),
        (["fit", "{csv}", "--target", "targe"], "Did you mean 'target'"),
        (["fit", "--with", "l1:strength=-1"], "L1.strength must be a number >= 0"),
        (["fit", "--with", "dropout:p=1.5"], "Dropout.p must be a number in [0, 1], got 1.5"),
        (["fit", "--with", "l1:strength=True"], "got 'True'"),
        (["fit", "--with", "l1:strength=nan"], "got nan"),
        (["fit", "--with", "mixpu"], "Did you mean 'mixup'"),
        (["fit", "--with", "l1:streng=1"], "Did you mean 'strength'"),
        (["fit", "--recipe", "absent.toml"], "cannot be read"),
        (["fit", "--device", "warp"], "device must be"),
        (["fit", "--out", "{fitted}"], "new or empty folder"),
        (["fit", "--resume"], "--out must be"),
        (["fit", "--resume", "{fitted}"], "is the folder of a run. To go on with it: dashpot tune --resume"),
        (["compare", "{fitted}"], "or the same dashpot fit DATA ... --out {fitted} --resume."),
        (["fit", "--epochs", "0"], "--epochs"),
        (["fit", "{csv}", "--target", "target", "--task", "ranking"], "task must be"),
        (["fit", "--with", "sam", "--with", "sam", "--out", "refused"], "both want the second gradient"),
        (["predict", "absent", "{csv}", "--out", "p.csv"], "folder of a finished"),
        (["techniques", "mixpu"], "Did you mean 'mixup'"),
        (["compare", "--repeats", "0"], "--repeats"),
        (["fit", "--target", "y"], "target must be given together with data"),
    ],
)
@pytest.mark.filterwarnings("ignore:constant or empty in the training rows")  # of digits, where they are read first
def test_bad_input_is_one_message_and_code_2(
    arguments: list[str], message: str, csv: Path, fitted: Path, tmp_path: Path, command: Callable[..., str]
) -> None:
    said = command(*(a.format(csv=csv, fitted=fitted) for a in arguments), code=2)
    assert message.format(fitted=fitted) in " ".join(said.split())
    assert not list(tmp_path.glob("refused/*"))


def test_compare_refuses_images_that_are_too_small_at_once(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", X=np.random.default_rng(0).integers(0, 255, (30, 6, 6), dtype=np.uint8), y=np.arange(30) % 2
    )
    assert "at least 8 x 8" in run("compare", "a.npz", "--out", "out", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "out").exists()


def test_a_diverged_run_says_where_and_keeps_weights(tmp_path: Path) -> None:
    pd.DataFrame({"a": np.arange(60.0), "target": np.where(np.arange(60) < 30, 1e-3, 5e3) ** 2 * np.arange(60)}).to_csv(
        tmp_path / "a.csv", index=False
    )
    done = run(
        "fit",
        "a.csv",
        "--target",
        "target",
        "--with",
        "input-noise:std=1e30",
        "--epochs",
        5,
        "--out",
        "run",
        cwd=tmp_path,
        code=2,
    )
    assert "in epoch 1 at step 1" in done.stderr
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert all(
        torch.isfinite(t).all()
        for t in __import__("safetensors.torch").torch.load_file(tmp_path / "run" / "model.safetensors").values()
    )


def test_a_strangers_run_folder_runs_no_code(fitted: Path, csv: Path, tmp_path: Path) -> None:
    shutil.copytree(fitted, tmp_path / "run")
    setup = json.loads((tmp_path / "run" / "preprocessing.json").read_text())
    setup["network"]["net"] = "os.system"
    (tmp_path / "run" / "preprocessing.json").write_text(json.dumps(setup))
    assert "damaged" in run("predict", "run", csv, "--out", "p.csv", cwd=tmp_path, code=2).stderr
    (tmp_path / "run" / "model.safetensors").write_bytes(b"\x80\x04.")
    assert "damaged" in run("predict", "run", csv, "--out", "p.csv", cwd=tmp_path, code=2).stderr


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*DASHPOT, "fit", "--epochs", "100000", "--out", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "history.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in told
    assert "Traceback" not in told
