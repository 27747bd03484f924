"""A search on one machine, its leader killed again and again: it goes on where it was, and what was finished is not
trained again.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.faults.tuning import demand_whole, ended, recomputed, small_table, start

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")]
COUNT = 40


def study(folder: Path) -> optuna.Study:
    return optuna.load_study(
        study_name="dashpot", storage=JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    )


def finished(folder: Path) -> dict[int, Any]:
    try:
        return {
            t.number: (t.state, t.value, t.datetime_complete, t.user_attrs)
            for t in study(folder).get_trials()
            if t.state.is_finished()
        }
    except (KeyError, OSError):
        return {}


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "dashpot" in line and str(folder) in line:
            found.append(line)
    return found


def test_killed_and_resumed(tmp_path: Path) -> None:
    rng, folder = random.Random(2), tmp_path / "run"
    data = small_table(tmp_path / "table.csv")
    options = ["--trials", COUNT, "--epochs", 30, "--cv", 3, "--no-explain"]
    first = [data, "--target", "target", *options, "--workers", 2, "--out", folder]
    resume = ["--resume", folder, "--workers", 2]
    with ended([start(*first, cwd=tmp_path, log="log")]) as leaders:
        # First before anything is measured, then while candidates are trained.
        until(lambda: (folder / "journal.log").exists())
        for attempt in range(3):
            before = finished(folder)
            if attempt:
                until(lambda: len(finished(folder)) > len(before) or leaders[-1].poll() is not None)  # noqa: B023
                time.sleep(rng.uniform(0, 0.3))
            leaders[-1].send_signal(signal.SIGKILL)
            leaders[-1].wait()
            # The second worker does not outlive the one that started it.
            until(lambda: not processes_of(folder), 20)
            kept = finished(folder)
            assert {n: kept[n] for n in before} == before
            leaders.append(start(*resume, cwd=tmp_path, log="log"))
        assert leaders[-1].wait(200) == 0, (tmp_path / "log").read_text()[-3000:]
        done = finished(folder)
        assert {n: done[n] for n in kept} == kept
        demand_whole(study(folder), COUNT)
        assert "Traceback" not in (tmp_path / "log").read_text() + (folder / "workers.log").read_text()
        report = json.loads((folder / "report.json").read_text())
        assert len(report["candidates"]) == COUNT
        best = next(t for t in study(folder).get_trials() if t.number == report["best"])
        assert recomputed(folder, best.number, best.params) == pytest.approx(best.value, rel=1e-5)

        # Finished: it only reports again. With more to do it goes on.
        files = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        again = start(*resume, cwd=tmp_path, log="again")
        leaders.append(again)
        assert again.wait(100) == 0
        assert "Chosen: #" in (tmp_path / "again").read_text()
        assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == files
        more = start(*resume, "--trials", COUNT + 6, cwd=tmp_path, log="more")
        leaders.append(more)
        time.sleep(0.5)
        until(lambda: not json.loads((folder / "tune.json").read_text())["done"] or more.poll() is not None)
        # Meanwhile nobody else may lead here.
        other = start(*resume, "--trials", 99, cwd=tmp_path, log="other")
        leaders.append(other)
        assert other.wait(100) == 2
        assert "in use by another" in (tmp_path / "other").read_text()
        assert more.wait(200) == 0, (tmp_path / "more").read_text()[-3000:]
        demand_whole(study(folder), COUNT + 6)
        assert {n: v for n, v in finished(folder).items() if n in done} == done


def test_the_budget_counts_what_was_spent_before(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [
        small_table(tmp_path / "t.csv"),
        "--target",
        "target",
        "--budget",
        "30s",
        "--cv",
        3,
        "--workers",
        1,
        "--no-explain",
        "--out",
        folder,
    ]
    with ended([start(*command, cwd=tmp_path, log="log")]) as leaders:
        until(
            lambda: (folder / "spent.json").exists() and json.loads((folder / "spent.json").read_text())["seconds"] > 5
        )
        leaders[0].kill()
        leaders[0].wait()
        spent = json.loads((folder / "spent.json").read_text())["seconds"]
        leaders.append(start("--resume", folder, "--workers", 1, cwd=tmp_path, log="log"))
        assert leaders[-1].wait(200) == 0, (tmp_path / "log").read_text()[-3000:]
    report = json.loads((folder / "report.json").read_text())
    assert report["budget_s"] == pytest.approx(30)
    assert report["seconds"] > spent
    assert all(t.state.is_finished() for t in study(folder).get_trials() if "worker" in t.user_attrs)


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        (tmp_path / "log").unlink(missing_ok=True)
        assert start(*arguments, cwd=tmp_path, log="log").wait(100) == 2
        text = (tmp_path / "log").read_text()
        assert "Traceback" not in text
        return text

    assert "must name the folder of a `dashpot tune`" in refused("--resume", tmp_path / "nothing")
    data = small_table(tmp_path / "t.csv")
    assert "--resume must be given alone" in refused(data, "--resume", tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tune.json").write_text('{"options": ')
    assert "is damaged" in refused("--resume", tmp_path / "run")
