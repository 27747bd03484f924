"""Two thousand hostile tables, through fit, predict and tune: each ends with a result or with one message of ours."""

from __future__ import annotations

import csv
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import dashpot
from dashpot.cli import fit, predict, robust, tune
from tests.faults.hostile import HostileTable, hostile_table
from tests.faults.hostile_frames import hostile_frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FILES, FRAMES, CHUNK = 1400, 600, 100
TUNED, RARELY = 3, 8
"""Of the tables that `fit` takes, and of those that it refuses, one in so many is given to `tune` as well: it reads by
the same code, and takes longer than all else here.
"""
MEASURED = 4
"""Of all tables, one in so many is also measured as its values get worse."""


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time, and depend on numbers that are compared elsewhere."""
    monkeypatch.setattr("dashpot.report.fit.curves.curves_figure", lambda *_, **__: None)
    monkeypatch.setattr("dashpot.report.tune.figures.tune_figures", lambda *_, **__: {})
    monkeypatch.setattr("dashpot.report.robustness.figure.robustness_figure", lambda found, stem: (stem, stem))


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command only tells of a failure in what it reports beside the training; here it is one."""
    part = robust.robustness_part

    def strict(*arguments: Any, note: object, **options: Any) -> Any:
        return part(*arguments, note=pytest.fail, **options)

    monkeypatch.setattr(robust, "robustness_part", strict)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Runs a command as `dashpot` does, and gives the message of its error, or None."""
    app = typer.Typer(pretty_exceptions_enable=False)
    for module in (fit, predict, tune):
        module.register(app)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str | None:
        try:
            app([str(argument) for argument in arguments], standalone_mode=False)
        except dashpot.DashpotError as error:
            return str(error)
        return None

    return run


def _ours(call: Callable[[], Any], told: str) -> Any:
    """What ``call`` gives. Warnings are ours, too: those of other libraries tell a user nothing, but for what
    scikit-learn says to those who use its interface.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except Exception as error:  # of any kind: none is expected
            raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error
    known = ("dashpot", "sklearn")
    foreign = [str(w.message) for w in caught if not w.category.__module__.startswith(known) and not _asked(w)]
    assert not foreign, f"{told}: {foreign}"
    return result


def _asked(warning: warnings.WarningMessage) -> bool:
    """Whether scikit-learn's checks said it, of the target that a caller gave."""
    return "sklearn" in warning.filename or "unique classes" in str(warning.message)


@pytest.mark.parametrize("start", range(0, FILES, CHUNK))
def test_files(start: int, tmp_path: Path, command: Callable[..., str | None]) -> None:
    done = sum(_file(number, tmp_path, command) for number in range(start, start + CHUNK))
    assert done > CHUNK // 5, "most of the tables are refused, so little is tried"


def _file(number: int, folder: Path, command: Callable[..., str | None]) -> bool:
    table = hostile_table(number, folder)
    run, out, tuned = (folder / f"{name}{number}" for name in ("run", "out", "tuned"))
    brief = ["--no-robustness"] if number % MEASURED else []
    fitted = ("fit", table.path, "--target", "y", "--epochs", 2, "--out", run, *brief)
    refused = _ours(lambda: command(*fitted), table.told)
    if refused is None:
        assert _ours(lambda: command("predict", run, table.path, "--out", out), table.told) is None, table.told
        _predictions_fit(table, out)
        twin = hostile_table(number, folder, drawn=number + 10**6)
        _ours(lambda: command("predict", run, twin.path, "--out", out), twin.told)
    if number % (TUNED if refused is None else RARELY) == 0:
        search = ("tune", table.path, "--target", "y", "--trials", 2, "--cv", 2, "--epochs", 2, "--workers", 1, *brief)
        _ours(lambda: command(*search, "--no-explain", "--with", "l1", "--with", "mixup", "--out", tuned), table.told)
    return refused is None


def _predictions_fit(table: HostileTable, out: Path) -> None:
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows, table.told
    shares = [name for name in rows[0] if name.startswith("p(")]
    for row in rows:
        if shares:
            assert abs(sum(float(row[name]) for name in shares) - 1) < 1e-5, table.told
        else:
            assert np.isfinite(float(row["prediction"])), table.told
    if table.intact:
        assert len(rows) == len(table.labels), table.told
        if shares:
            assert {row["prediction"] for row in rows} <= set(table.labels), table.told


@pytest.mark.parametrize("start", range(0, FRAMES, CHUNK))
def test_frames(start: int) -> None:
    done = sum(_frame(number) for number in range(start, start + CHUNK))
    assert done > CHUNK // 5, "most of the frames are refused, so little is tried"


def _frame(number: int) -> bool:
    frame = hostile_frame(number)
    kind = dashpot.DashpotRegressor if number % 3 == 0 else dashpot.DashpotClassifier
    model = _ours(lambda: _taken(lambda: kind(epochs=2, random_state=0).fit(frame.x, frame.y)), frame.told)
    if model is not None:
        predicted = _ours(lambda: model.predict(frame.x), frame.told)
        assert len(predicted) == len(frame.x), frame.told
        if kind is dashpot.DashpotClassifier:
            assert set(map(str, predicted)) <= set(map(str, np.ravel(frame.y))), frame.told
    if model is not None or number % RARELY == 0:
        search = {"trials": 2, "cv": 2, "epochs": 2, "recipe": "l1", "progress": False}
        _ours(lambda: _taken(lambda: dashpot.tune((frame.x, frame.y), **search)), frame.told)
    return model is not None


def _taken(call: Callable[[], Any]) -> Any:
    """What ``call`` gives, or None where one message of ours refuses the data. Estimators ask scikit-learn's own checks
    of arrays first.
    """
    try:
        return call()
    except dashpot.DashpotError:
        return None
    except (ValueError, TypeError) as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if "dashpot/estimators" in files[-1] or any("sklearn/utils" in file for file in files):
            return None
        raise
