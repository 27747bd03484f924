"""Workers of one study on PostgreSQL, killed at random while the server restarts: nothing is lost, nothing counted
twice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from tests.faults.postgres import Postgres
from tests.faults.tuning import demand_whole, ended, recomputed, seen, small_table, start

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")]
COUNT = 40

# A worker without networks: all that it does is ask and tell, so that it is killed in the middle of these.
BARE = """
import random, sys, time
from dashpot.search.storage.study import Store
from dashpot.search.storage.trials import counted
url, count = sys.argv[1], int(sys.argv[2])
store = Store(url, "bare", {"data": "same"}, sampler="random")
while True:
    store.take_over()
    batch = []
    while len(batch) < 3 and (asked := store.ask(lambda t: t.suggest_float("lr", 0, 1), most=count)) is not None:
        batch.append(asked)
    for number, lr in batch:
        store.report(number, 1, lr)
        time.sleep(random.uniform(0, 0.05))
        store.tell(number, "complete", lr, {"record": {"number": number, "fold_scores": [lr]}})
    if not batch:
        trials = [t for t in store.trials() if counted(t)]
        if len(trials) >= count and all(t.state.is_finished() for t in trials):
            break
        time.sleep(0.1)
store.close()
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def at_work(name: str, url: str, worker: subprocess.Popen[bytes]) -> bool:
    """Whether a worker has begun a candidate and not ended it."""
    try:
        trials = seen(name, url).get_trials(states=(optuna.trial.TrialState.RUNNING,))
    except (KeyError, SQLAlchemyError, StorageInternalError):
        return False  # nobody has made the study yet, or its tables
    return any(f"-{worker.pid}-" in t.user_attrs.get("worker", "") for t in trials)


def test_bare_workers_killed_in_the_middle_of_asking_and_telling(postgres: Postgres, tmp_path: Path) -> None:
    rng, count = random.Random(1), 250
    command = [sys.executable, "-c", BARE, postgres.url, str(count)]
    with (
        open(tmp_path / "log", "ab") as log,
        ended([subprocess.Popen(command, stderr=log) for _ in range(4)]) as workers,
    ):
        for attempt in range(4):
            until(lambda: any(at_work("bare", postgres.url, w) for w in workers))
            time.sleep(rng.uniform(0, 0.3))
            victim = next(i for i in range(4) if at_work("bare", postgres.url, workers[i]) or i == 3)
            workers[victim].kill()
            workers[victim].wait()
            if attempt in (0, 2):
                postgres.stop(at_once=attempt == 2)
                time.sleep(1)
                postgres.start()
            # A worker that comes while nobody answers is told so after a few seconds; how long a server takes to start
            # is up to the machine.
            workers[victim] = subprocess.Popen(command, stderr=log)
        for worker in workers:
            assert worker.wait(200) == 0, (tmp_path / "log").read_text()[-3000:]
    study = seen("bare", postgres.url)
    demand_whole(study, count)
    assert any("taken over by" in t.user_attrs for t in study.get_trials())
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_four_workers_two_killed_one_restart(postgres: Postgres, tmp_path: Path) -> None:
    rng = random.Random(0)
    data = small_table(tmp_path / "table.csv")
    options = [
        data,
        "--target",
        "target",
        "--trials",
        COUNT,
        "--epochs",
        30,
        "--cv",
        3,
        "--workers",
        1,
        "--no-explain",
        "--storage",
        postgres.url,
    ]
    with ended([start(*options, "--out", f"run-{i}", cwd=tmp_path, log=f"log-{i}") for i in range(4)]) as workers:
        _two_killed(workers, options, postgres, tmp_path, rng)


def _two_killed(
    workers: list[subprocess.Popen[bytes]],
    options: list[object],
    postgres: Postgres,
    tmp_path: Path,
    rng: random.Random,
) -> None:

    def study() -> optuna.Study:
        return seen("dashpot", postgres.url)

    until(lambda: any(at_work("dashpot", postgres.url, w) for w in workers))
    # Whoever is at work: two of them are killed, the server restarts in between.
    killed: list[subprocess.Popen[bytes]] = []
    while len(killed) < 2:
        busy = [w for w in workers if w not in killed and w.poll() is None and at_work("dashpot", postgres.url, w)]
        if not busy:
            assert any(w.poll() is None for w in workers if w not in killed), "all had ended before two could be killed"
            time.sleep(0.05)
            continue
        time.sleep(rng.uniform(0, 0.5))
        victim = rng.choice(busy)
        victim.kill()
        victim.wait()
        killed.append(victim)
        if len(killed) == 1:
            postgres.stop(at_once=True)
            time.sleep(rng.uniform(0.5, 2))
            postgres.start()
    rest = [i for i in range(4) if workers[i] not in killed]
    for i in rest:
        assert workers[i].wait(250) == 0, (tmp_path / f"log-{i}").read_text()[-3000:]

    demand_whole(study(), COUNT)
    trials = study().get_trials()
    owners = {t.user_attrs["worker"].split("-")[-2] for t in trials if {"taken over by", "worker"} <= set(t.user_attrs)}
    assert owners & {str(w.pid) for w in killed}
    for i in rest:
        assert "Traceback" not in (tmp_path / f"log-{i}").read_text()
        report = json.loads((tmp_path / f"run-{i}" / "report.json").read_text())
        numbers = [c["number"] for c in report["candidates"]]
        assert len(numbers) == len(set(numbers)) == COUNT
        best = min((t for t in trials if t.state.name == "COMPLETE"), key=lambda t: t.value)
        # The finals train the best again with another seed: among those trained as often, the lowest mean of the seeds
        # is the best.
        most = max(c["seeds"] for c in report["candidates"])
        often = {c["number"]: c["score"] for c in report["candidates"] if c["seeds"] == most}
        assert best.number in often
        assert report["best"] == min(often, key=lambda number: often[number])
        # Its networks may have been trained on the other machine, or by one that was killed: then they were trained
        # again here.
        assert recomputed(tmp_path / f"run-{i}", best.number, best.params) == pytest.approx(best.value, rel=1e-4)

    # Whoever comes later joins, finds nothing to do, and reports the same; other data are refused.
    late = start(*options, "--out", "late", cwd=tmp_path, log="late.log")
    assert late.wait(120) == 0
    assert json.loads((tmp_path / "late" / "report.json").read_text())["best"] == report["best"]
    demand_whole(study(), COUNT)
    other = start(small_table(tmp_path / "other.csv", 1), *options[1:], "--out", "other", cwd=tmp_path, log="other.log")
    assert other.wait(120) == 2
    assert "must be of the same data" in (tmp_path / "other.log").read_text()
    assert not (tmp_path / "other").exists()


def test_a_password_is_written_nowhere(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.url.replace("@", ":geheim@").replace("/postgres", "/nosuch")
    refused = start(
        small_table(tmp_path / "t.csv"), "--target", "target", "--storage", url, "--out", "run", cwd=tmp_path, log="log"
    )
    assert refused.wait(120) == 2
    assert "must be reachable" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    url = url.replace("/nosuch", "/postgres")
    options = [
        "--target",
        "target",
        "--trials",
        4,
        "--epochs",
        2,
        "--cv",
        2,
        "--workers",
        2,
        "--no-explain",
        "--study",
        "other",
        "--storage",
        url,
    ]
    done = start(tmp_path / "t.csv", *options, "--out", "run", cwd=tmp_path, log="log")
    assert done.wait(200) == 0, (tmp_path / "log").read_text()[-2000:]
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert b"geheim" not in path.read_bytes(), path
    # The second worker found its way in all the same.
    names = {t.user_attrs["worker"] for t in seen("other", postgres.url).get_trials()}
    assert not [n for n in names if f"-{os.getpid()}-" in n]
    assert (tmp_path / "run" / "workers.log").read_text() == ""
