"""``dashpot tune --resume``: of moved data, of strengths on schedules, and of what is not the same any more."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import dashpot
from dashpot.core.fields.codec import loads
from dashpot.search.run import Search
from tests.faults.tuning import small_table

Call = Callable[..., tuple[str, str]]
QUICK = ("--epochs", 6, "--cv", 2, "--workers", 1, "--no-explain", "--device", "cpu", "--net", "width=16")


class Killed(BaseException):
    """Stands in for SIGKILL: nothing handles it."""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """A command in this process: from arguments to what was printed and what was said."""
    from dashpot.cli import app

    def here(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["dashpot", *map(str, arguments)])
        fresh = typer.Typer(name="dashpot", add_completion=False, pretty_exceptions_enable=False)
        monkeypatch.setattr(app, "app", fresh)
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        with pytest.raises((SystemExit, Killed)) as stop:
            app.main()
        said = capsys.readouterr()
        assert getattr(stop.value, "code", code) in (code, None if code == 0 else code), said.err
        return said.out, said.err

    return here


def candidates(folder: Path) -> dict[str, Any]:
    """Points, states and scores, whatever their numbers: one that was taken over has another."""
    report = json.loads((folder / "report.json").read_text())
    return {json.dumps(c["params"], sort_keys=True): c for c in report["candidates"]}


def test_strengths_on_schedules_go_on_where_they_were(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_table(tmp_path / "table.csv")
    scheduled = ("--with", "dropout:p=0.1..0.5to0", "--with", "weight-decay:strength=0.1@from=50%")
    begin = ("tune", data, "--target", "target", *scheduled, "--trials", 3, *QUICK)
    call(*begin, "--out", "whole")

    say, seen = Search.training_budget, []

    def killed_later(self: Search, store: Any) -> Any:
        found = say(self, store)

        def kill(stage: str, trials: Any, epoch: int) -> None:
            seen.append(epoch)
            if epoch == 3:
                raise Killed

        self.say = kill
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Search, "training_budget", killed_later)
        call(*begin, "--out", "killed")
    assert seen[-1] == 3
    assert not (tmp_path / "killed" / "report.json").exists()
    call("tune", "--resume", "killed", "--workers", 1)
    whole, resumed = candidates(tmp_path / "whole"), candidates(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    for point, candidate in whole.items():
        assert resumed[point]["recipe"] == candidate["recipe"]
        assert resumed[point]["score"] == pytest.approx(candidate["score"], rel=1e-4)
    assert any("to0" in c["recipe"] for c in resumed.values())
    assert any("@from=50%" in c["recipe"] for c in resumed.values())

    # The schedules are in the recipe that is written, and a single network is trained by them.
    report = json.loads((tmp_path / "killed" / "report.json").read_text())
    chosen = next(c for c in report["candidates"] if c["number"] == report["chosen"])
    recipe = loads((tmp_path / "killed" / "recipe.toml").read_text())
    assert (str(recipe) if recipe else "no technique") == chosen["recipe"]
    both = dashpot.Dropout(p="0.3to0") | dashpot.WeightDecay(strength="0.1@from=50%")
    (tmp_path / "both.toml").write_text(dashpot.core.fields.codec.dumps(both))
    assert loads((tmp_path / "both.toml").read_text()) == both
    call("fit", data, "--target", "target", "--recipe", "both.toml", "--epochs", 2, "--out", "one")


def test_data_that_were_moved(call: Call, tmp_path: Path) -> None:
    data = small_table(tmp_path / "table.csv")
    call("tune", data, "--target", "target", "--with", "l1", "--trials", 2, *QUICK, "--out", "run")
    stored = json.loads((tmp_path / "run" / "tune.json").read_text())
    assert stored["measured"]["precision"]["chosen"] in ("float32", "bfloat16")
    data.rename(tmp_path / "renamed.csv")
    _, said = call("tune", "--resume", "run", "--trials", 3, code=2)
    assert "--data PATH" in said
    before = (tmp_path / "run" / "tune.json").read_bytes()
    _, said = call(
        *("tune", "--resume", "run", "--trials", 3, "--data", small_table(tmp_path / "other.csv", seed=3)), code=2
    )
    assert "--data must be the data with which the search in run began" in said
    assert (tmp_path / "run" / "tune.json").read_bytes() == before
    call("tune", "--resume", "run", "--trials", 3, "--workers", 1, "--data", "renamed.csv")
    assert len(candidates(tmp_path / "run")) == 3
    assert json.loads((tmp_path / "run" / "tune.json").read_text())["data"] == str(tmp_path / "renamed.csv")
    call("tune", "--resume", "run", "--trials", 4, "--workers", 1)  # and it is found there from now on
    _, said = call("tune", "renamed.csv", "--target", "target", "--data", "renamed.csv", code=2)
    assert "--data must be given with --resume" in said


def test_what_must_agree_is_compared_before_anything_is_written(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_table(tmp_path / "table.csv")
    call("tune", data, "--target", "target", "--with", "l1", "--trials", 2, *QUICK, "--out", "run")
    before = (tmp_path / "run" / "tune.json").read_bytes()
    for name, module in (
        ("version", "dashpot.search.run.versions"),
        ("network", "dashpot.search.run.layers"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, lambda *args: {"dashpot": "9"} if not args else "another one")
            _, said = call("tune", "--resume", "run", "--trials", 3, "--workers", 1, code=2)
        assert f"of the same {name}" in said
        assert (tmp_path / "run" / "tune.json").read_bytes() == before
