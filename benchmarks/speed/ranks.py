"""Ranks of DistributedDataParallel: rows a second with 1, 2 and 4 against one process, and what a recipe adds to steps.

MLP 3x512, 64 inputs, 10 classes, 128 rows a rank and step, AdamW, one thread a rank, gloo. Four processes are started
once; in each round every number of ranks trains every arm, in random order, while the other processes wait. Throughput
is by the clock; what a recipe adds is by the processor time of the first rank, too, since a rank waits for the slowest.
Run: ``python benchmarks/speed/ranks.py --rounds 7``
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result

import dashpot
from dashpot.core import threads

SIZE, COUNTS = 128, (1, 2, 4)
L1, GROUPS = dashpot.L1(strength=1e-4), dashpot.GroupLasso(strength=1e-4)
ARMS: dict[str, tuple[Any, Any]] = {
    "raw": (None, None),
    "nothing": (dashpot.Recipe(), None),
    "L1": (L1, None),
    "group lasso": (GROUPS, None),
    "EMA": (dashpot.EMA(decay=0.999), None),
    "L1, dashpot.optim.AdamW": (None, L1),
    "group lasso, dashpot.optim.AdamW": (None, GROUPS),
}
"""What is attached, or is the penalty of the optimizer."""
ONE = "one process without DistributedDataParallel"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (64, 512, 512):
        layers += [nn.Linear(inputs, 512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def training(arm: str, group: Any) -> tuple[Callable[[int], None], Callable[[], None]]:
    """What trains an arm for so many steps, and what ends it."""
    recipe, penalty = ARMS[arm]
    net = network()
    model = net if group is None else DistributedDataParallel(net, process_group=group)
    optimizer: Any = (
        torch.optim.AdamW(model.parameters(), lr=1e-3)
        if penalty is None
        else dashpot.optim.AdamW(net, lr=1e-3, penalty=penalty, engine="native")
    )
    session = None if recipe is None else recipe.attach(model, optimizer)
    x, y = torch.randn(SIZE, 64), torch.randint(10, (SIZE,))

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()

    return train, (lambda: None) if session is None else session.close


def work(rank: int, folder: str, rounds: int, steps: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    place = {"init_method": f"file://{folder}/store", "rank": rank, "world_size": max(COUNTS)}
    dist.init_process_group("gloo", **place)
    groups = {count: dist.new_group(list(range(count))) for count in COUNTS}  # every process makes all
    cases = [(ONE, 1, "raw"), *((str(count), count, arm) for count, arm in itertools.product(COUNTS, ARMS))]
    seconds: dict[str, list[tuple[float, float]]] = {}
    order = random.Random(0)
    for number in range(rounds + 1):
        order.shuffle(cases)
        for name, count, arm in cases:
            dist.barrier()
            if rank >= count:
                continue
            train, end = training(arm, None if name == ONE else groups[count])
            train(2)  # what is built by a first step, such as buckets and kernels
            dist.barrier(groups[count])
            clock, cpu = time.perf_counter(), time.process_time()
            train(steps)
            taken = time.perf_counter() - clock, time.process_time() - cpu
            end()
            if number:
                seconds.setdefault(f"{name} | {arm}", []).append(taken)
    if rank == 0:
        torch.save(seconds, Path(folder) / "seconds.pt")
    dist.barrier()
    dist.destroy_process_group()


def spread(values: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "quartiles": [low, high]}


def summary(seconds: dict[str, list[tuple[float, float]]], steps: int) -> dict[str, Any]:
    one = [clock for clock, _ in seconds[f"{ONE} | raw"]]
    found: dict[str, Any] = {}
    for count in COUNTS:
        raw = seconds[f"{count} | raw"]
        arms = {}
        for arm in ARMS:
            if arm == "raw":
                continue
            pairs = list(zip(seconds[f"{count} | {arm}"], raw, strict=True))
            arms[arm] = {
                "to raw, by the clock": spread([mine[0] / theirs[0] for mine, theirs in pairs]),
                "share of a step, by processor time": spread([1 - theirs[1] / mine[1] for mine, theirs in pairs]),
            }
        found[str(count)] = {
            "rows a second": statistics.median(count * SIZE * steps / clock for clock, _ in raw),
            "throughput to one process": spread([count * a / b for a, (b, _) in zip(one, raw, strict=True)]),
            "arms": arms,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="of each arm in each round")
    parser.add_argument("--result", type=Path, default=None, help="a file for the result, instead of results/")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    started, load = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder, given.rounds, given.steps), nprocs=max(COUNTS))
        seconds = torch.load(Path(folder) / "seconds.pt")
    write_result(
        "ranks",
        {
            "what": "Ranks of DistributedDataParallel: throughput against one process, and what a recipe adds. "
            "Other work ran beside on the same cores.",
            "rows a rank and step": SIZE,
            "steps": given.steps,
            "rounds": given.rounds,
            "cores": threads.cores(),
            "load before": load,
            "ranks": summary(seconds, given.steps),
            "seconds": time.perf_counter() - started,
        },
        given.result,
    )


if __name__ == "__main__":
    main()
