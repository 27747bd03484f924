"""Where kernels are compiled and kept, and what is said if they cannot be."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import types
from pathlib import Path

import pytest
from torch import nn

from dashpot.core import native
from dashpot.core.running.view import is_compiled

COMPILER = next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
compiled = pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="no C++ compiler")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DASHPOT_NO_COMPILER", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "answer.cpp"
    path.write_text('extern "C" int answer() { return 42; }')
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
def test_a_compiler_may_have_arguments(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"env {COMPILER}")
    assert native.library(source).answer() == 42


@compiled
def test_a_cache_that_cannot_be_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert native.library(source).answer() == 42


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
    assert native.library(source) is not None
    folder = made(tmp_path)[0].parent
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert native._folder(made(tmp_path)[0].name).parent == folder
        assert native._folder("another.so").parent != folder
    finally:
        folder.chmod(stat.S_IRWXU)


@compiled
def test_a_failure_says_what_the_compiler_said(source: Path) -> None:
    source.write_text("this is not C++")
    assert native.library(source) is None
    assert "error" in native.why_not(source)
    assert "CXX" in native.why_not(source)


def test_no_compiler_at_all(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert native.library(source) is None
    assert native.why_not(source) == "Install g++ or clang++."
    monkeypatch.setenv("DASHPOT_NO_COMPILER", "1")
    assert native.why_not(source) == "Unset DASHPOT_NO_COMPILER."


def test_asking_for_a_compiled_model_while_another_thread_imports_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo.eval_frame", types.ModuleType("half of it"))
    assert not is_compiled(nn.Linear(1, 1))


KERNELS = sorted(Path(native.__file__).parents[1].rglob("*.cpp"))


@compiled
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.stem)
def test_every_kernel_compiles(kernel: Path) -> None:
    """Or the tests of a broken one would only be skipped."""
    assert native.library(kernel) is not None, native.why_not(kernel)
