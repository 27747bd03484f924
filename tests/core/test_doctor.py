"""What ``dashpot doctor`` finds: on this machine, without a compiler, with a broken one, and whose name it says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from dashpot.cli import app as commands
from dashpot.cli import doctor as command
from dashpot.core import doctor, native

COMPILER = next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DASHPOT_NO_COMPILER", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(native, "_FAILED", {})
    monkeypatch.setattr(native, "_told", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel that is compiled at once."""
    probe = tmp_path / "answer.cpp"
    probe.write_text('extern "C" int answer() { return 42; }')
    monkeypatch.setattr(doctor, "PROBE", probe)


def run(*arguments: str) -> Any:
    import typer

    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="no C++ compiler")
@pytest.mark.usefixtures("clean", "small")
def test_on_a_machine_with_all_it_says_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = doctor.examine()
    assert found["broken"] == []
    assert torch.__version__.startswith(found["versions"]["torch"])  # an index may leave out +cu130
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert found["compiler"]["command"] == COMPILER
    sources = {path.name for path in Path(native.__file__).parents[1].rglob("*.cpp")}
    assert {Path(name).name for name in found["kernels"]} == sources
    assert set(found["kernels"].values()) == {"is compiled at its first use"}  # the cache was empty
    text = doctor.in_words(found)
    assert f"0 of {len(sources)} compiled" in text
    assert json.loads(json.dumps(found)) == found


@pytest.mark.usefixtures("clean")
def test_without_a_compiler_it_says_what_that_costs_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHPOT_NO_COMPILER", "1")
    shown = run("--json")
    found = json.loads(shown.output)
    assert shown.exit_code == 0
    assert any("3 to 40 times" in one["what"] and "DASHPOT_NO_COMPILER" in one["way_out"] for one in found["slow"])
    assert set(found["kernels"].values()) == {"cannot be used: plain PyTorch in its place"}
    assert "slow: " in run().output


@pytest.mark.skipif(sys.platform == "win32", reason="no kernels there")
@pytest.mark.usefixtures("clean", "small")
def test_a_compiler_that_fails_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = tmp_path / "home" / "bad compiler"
    bad.parent.mkdir()
    bad.write_text("#!/bin/sh\necho 'error: no such thing' >&2\nexit 1\n")
    bad.chmod(0o755)
    monkeypatch.setenv("CXX", str(bad))
    monkeypatch.setenv("HOME", str(bad.parent))
    shown = run("--json")
    assert shown.exit_code == 1
    found = json.loads(shown.output)
    assert "no such thing" in found["broken"][0]["what"]
    assert str(bad.parent) not in shown.output
    assert found["compiler"]["command"] == "~/bad compiler"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run().exit_code == 1


@pytest.mark.usefixtures("clean", "small")
def test_threads_that_are_held_back_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert any("1 of 8 cores" in one["what"] for one in doctor.examine()["slow"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert any("OMP_NUM_THREADS=8" in one["way_out"] for one in doctor.examine()["slow"])


@pytest.mark.usefixtures("clean", "small")
def test_a_gpu_that_is_not_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert any("built for CPUs" in one["what"] for one in doctor.examine()["slow"])


@pytest.mark.usefixtures("clean", "small")
def test_a_package_that_cannot_be_imported_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert any(one["what"].startswith("optuna cannot be imported") for one in doctor.examine()["broken"])


def test_the_home_folder_is_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    given = {"a": ["/home/ada/.cache", "/home/adam/x", 3], "b": "failed: /home/ada"}
    assert doctor._without_home(given) == {"a": ["~/.cache", "/home/adam/x", 3], "b": "failed: ~"}


def test_an_extra_names_its_packages() -> None:
    found = doctor.extras()
    assert set(found["scale"]) == {"psycopg", "grpcio", "protobuf"}
    assert "test" not in found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_each_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    if not commands.app.registered_commands:
        command.register(commands.app)
    shown = CliRunner().invoke(commands.app, ["--show-completion", shell], prog_name="dashpot")
    assert shown.exit_code == 0
    assert "_DASHPOT_COMPLETE" in shown.output


def test_names_of_techniques_are_completed() -> None:
    import typer

    from dashpot.cli import techniques

    app = typer.Typer()
    techniques.register(app)

    @app.command()
    def other() -> None:
        """So that the first has a name."""

    words = {"_DASHPOT_COMPLETE": "complete_bash", "COMP_WORDS": "dashpot techniques label-s", "COMP_CWORD": "2"}
    shown = CliRunner().invoke(app, [], prog_name="dashpot", env=words)
    assert shown.output.split() == ["label-smoothing"]
