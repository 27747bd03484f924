"""What all benchmarks share: arms in turn in one process, ratios, and a result file that names the machine."""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dashpot.core.environment import machine, versions

RESULTS = Path(__file__).resolve().parent / "results"


def options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, with what every script that measures on a device knows."""
    parser.add_argument("--device", default="cpu", help="where to measure, such as cuda")
    parser.add_argument("--quick", action="store_true", help="fewer arms and rounds, for a first look")
    parser.add_argument("--result", type=Path, default=None, help="a file for the result, instead of results/")
    return parser.parse_args()


def done(device: str) -> None:
    """Wait until the device has done all its work: a GPU only takes orders."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def digits() -> tuple[Any, Any, str]:
    """scikit-learn's digits, or rows of their shape that are made up where it is missing; and which of the two."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        import numpy as np

        random = np.random.default_rng(0)
        y = random.integers(10, size=1797)
        centres = random.uniform(0, 16, size=(10, 64))
        return np.clip(centres[y] + random.normal(0, 6, size=(1797, 64)), 0, 16), y, "made-up digits"
    data, target = load_digits(return_X_y=True)
    return data, target, "digits"


def interleave(
    arms: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each arm in each round, after one uncounted round; the order within a round is random, so drift of the
    machine hits all arms alike. ``time.process_time`` as ``clock`` counts what the processor works for this process:
    for one thread beside other work.
    """
    for arm in arms.values():
        arm()
    done(device)
    order, times = list(arms), {name: [] for name in arms}
    shuffle = random.Random(0)
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            started = clock()
            arms[name]()
            done(device)
            times[name].append(clock() - started)
    return times


def ratios(times: Mapping[str, Sequence[float]], to: str) -> dict[str, dict[str, float]]:
    """For each arm its time over that of ``to``, round by round: median and quartiles."""
    result = {}
    for name, values in times.items():
        if name != to:
            low, middle, high = statistics.quantiles([a / b for a, b in zip(values, times[to], strict=True)], n=4)
            result[name] = {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
    return result


def write_result(name: str, record: Mapping[str, Any], path: Path | None = None) -> None:
    """Print ``record`` and write it to ``path`` or ``results/<name>.json``, with date, machine and versions."""
    import torch

    RESULTS.mkdir(exist_ok=True)
    whole = {
        **record,
        "threads": torch.get_num_threads(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }
    text = json.dumps(_rounded(whole), indent=1)
    (path or RESULTS / f"{name}.json").write_text(text + "\n")
    print(json.dumps({key: value for key, value in _rounded(record).items() if key != "seconds"}, indent=1))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
