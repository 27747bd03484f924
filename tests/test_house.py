"""Rules of the library itself: rooms, public surface, docs, examples."""

from __future__ import annotations

import ast
import doctest
import html
import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dashpot
from dashpot.core.fields.codec import registry

SOURCE = Path(dashpot.__file__).parent
# A room may import those on its left side and itself; `None` stands for the package's own __init__.
ROOMS = [
    ["core"],
    ["imaging", "texts", "shrinking"],
    ["evaluation"],
    ["techniques"],
    ["optim", "tracking"],
    ["training", "data", "nets", "testing", "report"],
    ["runs"],
    ["population"],
    ["comparison", "sparsity"],
    ["search"],
    ["estimators", "integrations"],
    ["cli"],
]
# Modules that show the rooms' contents by family; nothing imports them.
NAMESPACES = [
    "augment",
    "augment.text",
    "averaging",
    "dropout",
    "fine_tuning",
    "gradient",
    "labels",
    "noise",
    "normalization",
    "outputs",
    "penalties",
    "schedules",
    "sharpness",
    "stopping",
]
FLOOR = {room: i for i, floor in enumerate(ROOMS) for room in floor}
# The seam between core and techniques: the registry must find every technique, and does so on call, not at import.
ALLOWED = {("core.registry", "techniques")}


def imports() -> list[tuple[str, str]]:
    found = []
    for path in SOURCE.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            if isinstance(node, ast.ImportFrom) and node.module == "dashpot":
                names = [
                    f"dashpot.{alias.name}"
                    for alias in node.names
                    if (SOURCE / alias.name).is_dir() or (SOURCE / f"{alias.name}.py").exists()
                ]
            found += [(module, name.removeprefix("dashpot.")) for name in names if name.startswith("dashpot.")]
    return found


def spaces() -> list[ModuleType]:
    return [importlib.import_module(f"dashpot.{name}") for name in NAMESPACES]


def test_no_room_imports_upwards() -> None:
    wrong = [
        (module, imported)
        for module, imported in imports()
        if module not in ("__init__", "__main__", *NAMESPACES)
        and FLOOR[imported.split(".")[0]] > FLOOR[module.split(".")[0]]
        and (module, imported.split(".")[0]) not in ALLOWED
    ]
    assert not wrong


def test_rooms_of_one_floor_do_not_import_each_other_in_circles() -> None:
    edges = {
        (m.split(".")[0], i.split(".")[0])
        for m, i in imports()
        if m.split(".")[0] != i.split(".")[0] and m not in NAMESPACES
    }
    assert not {
        (a, b)
        for a, b in edges
        if (b, a) in edges and (f"{a}.registry", b) not in ALLOWED and (f"{b}.registry", a) not in ALLOWED
    }


def circles() -> list[set[str]]:
    """Groups of files of which each reaches each by imports, type-checking and function-level ones included."""
    files = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py"
    }
    edges: dict[str, set[str]] = {name: set() for name in files}
    for path in SOURCE.rglob("*.py"):
        if path.name == "__init__.py":
            continue
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            edges[module] |= {n.removeprefix("dashpot.") for n in names} & files - {module}
    reached: dict[str, set[str]] = {}
    for name in files:
        seen, left = set[str](), [name]
        while left:
            new = edges[left.pop()] - seen
            seen |= new
            left += new
        reached[name] = seen
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in files}
    return [set(group) for group in groups if group]


def test_files_do_not_import_each_other_in_circles() -> None:
    assert not circles()


def test_the_picture_of_the_rooms_is_of_today() -> None:
    script = runpy.run_path(str(SOURCE.parents[1] / "scripts" / "draw-rooms"))
    picture = (SOURCE.parents[1] / "docs" / "images" / "rooms.svg").read_text(encoding="utf-8")
    described = script["described"](script["imports"]())
    assert html.escape(described, quote=False) in picture, "run scripts/draw-rooms"


def test_every_technique_stands_in_the_namespace_of_its_family() -> None:
    shown = {value for space in spaces() for value in vars(space).values() if isinstance(value, type)}
    missing = {c.__name__ for c in registry().values() if c.__module__.startswith("dashpot.techniques.")} - {
        c.__name__ for c in shown
    }
    assert not missing


def test_the_public_surface_is_whole_and_documented() -> None:
    assert list(dashpot.__all__) == sorted(set(dashpot.__all__), key=dashpot.__all__.index)
    for name in dashpot.__all__:
        assert (getattr(dashpot, name).__doc__ or "").strip(), name
    assert set(dashpot.__all__) <= set(dir(dashpot))
    for space in spaces():
        assert all((getattr(space, name).__doc__ or "").strip() for name in space.__all__)
    shown = {name for space in spaces() for name in space.__all__}
    assert all(cls.__name__ in shown for cls in registry().values() if cls.__module__.startswith("dashpot."))


@pytest.mark.parametrize(
    "cls", [c for c in registry().values() if c.__module__.startswith("dashpot.")], ids=lambda c: c.kind()
)
def test_every_technique_has_a_whole_card(cls: type[dashpot.Technique]) -> None:
    doc = cls.__doc__ or ""
    for part in (
        "Args:",
        "Raises:",
        "Example:",
        "Paper",
        "When not to use it",
        ":math:" if cls.kind() == "early-stopping" else ".. math::",
    ):
        assert part in doc, part
    for name in cls.fields():
        assert f"{name}:" in doc or f"{name}, " in doc or f", {name}:" in doc, name


MODULES = sorted(m.name for m in pkgutil.walk_packages(dashpot.__path__, "dashpot.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_in_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = Path(__file__).parents[1] / "README.md"
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(readme), module_relative=False)
    assert result.failed == 0
    assert result.attempted >= 15


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, dashpot; print([m for m in ('sklearn', 'polars', 'pandas', 'matplotlib', 'rich', 'typer', 'PIL')"
        " if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_shapes_are_checked() -> None:
    """The reference tests once more, with every jaxtyping shape of the pure functions checked as they run."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--shapes",
        "-q",
        "-p",
        "no:xdist",
        "tests/test_laws.py",
        "tests/reference/test_torch_parity.py",
    ]
    chosen = ["-k", "not compiles and (reference or dtype or resume or parity)"]
    done = subprocess.run(
        [*command, *chosen], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def test_no_test_imports_another() -> None:
    """What two tests share stands in a module of helpers: a test that is moved or renamed then takes nobody with it."""
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(part.startswith("test_") for name in names for part in name.split(".")), (path.name, names)


def code_files() -> list[Path]:
    """The Python of the library, its tests, benchmarks and scripts."""
    root = SOURCE.parents[1]
    return [path for folder in ("src", "tests", "benchmarks", "scripts") for path in (root / folder).rglob("*.py")]


IGNORED = re.compile(r"# type: ignore(\[[\w, -]+\])?(  # \w+)?")
BROAD = re.compile(r"^\s*(except( \(?(Base)?Exception\b.*)?:|with .*suppress\((Base)?Exception\))")


def test_what_is_ignored_or_caught_whole_says_why() -> None:
    """A ``type: ignore`` names its code; a reason stands beside it or in the line above. So it does beside a broad
    ``except``, or in the line below or above.
    """
    wrong = []
    for path in code_files():
        lines = ["", *path.read_text(encoding="utf-8").split("\n"), ""]
        for number, line in enumerate(lines[1:-1], 1):
            above, below = (lines[number + d].strip().startswith("# ") for d in (-1, 1))
            ignored = IGNORED.search(line)
            silent = ignored and 'r"' not in line and not (ignored[1] and (ignored[2] or above))
            broad = BROAD.match(line) and not ("  # " in line or above or below)
            if silent or broad:
                wrong.append(f"{path}:{number}")
    assert not wrong


def test_files_are_short() -> None:
    """At most 300 lines, so that each has one purpose."""
    long = {str(path): count for path in SOURCE.rglob("*.py") if (count := path.read_text().count("\n")) > 300}
    assert not long
