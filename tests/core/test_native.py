"""Where kernels are compiled and kept, and what is said if they cannot be."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import sys
import time
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

import dashpot
from dashpot.core import compiler, environment, native
from dashpot.core.running.view import is_compiled

COMPILER = next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
compiled = pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="no C++ compiler")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DASHPOT_NO_COMPILER", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(native, "_FAILED", {})
    monkeypatch.setattr(native, "_told", False)
    monkeypatch.setattr(compiler, "_HUNG", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "answer.cpp"
    path.write_text('extern "C" int answer() { return 42; }')
    return path


def script(path: Path, body: str) -> Path:
    """A program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def made(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("*.so"))


@compiled
def test_it_is_compiled_once_and_kept(source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert native.library(source).answer() == 42
        assert len(made(tmp_path)) == 1
    source.write_text('extern "C" int answer() { return 43; }')
    assert native.library(source).answer() == 43
    assert len(made(tmp_path)) == 2


@compiled
def test_a_library_of_another_compiler_is_not_taken(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = script(tmp_path / "mine", f'exec {COMPILER} "$@"')
    monkeypatch.setenv("CXX", str(mine))
    assert native.library(source) is not None
    script(mine, f'# of another version\nexec {COMPILER} "$@"')
    assert compiler._kept(f"answer-{compiler._key(source, [str(mine)])}") is None


@compiled
@pytest.mark.parametrize("left", [0, 5000], ids=["empty", "a part"])
def test_a_library_that_was_cut_short_is_made_again(source: Path, tmp_path: Path, left: int) -> None:
    words = compiler.command()
    kept = compiler._keep(compiler._compiled(source, words), f"answer-{compiler._key(source, words)}")
    assert kept is not None
    whole = kept.read_bytes()
    os.truncate(kept, left)  # to read what is missing of a loaded one would be a bus error
    assert native.library(source).answer() == 42
    assert [path.read_bytes() for path in made(tmp_path)] == [whole]


@compiled
def test_a_changed_library_is_made_again(source: Path, tmp_path: Path) -> None:
    assert native.library(source) is not None
    (kept,) = made(tmp_path)
    content = kept.read_bytes()
    kept.unlink()  # it is loaded: written in place it would change in memory, and the process end in a fault
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert compiler._kept(kept.stem.rpartition("-")[0]) is None
    assert not made(tmp_path)


@compiled
def test_two_at_once(source: Path, tmp_path: Path) -> None:
    words = compiler.command()

    def as_a_process(k: int) -> Path | None:
        return compiler._keep(compiler._compiled(source, words), "answer-key")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(as_a_process, range(4)))
    for path in set(found):
        assert path is not None
        assert ctypes.CDLL(str(path)).answer() == 42
    assert not list((tmp_path / "cache").rglob("*.tmp"))


@compiled
@pytest.mark.parametrize("asked", ["env {}", "'{}' -DONE", "{}", "  {}  "])
def test_a_compiler_may_have_arguments(source: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("CXX", asked.format(COMPILER))
    assert native.library(source).answer() == 42


@compiled
@pytest.mark.parametrize("arguments", ["", " -DANSWER=7 -DTEXT='a b'"])
def test_the_path_of_a_compiler_may_have_spaces(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    mine = script(tmp_path / "my tools" / "the g++", f'exec {COMPILER} "$@"')
    source.write_text('extern "C" int answer() {\n#ifdef ANSWER\nreturn ANSWER;\n#endif\nreturn 42; }')
    monkeypatch.setenv("CXX", f"{mine}{arguments}")
    assert native.library(source).answer() == (7 if arguments else 42)
    assert compiler.split(f'"{mine}" -O1') == [str(mine), "-O1"]
    assert compiler.split("no-such-program -O1") is None
    assert compiler.split("'half") is None


@compiled
@pytest.mark.parametrize("cache", ["not a folder", "full", "nothing may be run"])
def test_a_cache_that_cannot_be_used(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    loaded: list[str] = []
    load = ctypes.CDLL

    def refuses(path: str) -> ctypes.CDLL:
        loaded.append(path)
        if cache == "nothing may be run" and Path(path).is_relative_to(tmp_path):
            raise OSError("failed to map segment from shared object")
        return load(path)

    def full(path: Path, content: bytes) -> None:
        raise dashpot.StorageError("No space left on device")

    monkeypatch.setattr(ctypes, "CDLL", refuses)
    if cache == "not a folder":
        monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    if cache == "full":
        monkeypatch.setattr(compiler, "write_atomic", full)
    for _ in range(2):
        assert native.library(source).answer() == 42
        assert not Path(loaded[-1]).is_relative_to(tmp_path)
    # What was compiled once is not compiled again only because it may not be run where it is.
    assert len(made(tmp_path)) == (cache == "nothing may be run")


@compiled
def test_a_user_without_a_home(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert native.library(source).answer() == 42


def nowhere() -> Path:
    raise RuntimeError("Could not determine home directory.")


@compiled
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_may_only_be_read_is_used(source: Path, tmp_path: Path) -> None:
    words = compiler.command()  # not loaded: what is cut short in memory ends the process in a fault
    kept = compiler._keep(compiler._compiled(source, words), f"answer-{compiler._key(source, words)}")
    assert kept is not None
    kept.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        name = kept.stem.rpartition("-")[0]
        assert compiler._kept(name) == kept
        kept.chmod(stat.S_IRUSR | stat.S_IWUSR)
        os.truncate(kept, 0)
        assert native.library(source).answer() == 42
    finally:
        kept.parent.chmod(stat.S_IRWXU)


COST = r"(?s)kernels cannot be used.*steps with a penalty take 3 to 40 times as long"


@compiled
def test_a_failure_says_what_the_compiler_said(source: Path) -> None:
    source.write_text("this is not C++")
    with pytest.warns(native.SlowerWarning, match=COST):
        assert native.library(source) is None
    assert "error" in native.why_not(source)
    assert "CXX" in native.why_not(source)
    assert "\n" not in native.why_not(source)


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'cc1plus: fatal error: out of paper' >&2; exit 1", "out of paper"),
        ("exit 3", "it ended with 3 and said nothing"),
        ("exit 0", "it ended with 0 and said nothing"),
        ('for last; do :; done; echo garbage > "$last"', "cannot be loaded"),
        ("sleep 60 & sleep 60", "did not end within 0.2 seconds"),
    ],
    ids=["fails", "is silent", "writes nothing", "writes garbage", "hangs"],
)
def test_compilers_that_do_not_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    monkeypatch.setattr(compiler, "SECONDS", 0.2 if "sleep" in body else 60.0)
    monkeypatch.setenv("CXX", str(script(tmp_path / "bad g++", body)))
    begun = time.monotonic()
    with pytest.warns(native.SlowerWarning, match=COST) as caught:
        assert native.library(source) is None
    assert native.library(source) is None
    assert time.monotonic() - begun < 30  # what it has started is not waited for
    (line,) = [str(w.message) for w in caught]
    assert said in line
    assert "Set CXX to another compiler." in line
    assert "\n" not in line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library(source) is None  # said once


def test_no_compiler_at_all(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    model = nn.Linear(2, 1)
    session = dashpot.L1().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert "Install g++ or clang++." in session.plan()
    assert "there is no C++ compiler" in environment.machine()["kernels"]
    with pytest.warns(native.SlowerWarning, match=r"Install g\+\+ or clang\+\+"):
        assert native.prepare() == []
    assert native.library(source) is None
    assert native.why_not(source) == "There is no C++ compiler. Install g++ or clang++."
    monkeypatch.setattr(native, "_FAILED", {})
    monkeypatch.setenv("CXX", "/no such/g++")
    assert native.missing().endswith("Set CXX to a C++ compiler, or unset it.")
    monkeypatch.setenv("DASHPOT_NO_COMPILER", "1")
    assert native.why_not(source) == "DASHPOT_NO_COMPILER is set. Unset DASHPOT_NO_COMPILER."


@compiled
def test_where_there_is_a_compiler_nothing_is_said(source: Path) -> None:
    model = nn.Linear(2, 1)
    session = dashpot.L1().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert "kernels" not in session.plan()
    assert environment.machine()["kernels"] == "compiled"
    assert native.missing() == ""


def test_asking_for_a_compiled_model_while_another_thread_imports_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo.eval_frame", types.ModuleType("half of it"))
    assert not is_compiled(nn.Linear(1, 1))


KERNELS = sorted(Path(native.__file__).parents[1].rglob("*.cpp"))


@compiled
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.stem)
def test_every_kernel_compiles(kernel: Path) -> None:
    """Or the tests of a broken one would only be skipped."""
    assert native.library(kernel) is not None, native.why_not(kernel)
