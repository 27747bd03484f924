"""``dashpot path``, ``fit`` and ``tune`` beside a process that holds a core: seconds of whole commands, start included.

Four arms in turn, round by round: on one thread and with the default number, each with the machine as it is and beside
a process that is pinned to one core and never waits. Commands: a path on a table of few rows and thousands of columns
(small parallel regions, where idle workers that spin cost most), 15 epochs of a fit on 5,000 rows, and a search of
eight candidates. Run: ``python benchmarks/speed/busy.py``, or with ``--wide`` and ``--long`` on tables of your own,
whose target column is ``target``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import options, write_result

ROUNDS, LIMIT = 3, 300
HOLD = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def table(path: Path, rows: int, columns: int) -> Path:
    """A table of two classes that a few columns tell apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns))
    label = np.where(x[:, :4].sum(axis=1) + rng.normal(size=rows) > 0, "yes", "no")
    names = ",".join([*(f"g{i}" for i in range(columns)), "target"])
    lines = (",".join([*(f"{v:.5g}" for v in row), t]) for row, t in zip(x, label, strict=True))
    path.write_text("\n".join([names, *lines]) + "\n")
    return path


@contextlib.contextmanager
def held(core: int | None) -> Iterator[None]:
    """Beside a process that holds a core, or none."""
    holder = None if core is None else subprocess.Popen([sys.executable, "-c", HOLD, str(core)])
    try:
        yield
    finally:
        if holder is not None:
            holder.kill()
            holder.wait()


def seconds(command: Sequence[str], *, one: bool, core: int | None, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command; infinite where it takes more than five minutes. Workers that spin show in the
    CPU seconds, whatever else the machine does.
    """
    plain = {name: value for name, value in os.environ.items() if name not in THREADS}
    environment = {**plain, **(dict.fromkeys(THREADS, "1") if one else {}), "MPLBACKEND": "agg"}
    extra = ["--workers", "1"] if one and command[0] == "tune" else []
    with held(core), tempfile.TemporaryDirectory(dir=folder) as out:
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            subprocess.run(
                [sys.executable, "-m", "dashpot", *command, *extra, "--out", f"{out}/run"],
                env=environment,
                check=True,
                capture_output=True,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            return float("inf"), float("inf")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.perf_counter() - started, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wide", type=Path, default=None, help="a table of few rows and many columns")
    parser.add_argument("--long", type=Path, default=None, help="a table of about 5,000 rows")
    chosen = options(parser)
    core = max(os.sched_getaffinity(0))
    arms = {
        "one thread": (True, None),
        "default": (False, None),
        "one thread, beside": (True, core),
        "default, beside": (False, core),
    }
    record: dict[str, object] = {
        "what": "seconds of whole commands; 'beside' is beside a process that is pinned to one core",
        "cores": len(os.sched_getaffinity(0)),
        "load before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wide = str(chosen.wide or table(folder / "wide.csv", 72, 7129))
        long = str(chosen.long or table(folder / "long.csv", 5124, 20))
        target = ["--target", "target"]
        commands = {
            "path": ["path", wide, *target, "--points", "8", "--cv", "2"],
            "fit": ["fit", long, *target, "--epochs", "15"],
            "tune": ["tune", long, *target, "--trials", "8", "--epochs", "6", "--cv", "2", "--no-explain"],
        }
        for title, command in commands.items():
            times: dict[str, list[float]] = {arm: [] for arm in arms}
            used: dict[str, list[float]] = {arm: [] for arm in arms}
            for _ in range(1 if chosen.quick else ROUNDS):
                for arm, (one, held_core) in arms.items():
                    wall, cpu = seconds(command, one=one, core=held_core, folder=folder)
                    times[arm].append(wall)
                    used[arm].append(cpu)
            middle = {arm: statistics.median(own) for arm, own in times.items()}
            record[title] = {
                "seconds": times,
                "CPU seconds": used,
                "default beside, ratio to one thread": middle["default, beside"] / middle["one thread"],
                "default beside, ratio to one thread beside": middle["default, beside"] / middle["one thread, beside"],
                "default, ratio to one thread": middle["default"] / middle["one thread"],
                "CPU of default beside, ratio to one thread beside": statistics.median(used["default, beside"])
                / statistics.median(used["one thread, beside"]),
            }
            print(title, {arm: round(value, 1) for arm, value in middle.items()}, file=sys.stderr, flush=True)
    record["load after"] = os.getloadavg()[0]
    write_result("busy", record, chosen.result)


if __name__ == "__main__":
    main()
