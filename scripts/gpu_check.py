"""Run the tests marked ``cuda`` and the speed tables on one GPU, and write what came out as one JSON file.

Nothing is installed: this script needs Python alone, what it starts needs torch and NumPy, and what else is missing is
said and left out. Each test and each table has its own time limit, in processes that may crash or hang.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLES = {"step": 100, "overhead": 60, "population": 80, "fit": 60}
"""Speed tables by their scripts, and seconds that each may take."""
START_LIMIT, TEST_LIMIT, COMPILE_LIMIT = 150, 60, 170
TESTS_SHARE = 0.6
"""Of the time, for the tests; what is then left over is not run, and said."""
FIRST = ("test_optimizers", "test_training", "test_amp", "test_population", "test_search", "test_draws", "test_laws")
MISSING = {
    "pytest": "tests are called by the built-in test runner",
    "jaxtyping": "a stand-in gives its names; shapes are not checked here anyway",
    "optuna": "the search with a study is left out (its race is tested without one)",
    "sklearn": "estimators, folds and what needs them are left out; speed tables use made-up digits",
    "scipy": "the laws, whose references need it, are left out",
    "safetensors": "what is saved and resumed is left out",
    "triton": "whatever torch.compile makes for a GPU is left out",
    "polars": "nothing: no test here reads files of tables",
    "typer": "nothing: no test here uses the command line",
    "hypothesis": "nothing: no test here uses it",
    "pytest_timeout": "nothing: time limits are this script's own",
    "tomli_w": "nothing: recipes as TOML are tested on the CPU",
}
"""What is done without a package."""
STAND_IN = '''"""Names of jaxtyping for where it is missing: an annotated array is its array type."""


class _Array:
    def __class_getitem__(cls, item):
        return item[0]


def __getattr__(name):
    return _Array
'''
PROBE = """
import importlib.util, json, platform, shutil, sys
found = {"python": platform.python_version()}
found["missing"] = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
found["c++ compiler"] = next((c for c in ("g++", "clang++", "c++") if shutil.which(c)), None)
try:
    import torch
    found |= {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": torch.cuda.device_count()}
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
        found["memory_gb"] = round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1)
        torch.ones(2, device="cuda").sum().item()
except Exception as error:  # whatever keeps the GPU from being used is told
    found["error"] = f"{type(error).__name__}: {error}"
try:
    import triton
    found["triton"] = triton.__version__
except Exception:  # it may be there and fail to load
    found["triton"] = None
print("PROBE" + json.dumps(found))
"""


def main() -> int:
    options = arguments()
    started = time.monotonic()
    end = started + 60 * options.minutes
    out = Path(options.out).resolve() if options.out else ROOT / "runs" / "gpu-check"
    out.mkdir(parents=True, exist_ok=True)
    found = environment(options.device)
    name = found.get("device") if options.device.startswith("cuda") else options.device
    if not name:
        print(f"gpu-check: no {options.device} device here ({found.get('error', 'torch sees none')}).", file=sys.stderr)
        return 2
    left_out = {package: MISSING[package] for package in found["missing"]}
    if not found["c++ compiler"]:
        left_out["C++ compiler"] = "kernels for the CPU: eager mode is compared with"
    if options.device.startswith("cuda") and found.get("gpus", 0) < 2:
        left_out["second GPU"] = "two processes by NCCL"
    print(f"{name}, torch {found.get('torch')}, triton {found['triton']}, Python {found['python']}")
    for what, why in left_out.items():
        print(f"  without {what}: {why}")
    env = environ(options.device, out, found["missing"])
    tests = run_tests(options, env, out, started + TESTS_SHARE * (end - started), found, left_out)
    print_tests(tests)
    tables = {} if options.tests_only else run_tables(options, env, out, end, left_out)
    record = {
        "what": "scripts/gpu-check: the tests marked cuda and the speed tables, on one device",
        "device": name,
        "environment": found,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "date": time.strftime("%Y-%m-%d"),
        "counts": counts(tests),
        "tests": tests,
        "tables": tables,
        "left_out": left_out,
        "seconds": round(time.monotonic() - started, 1),
    }
    file = f"gpu-{'-'.join(''.join(c if c.isalnum() else ' ' for c in name).split())}.json"
    # What another device gives is no result of a GPU.
    folders = [ROOT / "benchmarks" / "results"] if options.device.startswith("cuda") else []
    for folder in dict.fromkeys((*folders, out)):
        write(folder / file, record)
    failed = [t for t in tests if t["outcome"] in BAD]
    places = " and ".join(map(str, [*folders, out]))
    print(f"{record['counts']} in {record['seconds']:.0f} s; {file} in {places}")
    return 1 if failed or not any(t["outcome"] == "passed" for t in tests) else 0


BAD = ("failed", "crashed", "timed out")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--out", help="folder for all that is written (also in benchmarks/results); runs/gpu-check")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--device", default="cuda", help="cpu proves the script itself")
    parser.add_argument("--jobs", type=int, default=None, help="processes that test at once; speed is measured alone")
    parser.add_argument("--only", default="", help="tests whose name has this text")
    parser.add_argument("--tests-only", action="store_true", help="no speed tables")
    parser.add_argument("--no-pytest", action="store_true", help="the built-in test runner, even where pytest is")
    return parser.parse_args()


def environment(device: str) -> dict[str, Any]:
    """What is here, found out in a process of its own: a broken driver may crash it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *MISSING], capture_output=True, text=True, timeout=START_LIMIT
        )
        line = next(line for line in done.stdout.splitlines() if line.startswith("PROBE"))
        found: dict[str, Any] = json.loads(line.removeprefix("PROBE"))
    except (subprocess.TimeoutExpired, StopIteration, ValueError) as error:
        found = {"python": sys.version.split()[0], "missing": [], "c++ compiler": None, "triton": None}
        found["error"] = f"looking for a device failed: {type(error).__name__}"
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        found["driver"] = None
    return found


def environ(device: str, out: Path, missing: Sequence[str]) -> dict[str, str]:
    paths = [str(ROOT / "src"), str(ROOT)]
    if "jaxtyping" in missing:
        (out / "stand-in").mkdir(exist_ok=True)
        (out / "stand-in" / "jaxtyping.py").write_text(STAND_IN)
        paths.append(str(out / "stand-in"))
    before = os.environ.get("PYTHONPATH")
    paths += [before] if before else []
    own = {"PYTHONPATH": os.pathsep.join(paths), "DASHPOT_TEST_DEVICE": device, "PYTHONHASHSEED": "0"}
    # Tests run side by side: a thread pool in each would only wait for cores.
    return {**os.environ, **own, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


# --- tests ----------------------------------------------------------------------------------------------------------


class Worker:
    """Some tests, in processes of which each goes on where the one before was lost.

    Args:
        ids: of the tests, in order.
        deadline: ``time.monotonic()`` at which it ends.
    """

    def __init__(
        self, number: int, ids: Sequence[str], env: dict[str, str], out: Path, deadline: float, flags: list[str]
    ):
        self.number, self.left, self.env, self.out, self.deadline = number, list(ids), env, out, deadline
        self.flags, self.found, self.rounds = flags, list[dict[str, Any]](), 0

    def run(self) -> None:
        while self.left and time.monotonic() < self.deadline and self.rounds < 60:
            self.rounds += 1
            self._process()
        for test in self.left:
            self.found.append({"id": test, "outcome": "not run", "seconds": 0.0, "message": "no time was left"})

    def _process(self) -> None:
        stem = self.out / f"worker-{self.number}-{self.rounds}"
        listed, events, log = stem.with_suffix(".json"), stem.with_suffix(".jsonl"), stem.with_suffix(".log")
        listed.write_text(json.dumps(self.left))
        events.write_text("")
        command = [sys.executable, str(ROOT / "scripts" / "gpu_worker.py"), str(listed), str(events), *self.flags]
        before = len(self.left)
        with log.open("w") as text, events.open() as reader:
            process = subprocess.Popen(
                command, stdout=text, stderr=subprocess.STDOUT, env=self.env, cwd=ROOT, start_new_session=True
            )
            running, since = None, time.monotonic()
            rest = ""
            while True:
                over = process.poll() is not None
                rest += reader.read()
                *lines, rest = rest.split("\n")
                for line in lines:
                    event = json.loads(line)
                    running, since = (event["id"] if event["event"] == "start" else None), time.monotonic()
                    if event["event"] == "end" and event["id"] in self.left:
                        self.left.remove(event["id"])
                        self.found.append({key: value for key, value in event.items() if key != "event"})
                if over:
                    break
                limit = START_LIMIT if running is None else limit_of(running)
                if time.monotonic() - since > limit or time.monotonic() > self.deadline:
                    break
                time.sleep(0.05)
            late = process.poll() is None
            if late:
                stop(process)
            ended = time.monotonic() > self.deadline
        lost = running if running in self.left else self.left[0] if len(self.left) == before else None
        if lost is None or (late and ended):
            return
        outcome = "timed out" if late else "crashed"
        tail = log.read_text(errors="replace")[-1500:]
        message = f"no answer after {limit:.0f} s" if late else f"the process ended with {process.returncode}"
        seconds = round(time.monotonic() - since, 2)
        self.left.remove(lost)
        self.found.append({"id": lost, "outcome": outcome, "seconds": seconds, "message": f"{message}\n{tail}"})


def limit_of(test: str) -> int:
    return COMPILE_LIMIT if "test_compiled" in test else TEST_LIMIT


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, and its own children."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=5)
            return
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def run_tests(
    options: argparse.Namespace,
    env: dict[str, str],
    out: Path,
    deadline: float,
    found: dict[str, Any],
    left_out: dict[str, str],
) -> list[dict[str, Any]]:
    flags = ["--no-pytest"] if options.no_pytest or "pytest" in found["missing"] else []
    listed = out / "collected.json"
    command = [sys.executable, str(ROOT / "scripts" / "gpu_worker.py"), "--collect", str(listed), *flags]
    ids: list[str] = []
    for again in ([], ["--no-pytest"]):  # a plugin of pytest's may be broken here
        try:
            with (out / "collect.log").open("w") as text:
                subprocess.run(
                    [*command, *again], stdout=text, stderr=subprocess.STDOUT, env=env, cwd=ROOT, timeout=START_LIMIT
                )
            whole = json.loads(listed.read_text())
            ids = whole["ids"]
            left_out |= whole["left_out"]
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue
        if ids:
            flags = flags or again
            break
    if not ids:
        left_out["tests"] = (out / "collect.log").read_text(errors="replace")[-1500:]
        return [{"id": "collection", "outcome": "failed", "seconds": 0.0, "message": left_out["tests"]}]
    if options.device.startswith("cuda") and not found["triton"]:
        ids = [test for test in ids if "test_compiled" not in test]
    ids = sorted((test for test in ids if options.only in test), key=rank)
    jobs = options.jobs or (max(1, min(5, (os.cpu_count() or 2) // 3)) if options.device.startswith("cuda") else 1)
    workers = [Worker(k, ids[k::jobs], env, out, deadline, flags) for k in range(jobs)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    print(f"{len(ids)} tests in {jobs} process{'es' * (jobs > 1)}", flush=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted((test for worker in workers for test in worker.found), key=lambda test: rank(test["id"]))


def rank(test: str) -> tuple[int, int, str]:
    """What matters most first; what is compiled, which takes long, last."""
    file = test.split("::")[0].rpartition("/")[2].removesuffix(".py")
    law = "test_law[" in test
    return (2 if file == "test_compiled" and law else 1 if law or file == "test_compiled" else 0), _place(file), test


def _place(file: str) -> int:
    return FIRST.index(file) if file in FIRST else len(FIRST)


def counts(tests: Sequence[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for test in tests:
        found[test["outcome"]] = found.get(test["outcome"], 0) + 1
    return found


def print_tests(tests: Sequence[dict[str, Any]]) -> None:
    for test in tests:
        if test["outcome"] in BAD:
            lines = test["message"].strip().splitlines()
            print(f"  {test['outcome']}: {test['id']}\n      {lines[-1][:200] if lines else ''}")
    slow = sorted(tests, key=lambda test: -test["seconds"])[:3]
    shown = ", ".join(test["id"].split("::")[-1] + f" {test['seconds']:.0f} s" for test in slow)
    print(f"tests: {counts(tests)}; slowest {shown}", flush=True)


# --- speed ----------------------------------------------------------------------------------------------------------


def run_tables(
    options: argparse.Namespace, env: dict[str, str], out: Path, end: float, left_out: dict[str, str]
) -> dict[str, Any]:
    """Each table alone on the machine, in a process of its own."""
    found: dict[str, Any] = {}
    for name, most in TABLES.items():
        limit = min(most, end - time.monotonic())
        if limit < 10:
            left_out[f"table {name}"] = "no time was left"
            continue
        result, log = out / f"table-{name}.json", out / f"table-{name}.log"
        result.unlink(missing_ok=True)
        command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "speed" / f"{name}.py"), "--quick"]
        command += ["--device", options.device, "--result", str(result)]
        started = time.monotonic()
        with log.open("w") as text:
            process = subprocess.Popen(
                command, stdout=text, stderr=subprocess.STDOUT, env=env, cwd=ROOT, start_new_session=True
            )
            try:
                process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                stop(process)
                left_out[f"table {name}"] = f"not done after {limit:.0f} s"
        try:
            found[name] = json.loads(result.read_text())
            print(f"table {name}: {time.monotonic() - started:.0f} s", flush=True)
        except (OSError, ValueError):
            left_out.setdefault(f"table {name}", log.read_text(errors="replace")[-1500:])
            print(f"table {name}: {left_out[f'table {name}'].strip().splitlines()[-1:]}", flush=True)
    return found


def git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def write(path: Path, record: dict[str, Any]) -> None:
    """As a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(draft, path)


if __name__ == "__main__":
    sys.exit(main())
