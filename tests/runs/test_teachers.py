"""Distillation from the folder of a run: the same as from its network, and refused where inputs or targets differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

import dashpot
from dashpot.cli import fit, predict
from dashpot.core.fields.codec import dumps, loads
from dashpot.core.recipe import Recipe
from dashpot.data import Prepared, Problem, load_problem
from dashpot.runs.saved import save_model, save_setup
from dashpot.runs.teachers import demand_same_inputs
from dashpot.training.builtin import network_for

APP = typer.Typer()
for command in (fit, predict):  # of one command Typer asks no name
    command.register(APP)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    import polars

    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3)) * [1, 5, 9] + 2
    names = np.array(["no", "yes"])[(x[:, 0] > 2).astype(int)]
    frame = polars.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": names})
    frame.write_csv(tmp_path / "table.csv")
    return tmp_path / "table.csv"


def saved(table: Path, folder: Path, seed: int = 0) -> tuple[Problem, Prepared, nn.Module]:
    """A run as ``fit`` leaves it, with random weights."""
    problem = load_problem(table, "y")
    prepared = problem.prepare(problem.split(seed).train)
    torch.manual_seed(1)
    network = network_for(problem, prepared).eval()
    folder.mkdir()
    save_setup(folder, network, prepared, Recipe())
    save_model(folder, network)
    return problem, prepared, network


def loss(teacher: Any, prepared: Prepared, problem: Problem) -> float:
    torch.manual_seed(2)
    model = network_for(problem, prepared)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = dashpot.outputs.Distillation(teacher, weight=0.8).attach(model, optimizer, targets="classes", classes=2)
    with session:
        x, _ = session.batch(prepared.x[:20], prepared.y[:20])
        return float(session.loss(nn.CrossEntropyLoss(), model(x)).detach())


def test_as_by_its_network(table: Path, tmp_path: Path) -> None:
    problem, prepared, network = saved(table, tmp_path / "run")
    expected = loss(network, prepared, problem)
    for given in (tmp_path / "run", str(tmp_path / "run")):
        assert loss(given, prepared, problem) == pytest.approx(expected, rel=1e-6)
    recipe = Recipe.coerce(f"distillation:teacher={tmp_path / 'run'},weight=0.8")
    assert loads(dumps(recipe)) == recipe
    demand_same_inputs(recipe, prepared.preprocessing, problem.classes)
    # A recipe may be read where its teacher is not.
    assert str(next(iter(Recipe.coerce("distillation:teacher=gone/run"))).teacher) == "gone/run"


def test_refused(table: Path, tmp_path: Path) -> None:
    problem, prepared, _ = saved(table, tmp_path / "run")
    recipe = Recipe.coerce(f"distillation:teacher={tmp_path / 'run'}")
    with pytest.raises(dashpot.ConflictError, match=r"run knows the classes no, yes, and the target here has values"):
        demand_same_inputs(recipe, prepared.preprocessing, ())
    other = problem.prepare(problem.split(1).train)
    with pytest.raises(dashpot.ConflictError, match=r"run was trained on the same kind of data, prepared otherwise"):
        demand_same_inputs(recipe, other.preprocessing, problem.classes)
    wide = Problem("wide", np.zeros((9, 1, 4, 4), np.uint8), np.arange(9) % 2)
    with pytest.raises(dashpot.ConflictError, match=r"takes table inputs of shape \[3\], and these are image"):
        demand_same_inputs(recipe, wide.prepare(np.arange(9)).preprocessing, ("0", "1"))
    model = nn.Linear(4, 2)
    technique = dashpot.outputs.Distillation(tmp_path / "run")
    session = technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), targets="classes", classes=2)
    x, _ = session.batch(torch.zeros(5, 4), torch.zeros(5, dtype=torch.long))
    with pytest.raises(dashpot.UsageError, match=r"run takes inputs \[batch, 3\], and the batch is \[5, 4\]"):
        session.loss(nn.CrossEntropyLoss(), model(x))
    session.close()
    model = nn.Linear(3, 5)
    with pytest.raises(dashpot.ConflictError, match="has 2 outputs, and the network 5"):
        technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(dashpot.ConflictError, match=r"teacher gone/run is no run that can be loaded: .*does not exist"):
        dashpot.outputs.Distillation("gone/run").attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for wrong in ("", "nowhere", 3):
        with pytest.raises(dashpot.ConfigError, match="the folder of a run"):
            dashpot.outputs.Distillation(wrong)


def test_by_the_command_line(table: Path, tmp_path: Path) -> None:
    saved(table, tmp_path / "run")
    arguments = ["fit", str(table), "--target", "y", "--epochs", "1", "--no-robustness"]
    arguments += ["--with", f"distillation:teacher={tmp_path / 'run'}"]
    done = CliRunner().invoke(APP, [*arguments, "--out", str(tmp_path / "student")])
    assert done.exit_code == 0, f"{done.output}{done.exception}"
    assert "imitates a trained network" in done.output
    assert not (tmp_path / "student" / "robustness.png").exists()
    done = CliRunner().invoke(APP, [*arguments, "--seed", "1", "--out", str(tmp_path / "other")])
    assert isinstance(done.exception, dashpot.ConflictError)
    assert not (tmp_path / "other").exists()


def test_by_an_estimator(table: Path, tmp_path: Path) -> None:
    saved(table, tmp_path / "run")
    model = dashpot.DashpotClassifier(f"distillation:teacher={tmp_path / 'run'}", epochs=1)
    with pytest.raises(dashpot.ConflictError, match="prepared otherwise"):
        model.fit(np.random.default_rng(0).normal(size=(30, 3)), np.array(["no", "yes"])[np.arange(30) % 2])
