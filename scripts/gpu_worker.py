"""Run the tests of ``tests/cuda`` that a list names, one by one, and tell of each as it begins and ends.

By pytest where it is, else by itself. ``gpu_check.py`` starts this, and goes on without it where it crashes or hangs.
After a failure that leaves the GPU unusable it ends, so that another process can do the rest.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "cuda"
OPTIONAL = {"optuna", "polars", "sklearn", "scipy", "safetensors", "typer", "pandas", "rich", "narwhals", "matplotlib"}
OPTIONAL |= {"triton", "tomli_w", "PIL", "threadpoolctl", "joblib"}
UNUSABLE = 77


class Teller:
    """Writes events, a line each."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  (as long as the process)
        self._began = time.perf_counter()

    def start(self, name: str) -> None:
        self._began = time.perf_counter()
        self._tell({"event": "start", "id": name})

    def end(self, name: str, outcome: str, message: str = "") -> None:
        seconds = round(time.perf_counter() - self._began, 3)
        self._tell({"event": "end", "id": name, "outcome": outcome, "seconds": seconds, "message": message[-4000:]})

    def _tell(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


def outcome_of(error: BaseException) -> str:
    """A test that needs a package that is not here has not failed."""
    absent = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in OPTIONAL
    return "left out" if absent else "failed"


def usable() -> bool:
    """Whether the GPU still answers: after an illegal access nothing does in this process."""
    try:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.ones(2, device="cuda").sum().item()
    except Exception:  # whatever it raises, the GPU is of no use
        return False
    return True


# --- by ourselves ---------------------------------------------------------------------------------------------------


def own_tests() -> tuple[dict[str, Callable[[], None]], dict[str, str]]:
    """The tests by name, and the modules that cannot be imported, with the reason."""
    found: dict[str, Callable[[], None]] = {}
    left_out: dict[str, str] = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        try:
            module = importlib.import_module(f"tests.cuda.{path.stem}")
        except Exception as error:  # a test file that cannot be loaded is told, and the others run
            left_out[f"tests/cuda/{path.name}"] = f"{type(error).__name__}: {error}"
            continue
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function) and function.__module__ == module.__name__:
                for text, values in cases_of(function):
                    found[f"tests/cuda/{path.name}::{name}{text}"] = call(function, values)
    return found, left_out


def cases_of(function: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    named = getattr(function, "cases", [])
    if not named:
        yield "", {}
        return
    for values in itertools.product(*(values for _, values in named)):
        arguments = dict(zip((name for name, _ in named), values, strict=True))
        yield f"[{'-'.join(map(str, values))}]", arguments


def call(function: Any, values: dict[str, Any]) -> Callable[[], None]:
    def run() -> None:
        if "tmp_path" not in inspect.signature(function).parameters:
            function(**values)
            return
        with tempfile.TemporaryDirectory() as folder:
            function(**values, tmp_path=Path(folder))

    return run


def run_own(wanted: list[str], teller: Teller) -> int:
    found, _ = own_tests()
    for name in wanted:
        teller.start(name)
        if name not in found:
            teller.end(name, "failed", "there is no such test")
            continue
        try:
            found[name]()
        except Exception as error:  # a test may raise anything
            teller.end(name, outcome_of(error), "".join(traceback.format_exception(error)))
            if not usable():
                return UNUSABLE
        else:
            teller.end(name, "passed")
    return 0


# --- by pytest ------------------------------------------------------------------------------------------------------


class Plugin:
    """Keeps the wanted tests in their order, and tells of them."""

    def __init__(self, wanted: list[str] | None, teller: Teller | None) -> None:
        self.wanted, self.teller = wanted, teller
        self.ids: list[str] = []
        self.left_out: dict[str, str] = {}
        self._bad: dict[str, tuple[str, str]] = {}
        self._broken = False

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.left_out[report.nodeid] = str(report.longrepr)[-1500:]

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        known = {item.nodeid: item for item in items}
        self.ids = list(known)
        if self.wanted is not None:
            items[:] = [known[name] for name in self.wanted if name in known]

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        if self.teller is not None:
            self.teller.start(nodeid)

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is not None:
            self._bad[item.nodeid] = outcome_of(call.excinfo.value), ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and report.nodeid in self._bad:
            self._bad[report.nodeid] = self._bad[report.nodeid][0], str(report.longrepr)

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        if self.teller is None:
            return
        outcome, message = self._bad.get(nodeid, ("passed", ""))
        self.teller.end(nodeid, outcome, message)
        if outcome == "failed" and not usable():
            import os

            os._exit(UNUSABLE)  # pytest would go on


def pytest_run(plugin: Plugin, *more: str) -> int:
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        # Our own settings: those of the project ask for plugins, and make every warning an error.
        settings = Path(folder) / "pytest.ini"
        settings.write_text("[pytest]\nmarkers =\n    cuda: runs on a GPU\n")
        options = ["-c", str(settings), "--rootdir", str(ROOT), "--import-mode=importlib", "-p", "no:cacheprovider"]
        options += ["-q", "--tb=short", "-m", "cuda", "--continue-on-collection-errors", *more, str(FOLDER)]
        return int(pytest.main(options, plugins=[plugin]))


def main() -> int:
    own = "--no-pytest" in sys.argv
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    if "--collect" in sys.argv:
        if own:
            found, left_out = own_tests()
            ids = list(found)
        else:
            plugin = Plugin(None, None)
            pytest_run(plugin, "--collect-only")
            ids, left_out = plugin.ids, plugin.left_out
        Path(words[0]).write_text(json.dumps({"ids": ids, "left_out": left_out}))
        return 0
    wanted, teller = json.loads(Path(words[0]).read_text()), Teller(words[1])
    if own:
        return run_own(wanted, teller)
    pytest_run(Plugin(wanted, teller))
    return 0


if __name__ == "__main__":
    sys.exit(main())
