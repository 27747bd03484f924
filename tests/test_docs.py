"""The pages of docs/: every example runs, and what a shell is told to do works word for word."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
MADE = ("_build", "api", "examples", "techniques")
FRAMEWORKS = ("loops.md", "fine-tuning.md")
"""Run by tests/integrations, where the frameworks' warnings about themselves are no errors."""
PAGES = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if path.relative_to(DOCS).parts[0] not in (*MADE, *FRAMEWORKS) and ">>> " in path.read_text(encoding="utf-8")
]
PAGES.append(DOCS.parent / "README.zh-CN.md")
SHELL = [path for path in sorted(DOCS.rglob("*.md")) if "```bash" in path.read_text(encoding="utf-8")]


def name(path: Path) -> str:
    return path.relative_to(DOCS.parent).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_examples_on_pages_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(path), module_relative=False)
    assert result.failed == 0
    assert result.attempted


@pytest.mark.slow
@pytest.mark.parametrize("path", SHELL, ids=name)
def test_commands_on_pages_work_word_for_word(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = path.read_text(encoding="utf-8")
    doctest.testfile(str(path), module_relative=False)  # it makes the files that commands are given
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("path", sorted((DOCS / "gallery").glob("*.py")), ids=name)
def test_gallery_examples_say_what_they_show(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.name.startswith("plot_"), "the gallery runs files of that name only"
    assert re.match(r'"""\n.+\n=+\n\n\S', text)
    assert "plt.show()" in text
