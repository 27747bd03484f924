"""Workers of one study on one PostgreSQL: candidates an hour, and what the storage is asked for each candidate.

``tune``: 1, 2 and 4 processes of ``dashpot tune`` on scikit-learn's breast cancer, over a proxy that counts statements
and bytes. ``simulated``: up to 100 threads of this process that ask, report twice and tell as a worker does, and wait
instead of training; the records are those of the search before. The server is one of the tests' own.
Run: ``python benchmarks/speed/workers.py``; ``--only figure`` draws the figure anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
from sklearn.datasets import load_breast_cancer

sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]
from common import RESULTS, write_result

from dashpot.core import threads
from dashpot.search.storage.study import Store
from tests.faults.postgres import Postgres
from tests.faults.tuning import seen

FIGURE = ROOT / "docs" / "images" / "workers.png"
UNTYPED = {80877102, 80877103, 80877104}
"""Codes of requests before a connection begins: to cancel, for TLS, for GSSAPI."""


class Proxy:
    """Between workers and a server: counts statements that are executed, and bytes to and from the server."""

    def __init__(self, port: int) -> None:
        self.statements = self.sent = self.received = 0
        self._server, self._lock = port, threading.Lock()
        self._listens = socket.create_server(("127.0.0.1", 0))
        self.port = self._listens.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                mine, _ = self._listens.accept()
                other = socket.create_connection(("127.0.0.1", self._server))
            except OSError:  # closed, or the server is
                return
            for source, target, asks in ((mine, other, True), (other, mine, False)):
                threading.Thread(target=self._pass, args=(source, target, asks), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    if asks:
                        self.sent += len(data)
                        self.statements += frames.statements(data)
                    else:
                        self.received += len(data)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {"statements": self.statements, "bytes to": self.sent, "bytes from": self.received}

    def close(self) -> None:
        self._listens.close()


class Frames:
    """The messages of PostgreSQL's protocol in a stream from a client."""

    def __init__(self) -> None:
        self._rest, self._began = b"", False

    def statements(self, data: bytes) -> int:
        """How many of the messages that are complete now execute a statement."""
        self._rest += data
        found = 0
        while True:
            head = 5 if self._began else 4
            if len(self._rest) < head + 4 * (not self._began):
                return found
            kind = self._rest[:1] if self._began else b""
            (length,) = struct.unpack("!I", self._rest[head - 4 : head])
            whole = length + len(kind)
            if len(self._rest) < whole:
                return found
            if not self._began:
                (code,) = struct.unpack("!I", self._rest[4:8])
                self._began = code not in UNTYPED
            found += kind in (b"Q", b"E")
            self._rest = self._rest[whole:]


@contextlib.contextmanager
def server() -> Iterator[Postgres]:
    """One that takes more than PostgreSQL's 100 connections."""
    found = Postgres()
    try:
        ask(found, "ALTER SYSTEM SET max_connections = 400")
        found.stop()
        found.start()
        yield found
    finally:
        found.close()


def ask(postgres: Postgres, statement: str) -> list[Any]:
    import psycopg

    with psycopg.connect(postgres.url, autocommit=True) as connection:
        found = connection.execute(statement)  # type: ignore[call-overload]  # text that is no literal
        return found.fetchall() if found.description else []


# --- searches --------------------------------------------------------------------------------------------------------


def tuned(postgres: Postgres, count: int, trials: int, epochs: int, folder: Path) -> tuple[dict[str, Any], Any]:
    """A search by so many processes of one worker each; and the attributes of a candidate that is complete."""
    proxy, name = Proxy(postgres.port), f"tune-{count}"
    url = postgres.url.replace(str(postgres.port), str(proxy.port))
    command = [
        sys.executable,
        "-m",
        "dashpot",
        "tune",
        "table.csv",
        "--target",
        "target",
        "--trials",
        str(trials),
        "--epochs",
        str(epochs),
    ]
    command += ["--cv", "2", "--workers", "1", "--no-explain", "--storage", url, "--study", name]
    started = time.perf_counter()
    with open(folder / "log", "ab") as log:
        workers = [
            subprocess.Popen([*command, "--out", f"{name}-{k}"], cwd=folder, stdout=log, stderr=log)
            for k in range(count)
        ]
        codes = [worker.wait() for worker in workers]
    taken = time.perf_counter() - started
    if any(codes):
        raise RuntimeError((folder / "log").read_text()[-3000:])
    time.sleep(0.5)
    found = seen(name, postgres.url).get_trials()
    counted = [t for t in found if t.state.name in ("COMPLETE", "PRUNED")]
    raced = max(t.datetime_complete for t in counted) - min(t.datetime_start for t in counted)
    by = {t.user_attrs["worker"] for t in counted}
    record = {
        "candidates": len(counted),
        "workers that trained any": len(by),
        "seconds of races": raced.total_seconds(),
        "seconds with start and report": taken,
        "candidates an hour, of races": 3600 * len(counted) / raced.total_seconds(),
        **{f"{what} a candidate": value / len(counted) for what, value in proxy.counts().items()},
        "load": os.getloadavg()[0],
    }
    proxy.close()
    return record, next(t.user_attrs for t in found if t.state.name == "COMPLETE")


# --- simulated workers -----------------------------------------------------------------------------------------------


def simulated(postgres: Postgres, count: int, seconds: float, trains: float, attrs: Any) -> dict[str, Any]:
    """Threads that do what a worker asks of its storage, each with a store and a connection of its own."""
    proxy, name = Proxy(postgres.port), f"simulated-{count}"
    direct, counted_url = postgres.url, postgres.url.replace(str(postgres.port), str(proxy.port))
    waits: dict[str, list[float]] = {"ask": [], "report": [], "tell": []}
    done, lock = [], threading.Lock()
    # Statements and bytes are counted where few workers do not wait for the proxy.
    url = counted_url if count <= 4 else direct
    first = Store(url, name, {"data": "same"}, sampler="random")
    stores = [first, *(Store(url, name, {"data": "same"}, sampler="random") for _ in range(count - 1))]
    before, opened, end = proxy.counts(), statements(postgres), time.monotonic() + seconds

    def timed(what: str, action: Any) -> Any:
        started = time.perf_counter()
        found = action()
        with lock:
            waits[what].append(time.perf_counter() - started)
        return found

    def work(place: int) -> None:
        store, rng = stores[place], random.Random(place)
        time.sleep(rng.uniform(0, trains))  # they do not begin together
        while time.monotonic() < end:
            number, lr = timed("ask", partial(store.ask, suggest, most=1_000_000))
            for rung in (1, 2):
                time.sleep(rng.uniform(0.5, 1.5) * trains / 3)
                timed("report", partial(store.report, number, rung, lr))
            time.sleep(rng.uniform(0.5, 1.5) * trains / 3)
            timed("tell", partial(store.tell, number, "complete", lr, {"record": attrs["record"]}))
            with lock:
                done.append(time.monotonic())

    crew = [threading.Thread(target=work, args=(place,)) for place in range(count)]
    started = time.monotonic()
    cpu = time.process_time()
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    taken, busy = time.monotonic() - started, time.process_time() - cpu
    record: dict[str, Any] = {
        "candidates": len(done),
        "candidates an hour": 3600 * len(done) / taken,
        "candidates an hour without any wait": 3600 * count / trains,
        "milliseconds": {what: spread([1e3 * v for v in values]) for what, values in waits.items()},
        "transactions a candidate": (statements(postgres) - opened) / len(done),
        "connections": ask(postgres, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")[0][
            0
        ]
        - 1,
        "processor seconds of all workers a candidate": busy / len(done),
        "load": os.getloadavg()[0],
    }
    if url == counted_url:
        record |= {f"{k} a candidate": (v - before[k]) / len(done) for k, v in proxy.counts().items()}
    for store in stores:
        store.close()
    proxy.close()
    return record


def suggest(trial: Any) -> float:
    """Some eight numbers, as of a recipe."""
    for name in ("dropout", "l1", "mixup"):
        if trial.suggest_categorical(f"{name}?", [True, False]):
            trial.suggest_float(name, 1e-6, 1.0, log=True)
    trial.suggest_int("width", 16, 256)
    return float(trial.suggest_float("lr", 1e-4, 1e-1, log=True))


def statements(postgres: Postgres) -> int:
    time.sleep(1.5)  # PostgreSQL's processes tell their counts once a second
    found = ask(postgres, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'")
    return int(found[0][0])


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "95 %": statistics.quantiles(values if len(values) > 1 else values * 2, n=20)[-1],
    }


def figure(record: dict[str, Any], path: Path = FIGURE) -> None:
    """Candidates an hour, and how long the storage takes, by the number of workers."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    found = {int(k): v for k, v in record["simulated"].items()}
    counts = sorted(found)
    drawn, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    left.plot(
        counts, [found[n]["candidates an hour without any wait"] for n in counts], "--", color="grey", label="no wait"
    )
    left.plot(counts, [found[n]["candidates an hour"] for n in counts], "o-", label="measured")
    left.set(xscale="log", yscale="log", xlabel="simulated workers", ylabel="candidates an hour")
    left.legend()
    for what in ("ask", "report", "tell"):
        line = right.plot(counts, [found[n]["milliseconds"][what]["median"] for n in counts], "o-", label=what)[0]
        tail = [found[n]["milliseconds"][what]["95 %"] for n in counts]
        right.plot(counts, tail, ":", color=line.get_color())
    right.set(xscale="log", yscale="log", xlabel="simulated workers", ylabel="ms (dotted: 95 %)")
    right.legend()
    for axes in (left, right):
        axes.set_xticks(counts, [str(n) for n in counts], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    drawn.tight_layout()
    drawn.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["figure"], default=None)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--tune", type=int, nargs="+", default=[1, 2, 4], help="processes of dashpot tune")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 50, 100], help="simulated ones")
    parser.add_argument("--seconds", type=float, default=40, help="of each simulation")
    parser.add_argument("--trains", type=float, default=12, help="seconds that a simulated candidate trains")
    parser.add_argument("--result", type=Path, default=None, help="a file for the result, instead of results/")
    given = parser.parse_args()
    if given.only == "figure":
        figure(json.loads((given.result or RESULTS / "workers.json").read_text()))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    started = time.perf_counter()
    record: dict[str, Any] = {
        "what": "Workers of one study on one PostgreSQL: candidates an hour, and store traffic a candidate. All "
        "workers, the server and other work shared the same cores.",
        "cores": threads.cores(),
        "trials": given.trials,
        "epochs": given.epochs,
        "seconds that a simulated candidate trains": given.trains,
        "seconds of each simulation": given.seconds,
        "tune": {},
        "simulated": {},
    }
    with tempfile.TemporaryDirectory() as folder, server() as postgres:
        attrs: Any = None
        load_breast_cancer(as_frame=True).frame.to_csv(Path(folder) / "table.csv", index=False)
        for count in given.tune:
            record["tune"][str(count)], attrs = tuned(postgres, count, given.trials, given.epochs, Path(folder))
            print(count, record["tune"][str(count)], flush=True)
        record["bytes of a record"] = len(json.dumps(attrs["record"]))
        for count in given.workers:
            found = simulated(postgres, count, given.seconds, given.trains, attrs)
            record["simulated"][str(count)] = found
            print(count, found, flush=True)
    record["seconds"] = time.perf_counter() - started
    write_result("workers", record, given.result)
    if given.result is None:
        figure(record)


if __name__ == "__main__":
    main()
