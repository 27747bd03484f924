"""The commands that are named at the end of others: each is one that the command line takes, with those options."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import dashpot
from dashpot.cli import compare, export, fit, inspect, next_steps, predict, robustness, shrink, techniques, tune
from dashpot.report.tune.record import TuneRecord
from tests.report.tune_record import bare, candidate

COMMANDS = (tune, fit, predict, compare, robustness, inspect, shrink, export, techniques)
RECIPE = dashpot.Mixup(0.3) | dashpot.L1(1e-4)
ODD = Path("my data/a 'b'.csv")


@pytest.fixture(scope="module")
def group() -> Any:
    app = typer.Typer()
    for module in COMMANDS:
        module.register(app)
    return typer.main.get_command(app)


def told(group: Any, said: str) -> list[str]:
    """The three commands; each is parsed as a shell and the command line do."""
    lines = said.splitlines()
    assert lines[0] == "next:"
    assert len(lines) == 4
    for line in lines[1:]:
        program, name, *arguments = shlex.split(line)
        assert program == "dashpot"
        group.commands[name].make_context(name, arguments)
    return [line.strip() for line in lines[1:]]


@pytest.mark.parametrize("recipe", [dashpot.Recipe(), RECIPE], ids=["plain", "recipe"])
@pytest.mark.parametrize("model", [None, "my net.py:make"])
@pytest.mark.parametrize(("data", "target"), [(None, None), (ODD, "price in $")])
def test_after_a_training(
    recipe: Any, model: Any, data: Any, target: Any, group: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    next_steps.after_fit(Path("runs/fit 1"), data, target, recipe, model)
    commands = told(group, capsys.readouterr().out)
    assert commands[0].startswith("dashpot predict 'runs/fit 1'")
    assert ("--model 'my net.py:make'" in commands[0]) == (model is not None)
    if data is not None:
        assert shlex.split(commands[0])[3] == str(ODD)


@pytest.mark.parametrize("budget", [None, 60.0])
def test_after_a_search_it_goes_on_with_more(
    budget: float | None, tmp_path: Path, group: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tune.json").write_text(json.dumps({"data": str(ODD), "target": "y", "model": None}))
    record = TuneRecord.from_dict(bare(candidate(0), candidate(1), budget_s=budget))
    next_steps.after_tune(tmp_path, record)
    commands = told(group, capsys.readouterr().out)
    assert shlex.split(commands[0])[3] == str(ODD)
    assert commands[2].endswith("--budget 120s" if budget else "--trials 4")


def test_after_the_others(group: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> list[str]:
        return told(group, capsys.readouterr().out)

    next_steps.after_compare(ODD, "y", RECIPE)
    assert shlex.split(said()[0])[-1] == "mixup:alpha=0.3 | l1:strength=0.0001"
    next_steps.after_compare(None, None, RECIPE)
    assert said()[1] == "dashpot techniques mixup"
    next_steps.after_shrink(Path("runs/shrink-1"), None)
    assert said()[1] == "dashpot export runs/shrink-1 --to model.onnx"
    next_steps.after_export(Path("runs/fit-1"), "net.py:make")
    assert said()[1] == "dashpot shrink runs/fit-1 --model net.py:make"
    next_steps.after_report([Path("a"), Path("b")], "fit")
    assert said()[1] == "dashpot inspect a --beside b"
    next_steps.after_report([Path("a")], "compare")
    assert said()[1].startswith("dashpot fit ")
    next_steps.after_report([Path("a")], "shrink")
    assert said()[1] == "dashpot export a --to model.onnx"
