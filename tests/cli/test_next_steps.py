"""The commands that are named at the end of others: each is one that the command line takes, with those options."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

import dashpot
from dashpot.cli import compare, export, fit, inspect, next_steps, predict, report, robustness, shrink, techniques, tune
from dashpot.core.durations import seconds
from dashpot.report.compare.record import CompareRecord
from dashpot.report.page.blocks import Copy
from dashpot.report.page.onward import data_words
from dashpot.report.page.source import Source
from dashpot.report.page.tune import tune_page
from dashpot.report.tune.record import TuneRecord
from tests.report import records
from tests.report.tune_record import bare, candidate
from tests.report.typed import FITTED, walked

COMMANDS = (tune, fit, predict, compare, robustness, inspect, shrink, export, techniques, report)
RECIPE = dashpot.Mixup(0.3) | dashpot.L1(1e-4)
ODD = Path("my  data/a 'b'.csv")
READING = {"numeric": ["a", "b c"], "day_first": False, "separator": ";"}
READ = ["--numeric", "a", "--numeric", "b c", "--month-first", "--separator", ";"]


@pytest.fixture(scope="module")
def group() -> Any:
    app = typer.Typer()
    for module in COMMANDS:
        module.register(app)
    return typer.main.get_command(app)


def told(group: Any, said: str) -> list[str]:
    """The commands; each is parsed as a shell and the command line do."""
    lines = said.splitlines()
    assert lines[0] == "next:"
    assert len(lines) > 2
    for line in lines[1:]:
        program, name, *arguments = shlex.split(line)
        assert program == "dashpot"
        given = group.commands[name].make_context(name, arguments).params
        if given.get("budget") is not None:
            assert seconds(given["budget"], "--budget") > 0
    return [line.strip() for line in lines[1:]]


@pytest.mark.parametrize("recipe", [dashpot.Recipe(), RECIPE], ids=["plain", "recipe"])
@pytest.mark.parametrize("model", [None, "my net.py:make"])
@pytest.mark.parametrize(("data", "target"), [(None, None), (ODD, "price in $")])
def test_after_a_training(
    recipe: Any, model: Any, data: Any, target: Any, group: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made_from = next_steps.read_from(data, target, READING, task="regression")
    next_steps.after_fit(Path("runs/fit 1"), made_from, recipe, model)
    commands = told(group, capsys.readouterr().out)
    assert commands[0].startswith("dashpot predict 'runs/fit 1'")
    assert ("--model 'my net.py:make'" in commands[0]) == (model is not None)
    if data is not None:
        assert shlex.split(commands[0])[3] == str(ODD)
        asked = ["--target", "price in $", "--task", "regression", *READ]
        assert shlex.split(commands[2])[2 : 4 + len(asked) - 1] == [str(ODD), *asked]


@pytest.mark.parametrize("tokenizer", ["my_words:cut", "words", None, "tok.json"])
def test_a_tokenizer_of_ones_own_is_named_again_where_texts_are_read(
    tokenizer: str | None, tmp_path: Path, group: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made_from = next_steps.read_from(ODD, "y", {"tokenizer": tokenizer})
    next_steps.after_fit(tmp_path, made_from, RECIPE, None)
    trained = told(group, capsys.readouterr().out)
    state = {"data": str(ODD), "target": "y", "model": None, "reading": {"tokenizer": tokenizer}}
    (tmp_path / "tune.json").write_text(json.dumps(state))
    next_steps.after_tune(tmp_path, TuneRecord.from_dict(bare(candidate(0), candidate(1))))
    searched = told(group, capsys.readouterr().out)
    for predicted, inspected, _ in (trained, searched):
        assert ("--tokenizer my_words:cut" in predicted) == (tokenizer == "my_words:cut")
        assert "--tokenizer" not in inspected


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

    next_steps.after_shrink(Path("runs/shrink-1"), None)
    assert said()[1] == "dashpot export runs/shrink-1 --to model.onnx"
    next_steps.after_shrink(Path("runs/shrink-1"), None, str(ODD))
    assert shlex.split(said()[0])[3] == str(ODD)
    next_steps.after_export(Path("runs/fit-1"), "net.py:make")
    assert said()[1] == "dashpot shrink runs/fit-1 --model net.py:make"
    next_steps.after_report([Path("a"), Path("b")], "fit", FITTED)
    assert said()[1] == "dashpot inspect a --beside b"
    next_steps.after_report([Path("a")], "robustness", None)
    assert said()[1].startswith("dashpot fit ")
    next_steps.after_report([Path("a")], "shrink", None)
    assert said()[1] == "dashpot export a --to model.onnx"


def test_after_a_comparison_the_best_network_is_trained(group: Any, capsys: pytest.CaptureFixture[str]) -> None:
    data = next_steps.read_from(ODD, "y", {"kind": "text"})
    compared = CompareRecord.from_dict(
        records.record(
            records.arm("baseline", [0.8, 0.8]),
            records.arm("mixup", [0.7, 0.8]),
            records.arm("l1", [0.9, 0.8]),
            records.arm("lasso", [0.99, 0.99], kind="reference"),
            recipes={"baseline": "", "mixup": "mixup:alpha=0.3", "l1": "l1:strength=0.0001"},
            data=data,
        )
    )
    next_steps.after_record(compared, Path("runs/compare 1"))
    commands = told(group, capsys.readouterr().out)
    assert shlex.split(commands[0])[2:] == [
        *[str(ODD), "--target", "y", "--kind", "text"],
        *["--with", "l1:strength=0.0001"],
    ]
    assert commands[1] == "dashpot techniques l1"
    assert commands[3] == "dashpot report 'runs/compare 1'"


def test_a_comparison_that_the_baseline_wins_and_one_of_before(group: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arms = records.arm("baseline", [0.9]), records.arm("mixup", [0.7])
    won = records.record(*arms, recipes={"baseline": "", "mixup": "mixup"}, data={"source": None}, dataset="digits")
    next_steps.after_record(CompareRecord.from_dict(won), Path("run"))
    assert told(group, capsys.readouterr().out)[:2] == ["dashpot fit", "dashpot techniques mixup"]
    next_steps.after_record(CompareRecord.from_dict(records.record(*arms)), Path("run"))
    assert told(group, capsys.readouterr().out) == [
        "dashpot tune DATA --target COLUMN --budget 5m",
        "dashpot report run",
    ]


def test_after_a_path_its_choice_is_trained(group: Any, capsys: pytest.CaptureFixture[str]) -> None:
    strengths = replace(walked(), technique="elastic-net:strength=1,l1_ratio=0.25", network="linear")
    next_steps.after_record(strengths, Path("run"), data_words(next_steps.read_from(ODD, "y", {})))
    command = shlex.split(told(group, capsys.readouterr().out)[0])
    strength = f"{strengths.strengths[strengths.one_se]:.4g}"
    assert command[2:] == [
        *[str(ODD), "--target", "y", "--with"],
        *[f"elastic-net:strength={strength},l1_ratio=0.25", "--net", "depth=0"],
    ]
    dashpot.Recipe.coerce(command[6])
    next_steps.after_record(replace(strengths, technique="of-a-package-that-is-gone"), Path("run"))
    assert capsys.readouterr().out.splitlines() == ["next:", "  dashpot report run"]


@pytest.mark.parametrize("budget", [600.0, None])
def test_what_a_page_of_a_search_names_is_taken(group: Any, budget: float | None) -> None:
    page = tune_page(bare(candidate(0), candidate(1), budget_s=budget), Source("runs/a b", data="x.csv"))
    copies = [block for section in page.sections for block in section.blocks if isinstance(block, Copy)]
    texts = [text for copy in copies for _, text in copy.texts if text.startswith("dashpot ")]
    commands = told(group, "\n".join(["next:", *(f"  {text}" for text in texts)]))
    assert f"dashpot tune --resume 'runs/a b' {'--budget 1200s' if budget else '--trials 4'}" in commands
    assert len(commands) >= 5
