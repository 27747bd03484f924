"""Seconds and peak memory of reading a CSV file of 200 MB (numbers, dates and words) as a problem, beside polars' and
pandas' own readers. Each arm is a process of its own, and they take turns. Run: ``python benchmarks/speed/read_csv.py``

The names of the file and of its column ``label`` are all that Dashpot is told; polars infers its schema from all rows,
with dates as text, or from its usual 100, with dates; pandas takes its C engine as it comes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import options, ratios, write_result

ROUNDS = 3
POLARS, PANDAS, OWN = "import polars", "import pandas", "from dashpot.data import load_problem; import polars"
ARMS = {
    "dashpot": (OWN, "load_problem({path!r}, 'label', 'classification')"),
    "polars, schema of all rows": (POLARS, "polars.read_csv({path!r}, infer_schema_length=None)"),
    "polars, schema of 100 rows and dates": (POLARS, "polars.read_csv({path!r}, try_parse_dates=True)"),
    "pandas": (PANDAS, "pandas.read_csv({path!r})"),
}
CODE = """
import resource, time
{imports}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started, cpu = time.perf_counter(), time.process_time()
table = {code}
seconds = time.perf_counter() - started, time.process_time() - cpu
print(*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, before)
"""


def write_table(path: Path, megabytes: float) -> int:
    """A table of 14 columns of numbers, 3 of words, 2 of dates and a label; its rows."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(0)
    rows = round(megabytes * 1e6 / 158)
    days = (np.datetime64("2000-01-01") + random.integers(0, 9000, rows)).astype("datetime64[D]")
    moments = np.datetime64("2020-01-01T00:00:00", "ms") + random.integers(0, 10**8, rows).astype("timedelta64[s]")
    columns = {f"n{i}": np.round(random.normal(0, 10.0 ** (i % 4), rows), 4) for i in range(10)}
    columns |= {f"k{i}": random.integers(0, 10 ** (i + 1), rows) for i in range(4)}
    columns |= {
        f"w{i}": np.array([f"word {j}" for j in range(10**i)])[random.integers(0, 10**i, rows)] for i in (1, 2, 3)
    }
    columns |= {"day": days, "moment": moments, "label": np.array(["yes", "no", "007"])[random.integers(0, 3, rows)]}
    pl.DataFrame(columns).write_csv(path)
    return rows


def measured(imports: str, code: str) -> list[float]:
    """Seconds, processor seconds, peak MB, and peak MB after the imports, of a process that runs ``code``."""
    program = CODE.format(imports=imports, code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    wall, cpu, peak, before = map(float, done.stdout.split())
    return [wall, cpu, peak / 1024, before / 1024]


def main() -> None:
    given = options(argparse.ArgumentParser(description=__doc__))
    rounds, megabytes = (2, 20.0) if given.quick else (ROUNDS, 200.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        # By a process of its own: the peak memory of a process counts that of the one which started it.
        with ProcessPoolExecutor(1) as other:
            rows = other.submit(write_table, path, megabytes).result()
        found: dict[str, list[list[float]]] = {name: [] for name in ARMS}
        for turn in range(rounds + 1):
            for name, (imports, code) in ARMS.items():
                once = measured(imports, code.format(path=str(path)))
                if turn:  # the first round fills the page cache
                    found[name].append(once)
        size = path.stat().st_size / 1e6
    seconds, cpu = ({name: [once[i] for once in runs] for name, runs in found.items()} for i in (0, 1))
    write_result(
        "csv",
        {
            "what": "reading a CSV file, each arm in processes of its own; peak memory with and without imports",
            "file": {"MB": size, "rows": rows, "columns": 20},
            "seconds": seconds,
            "processor seconds": cpu,
            "ratio of seconds": {f"to {to}": ratios(seconds, to) for to in list(ARMS)[1:3]},
            "ratio of processor seconds": {f"to {to}": ratios(cpu, to) for to in list(ARMS)[1:3]},
            "peak MB": {name: max(once[2] for once in runs) for name, runs in found.items()},
            "peak MB above that of the imports": {name: max(o[2] - o[3] for o in runs) for name, runs in found.items()},
        },
        given.result,
    )


if __name__ == "__main__":
    main()
