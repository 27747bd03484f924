"""What a wheel and an sdist are made of, and what stands beside the code."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import dashpot

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dashpot"
NOT_SHIPPED = {".venv", ".ci", ".github", ".gitignore", ".pre-commit-config.yaml", "pyproject.toml"}
"""Of a clone only, where .venv may be a link; the build adds pyproject.toml by itself."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[str]:
    """The files of the repository, or of an unpacked sdist."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    here = [path.relative_to(ROOT).as_posix() for path in SOURCE.rglob("*") if path.is_file()]
    return done.stdout.splitlines() or [name for name in here if "__pycache__" not in name]


def test_everything_in_the_repository_is_in_the_sdist() -> None:
    sdist = project()["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    tops = {pattern.partition("/")[0] for pattern in sdist}
    assert {name.partition("/")[0] for name in tracked()} - NOT_SHIPPED <= tops
    assert all((ROOT / pattern).exists() or list(ROOT.glob(pattern)) for pattern in sdist)


def test_the_wheel_has_what_the_code_reads_and_compiles() -> None:
    """The build leaves out what git ignores: of the package that must be nothing but caches."""
    names = {name for name in tracked() if name.startswith("src/dashpot/")}
    here = {path.relative_to(ROOT).as_posix() for path in SOURCE.rglob("*") if path.is_file()}
    assert {name for name in here - names if "__pycache__" not in name} == set()
    kinds = {Path(name).suffix for name in names}
    assert {".py", ".cpp", ".h", ".css", ".js", ".html", ".mo"} <= kinds
    assert "src/dashpot/py.typed" in names


def test_versions_and_requirements_are_said_once() -> None:
    own = project()["project"]
    assert own["version"] == dashpot.__version__
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(dashpot.__version__)}$", cited, re.MULTILINE)
    recipe = (ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    run = re.search(r"  run:\n((?:    - .*\n)+)", recipe)
    assert run is not None
    conda = {line.strip()[2:].replace(" ", "") for line in run[1].splitlines()}
    renamed = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    wanted = {
        renamed.get(name, name) + rest
        for name, rest in (re.findall(r"^([\w-]+)(.*)$", text)[0] for text in own["dependencies"])
    }
    assert conda - {f"python{own['requires-python']}"} == wanted


@pytest.mark.parametrize("name", ["bug", "feature", "technique"])
def test_issue_forms_are_whole(name: str) -> None:
    form = ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml"
    if not form.exists():  # of an sdist
        return
    text = form.read_text(encoding="utf-8")
    assert all(re.search(rf"^{key}: ", text, re.MULTILINE) for key in ("name", "description"))
    ids = re.findall(r"^    id: (\w+)$", text, re.MULTILINE)
    assert len(ids) == len(set(ids)) == text.count("  - type: ")
