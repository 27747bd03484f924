"""The folder of a search: its configuration, its clock and its workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dashpot.core.errors import StorageError
from dashpot.core.files import write_atomic
from dashpot.core.threads import cores
from dashpot.data import Problem
from dashpot.report.tune.trial_record import demand_version
from dashpot.runs.saved import next_folder, write_json
from dashpot.search.config import SearchConfig
from dashpot.search.outcome.moved import reopened, whereabouts
from dashpot.search.outcome.tested import as_json
from dashpot.search.storage.backends import shown

CONFIG, SPENT, REPORT, HELD, LOG = "tune.json", "spent.json", "report.json", "tune.lock", "workers.log"
VERSION = 2
"""Of ``tune.json``; 1 wrote no number."""
ADDRESS = "DASHPOT_STORAGE"
"""The environment variable with a storage for the workers of this machine: its password must not be in a file."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def new_folder(kind: str) -> Path:
    """``runs/tune-1``, ``runs/tune-2``, ...: the first that does not exist, made; of two processes that do this at once
    each gets its own.

    Raises:
        StorageError: it cannot be made.
    """
    while True:
        folder = next_folder(kind)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(f"{folder} cannot be made: {error.strerror}. Name another place with --out.") from error
        return folder


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Only one process leads a search in a folder; the kernel releases the lock when that process ends.

    Raises:
        StorageError: another one does.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    with open(folder / HELD, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"{folder} is in use by another `dashpot tune`, which must end first. Or name another folder with"
                " --out."
            ) from error
        yield


def write_config(
    folder: Path,
    source: Path | None,
    target: str | None,
    task: str | None,
    config: SearchConfig,
    weights: str | None = None,
    reading: dict[str, Any] | None = None,
    fingerprint: str | None = None,
    model: str | None = None,
    to: str | None = None,
) -> None:
    """Write what a later process needs to resume: the place and the fingerprint of the data, what was said of how to
    read them, the configuration, and the size that the network comes down to afterwards; no password.
    """
    data = {
        "version": VERSION,
        **whereabouts(folder, source),
        "fingerprint": fingerprint,
        "target": target,
        "task": task,
        "weights": weights,
        "reading": reading or {},
        "config": to_json(config),
        "done": False,
        "model": model,
        "to": to,
    }
    write_json(folder / CONFIG, data)


def update_config(
    folder: Path,
    *,
    done: bool,
    config: SearchConfig | None = None,
    source: Path | None = None,
    measured: Mapping[str, Any] | None = None,
) -> None:
    """Change what :func:`write_config` wrote: another configuration, another place of the data, what was measured, or
    that the search is finished.
    """
    stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    new: dict[str, Any] = {"done": done}
    new |= {} if config is None else {"config": to_json(config)}
    new |= {} if source is None else whereabouts(folder, source)
    new |= {} if measured is None else {"measured": dict(measured)}
    write_json(folder / CONFIG, {**stored, **new})


def to_json(config: SearchConfig) -> dict[str, Any]:
    """The configuration as plain JSON; techniques as the text of the command line, and no password."""
    return {
        **vars(config),
        "recipe": None if config.recipe is None else [str(part) for part in config.recipe],
        "without": list(config.without),
        "networks": list(config.networks),
        "tta": as_json(config.tta),
        "storage": None if config.storage is None else shown(config.storage),
    }


def read_config(folder: Path, data: Path | None = None) -> tuple[Problem, SearchConfig, dict[str, Any]]:
    """The problem and the configuration of a search that has begun; ``"found"`` is where its data are now.

    Args:
        data: where they are, if the user says so.

    Raises:
        ConfigError: the data are others.
        StorageError: the folder holds no search, its file is damaged, or the data are not found.
    """
    path = folder / CONFIG
    if not path.exists():
        raise StorageError(f"--resume must name the folder of a `dashpot tune`; {path} does not exist.")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        demand_version(str(path), stored.get("version"), VERSION, "Start the search again in a new folder.")
        raw = stored["config"]
        address = os.environ.get(ADDRESS, "")
        storage = address if address and shown(address) == raw["storage"] else raw["storage"]
        lists = {name: tuple(raw[name]) for name in ("without", "networks")}
        config = SearchConfig(**{**raw, **lists, "storage": storage})
        _ = stored["data"], stored["target"], stored["task"]
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} is damaged: {error}. Start the search again in a new folder.") from error
    problem, found = reopened(folder, stored, data)
    return problem, config, {**stored, "found": found}


class Clock:
    """The seconds a search has taken over all resumes, kept in its folder.

    Args:
        started: when this life began, by ``time.monotonic()``; by default now.

    Attributes:
        before: those of earlier lives.
        running: it has begun; a refused command writes nothing.
        raced: the budget of which the race is over, so that a resumed search need not go on with it; None: of none.
    """

    def __init__(self, folder: Path, started: float | None = None) -> None:
        now = time.monotonic()
        self._path, self._started, self._written = folder / SPENT, now if started is None else started, 0.0
        self._lock = threading.Lock()
        self.before, self.running = 0.0, False
        self.raced: float | None = None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            self.before = float(kept["seconds"])
            self.raced = None if kept.get("raced") is None else float(kept["raced"])

    def tick(self, *, now: bool = False) -> None:
        """Write it to the folder, every two seconds at most, or ``now``."""
        with self._lock:
            at = time.monotonic()
            if self.running and (now or at - self._written > 2):
                self._written = at
                kept = {"seconds": round(self.before + at - self._started, 1), "raced": self.raced}
                write_atomic(self._path, json.dumps(kept))

    def race_over(self, budget: float | None) -> None:
        """Remember that the race of this budget is over."""
        self.raced = budget
        self.tick(now=True)

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Write it in here also while one long training says nothing."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(1):
                with contextlib.suppress(StorageError):  # the search itself will meet it, and say it
                    self.tick()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def start_workers(
    folder: Path, count: int, deadline: float | None, storage: str | None = None, model: str | None = None
) -> list[subprocess.Popen[bytes]]:
    """Further workers of this search as processes; the cores are shared out among all."""
    threads = str(max(1, cores() // (count + 1)))
    environment = {**os.environ, **dict.fromkeys(THREADS, threads), ADDRESS: storage or ""}
    command = [sys.executable, "-m", "dashpot", "tune-worker", str(folder), "--parent", str(os.getpid())]
    if model is not None:
        command += ["--model", model]
    if deadline is not None:
        command += ["--until", f"{time.time() + deadline - time.monotonic():.1f}"]
    with open(folder / LOG, "ab") as log:
        return [
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            for _ in range(count)
        ]


def await_workers(workers: Sequence[subprocess.Popen[bytes]], seconds: float) -> int:
    """Let them end by themselves for a while; then they are ended.

    Returns:
        How many had ended by an error or been killed.
    """
    limit = time.monotonic() + seconds
    lost = 0
    for worker in workers:
        try:
            lost += worker.wait(max(0.1, limit - time.monotonic())) != 0
        except subprocess.TimeoutExpired:
            worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(5)
            if worker.poll() is None:
                worker.kill()
    return lost


def end_with(parent: int) -> None:
    """End this worker when the process that started it has ended, even by SIGKILL: else
    it would run without end.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
