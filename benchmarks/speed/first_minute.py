"""From nothing to a first result: seconds to make an environment, to install, and to train and search on digits.

A new environment gets the wheel of this repository; what pip needs is taken from its cache where it is there, so this
is the time to unpack, not to download. Each command starts a fresh interpreter and ends with tables and a page. Two
times of each command are kept: the first, when nothing is compiled or in the memory of the system, and the second.
Where uv is installed, the same once more by it. It compiles no byte code, so that the first command does.

Run: ``python benchmarks/speed/first_minute.py [WHEEL]``; without WHEEL it is built. Beside other work the load average
says how busy the machine was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks")]
from common import write_result

COMMANDS = {"fit": ["fit"], "tune --budget 60s": ["tune", "--budget", "60s"]}


def took(*command: str | Path, folder: str) -> float:
    """Seconds of a command that must succeed."""
    started, parts = time.perf_counter(), [str(part) for part in command]
    done = subprocess.run(parts, cwd=folder, capture_output=True, text=True, env=environment(folder))
    if done.returncode:
        raise SystemExit(f"{' '.join(parts)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - started


def environment(folder: str) -> dict[str, str]:
    """Of a user with an empty cache, so that kernels are compiled."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    return {**kept, "XDG_CACHE_HOME": f"{folder}/cache", "PIP_CACHE_DIR": pip_cache()}


def pip_cache() -> str:
    """Where pip keeps what it has fetched."""
    return os.environ.get("PIP_CACHE_DIR") or str(Path.home() / ".cache" / "pip")


def by_uv(uv: str, torch: str, wheel: str) -> dict[str, float]:
    """The same by uv, with its downloads in its cache."""
    with tempfile.TemporaryDirectory() as folder:
        for filled in (False, True):
            home = Path(folder) / ("filled" if filled else "filling")
            python, install = home / "bin" / "python", [uv, "pip", "install", "--python", home / "bin" / "python"]
            found = {"uv venv": took(uv, "venv", "--python", sys.executable, home, folder=folder)}
            found["uv pip install torch"] = took(*install, torch, folder=folder)
            found["uv pip install dashpot and the rest"] = took(*install, wheel, folder=folder)
        found["dashpot fit, first time after uv"] = took(python.with_name("dashpot"), "fit", folder=folder)
    return found


def main() -> int:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        seconds = {"environment": took(sys.executable, "-m", "venv", Path(folder) / "venv", folder=folder)}
        wheel = sys.argv[1] if len(sys.argv) > 1 else str(ROOT)
        torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
        seconds["pip install torch"] = took(python, "-m", "pip", "install", torch, folder=folder)
        seconds["pip install dashpot and the rest"] = took(python, "-m", "pip", "install", wheel, folder=folder)
        for name, words in COMMANDS.items():
            for time_of_it in ("first", "second"):
                seconds[f"dashpot {name}, {time_of_it} time"] = took(python.with_name("dashpot"), *words, folder=folder)
        load = os.getloadavg()[1]
    uv = shutil.which("uv")
    if uv is not None:
        seconds |= by_uv(uv, torch, wheel)
    what = "From nothing to a first result on scikit-learn's digits, in seconds, with downloads in the caches."
    write_result("first-minute", {"what": what, "seconds": seconds, "load average over 5 minutes": load})
    return 0


if __name__ == "__main__":
    sys.exit(main())
