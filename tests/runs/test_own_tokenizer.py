"""Runs with a tokenizer of the user's own, which no folder brings: only what reads texts asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import dashpot
from dashpot.cli import fit, inspect, predict, robustness, shrink
from dashpot.core.errors import ConfigError

APP = typer.Typer()
for module in (fit, inspect, predict, robustness, shrink):
    module.register(APP)
CUT = ("--tokenizer", "builtins:str.split")


def done(*words: Any) -> str:
    found = CliRunner().invoke(APP, list(map(str, words)), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    rows = "".join(f"a {word} film number {i},{word}\n" for i in range(30) for word in ("good", "dull"))
    (folder / "films.csv").write_text("text,kind\n" + rows)
    done("fit", folder / "films.csv", "--target", "kind", "--epochs", 2, *CUT, "--out", folder / "run")
    return folder


def test_its_weights_are_shown_without_it(place: Path) -> None:
    assert "saved in" in done("inspect", place / "run", "--out", place / "look")
    assert (place / "look" / "inspect.json").exists()


def test_robustness_takes_it(place: Path) -> None:
    done("robustness", place / "run", place / "films.csv", *CUT, "--draws", 1, "--out", place / "worse")
    record = json.loads((place / "worse" / "robustness.json").read_text())
    assert set(record["units"]) == {"typing errors", "neighbouring keys", "deleted words"}
    with pytest.raises(ConfigError, match=r"tokenizer must be named again .*\(--tokenizer\)"):
        dashpot.robustness(place / "run", place / "films.csv")
    with pytest.raises(ConfigError, match="tokenizer must be given for the folder of a run, got 'words'"):
        dashpot.robustness(dashpot.DashpotClassifier(), ([], []), tokenizer="words")


@pytest.mark.parametrize(("words", "message"), [((), "named again"), (("--tokenizer", "builtins:str.upper"), "upper")])
def test_shrink_asks_for_it(words: Any, message: str, place: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(APP, ["shrink", str(place / "run"), *words], catch_exceptions=False)
