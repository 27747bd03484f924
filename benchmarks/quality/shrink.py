"""Test accuracy at a size that was asked for: networks dense, compressed while they train, pruned by Torch-Pruning, and
built narrow.

usps (7,291 to train, 2,007 to test, its own split): a residual convnet with batch norm of 78 thousand parameters and a
plain one of 73 thousand, 20 epochs in all; digits (1,797 rows, 30 % to test): a perceptron of 85 thousand, 60 epochs.
Batches of 128, AdamW at 3e-3, a cosine to zero, in all arms. ``Compress`` has no strength to choose; by what units
leave was chosen on other splits of digits and on training rows of usps. *faster* asks it for a time, which is measured
again afterwards. Torch-Pruning: 40 % of the epochs dense, 30 % with the sparsity of its GroupNormPruner, pruned
globally to the size, and 30 % after, each part with a cosine of its own. The narrow nets have the same shape and the
widths that come nearest to the size from below.

*faster* has the seconds beside a pass over the rows at full size just before, too.

Run: ``python benchmarks/quality/shrink.py --data FOLDER [--seeds 3] [--arms dense,compress,faster,narrow,pruned]
[--result FILE]``. Each row is appended to FILE.jsonl as it is there, and rows that are there are not made again.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, write_result

import dashpot
from dashpot.shrinking.timing import BATCHES, latencies

Data = tuple[Tensor, Tensor, Tensor, Tensor]
BATCH, LR = 128, 3e-3


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.second, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if stride > 1:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.short(x) + self.norm2(self.second(self.norm(self.first(x)).relu()))).relu()
        return out


def residual(one: int, two: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, one, 3, padding=1, bias=False), nn.BatchNorm2d(one), nn.ReLU()),
        *(Block(one, one), Block(one, two, 2), Block(two, two)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(two, 10)),
    )


def plain(one: int, two: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, one, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(one, two, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(two, two, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(4 * two, 10),
    )


def perceptron(one: int, two: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, one), nn.ReLU(), nn.Linear(one, two), nn.ReLU(), nn.Linear(two, 10))


def usps(folder: Path, seed: int) -> Data:
    parts = np.load(folder / "usps.npz")
    x, x_test = (torch.as_tensor(parts[name]).float()[:, None] / 127.5 - 1 for name in ("X_train", "X_test"))
    y, y_test = (torch.as_tensor(parts[name]).long() for name in ("y_train", "y_test"))
    return x, y, x_test, y_test


def digits(folder: Path, seed: int) -> Data:
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    x, y = torch.as_tensor(rows).float() / 8 - 1, torch.as_tensor(labels).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, train = order[: 3 * len(x) // 10], order[3 * len(x) // 10 :]
    return x[train], y[train], x[test], y[test]


@dataclass(frozen=True)
class Case:
    """A network on data, and the sizes that are asked for."""

    make: Callable[[int, int], nn.Module]
    widths: tuple[int, int]
    data: Callable[[Path, int], Data]
    epochs: int
    sizes: tuple[int, ...]
    times: tuple[str, ...] = ()


TIMES = "2x faster", "3x faster", "1.5x faster at batch 1"
CASES = {
    "usps residual": Case(residual, (23, 46), usps, 20, (20_000, 8_000), TIMES),
    "usps plain": Case(plain, (32, 75), usps, 20, (5_000,)),
    "digits perceptron": Case(perceptron, (256, 256), digits, 60, (17_000, 6_000)),
}
ARMS = "dense", "compress", "faster", "narrow", "pruned"


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def made(case: Case, widths: tuple[int, int], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return case.make(*widths)


def narrow(case: Case, size: int) -> tuple[int, int]:
    """The widths, in the proportion of the full ones, that come nearest to a size from below."""
    share = case.widths[1] / case.widths[0]
    pairs = [(one, round(share * one) + more) for one in range(2, case.widths[0]) for more in range(-3, 4)]
    sized = {pair: count(case.make(*pair)) for pair in pairs if pair[1] > 0}
    return max((pair for pair, found in sized.items() if found <= size), key=lambda pair: sized[pair])


def answers(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in x.split(512)])


def fitted(model: nn.Module, recipe: Any, data: Data, seed: int, epochs: int) -> tuple[nn.Module, dict[str, Any]]:
    x, y, x_test, _ = data
    few = (x[:BATCH], y[:BATCH])
    result = dashpot.fit(
        model, (x, y), valid=few, recipe=recipe, epochs=epochs, batch_size=BATCH, lr=LR, seed=seed, progress=False
    )
    found = {}
    if result.large is not None:  # the same function in the size that the network had at first
        same = answers(result.large, x_test) == answers(result.model, x_test)
        found["answers that the cut changed"] = int((~same).sum())
        rows = [((x_test[:batch],), {}) for batch in BATCHES]
        pairs = [latencies([(result.large, given), (result.model, given)]) for given in rows]
        found |= {
            f"times as fast at batch {batch}": old / new for batch, (old, new) in zip(BATCHES, pairs, strict=True)
        }
    return result.model, found


def pruned(model: nn.Module, size: int, data: Data, seed: int, epochs: int) -> tuple[nn.Module, dict[str, Any]]:
    """Dense, sparse, cut, and on; by Torch-Pruning."""
    import torch_pruning as tp

    x, y, x_test, y_test = data
    head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    order = torch.Generator().manual_seed(seed)

    def pruner(net: nn.Module, ratio: float) -> Any:
        last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
        return tp.pruner.GroupNormPruner(
            *(net, x[:2]),
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            global_pruning=True,
            ignored_layers=[last],
        )

    def train(length: int, sparse: Any = None) -> None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
        batches = math.ceil(len(x) / BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length * batches)
        model.train()
        for _ in range(length):
            if sparse is not None:
                sparse.update_regularizer()
            for rows in torch.randperm(len(x), generator=order).split(BATCH):
                optimizer.zero_grad()
                cross_entropy(model(x[rows]), y[rows]).backward()
                if sparse is not None:
                    sparse.regularize(model)
                optimizer.step()
                schedule.step()

    first, last = round(0.4 * epochs), round(0.3 * epochs)
    assert head.out_features == 10
    train(first)
    train(epochs - first - last, pruner(model, 0.5))
    low, high, best = 0.0, 1.0, None
    for _ in range(14):
        middle = (low + high) / 2
        trial = copy.deepcopy(model)
        pruner(trial, middle).step()
        if count(trial) <= size:
            high, best = middle, trial
        else:
            low = middle
    assert best is not None
    before = float((answers(model, x_test) == y_test).float().mean())
    model = best
    after = float((answers(model, x_test) == y_test).float().mean())
    train(last)
    return model, {"accuracy before the cut": before, "accuracy after the cut": after}


def dense_seconds(case: Case, data: Data, seed: int) -> float:
    """Processor time of a whole training at full size, by its second epoch."""
    taken = []
    for epochs in (1, 2):
        model, started = made(case, case.widths, seed), time.process_time()
        fitted(model, None, data, seed, epochs)
        taken.append(time.process_time() - started)
    return case.epochs * (taken[1] - taken[0])


def one(case: Case, arm: str, size: Any, seed: int, folder: Path) -> dict[str, Any]:
    data = case.data(folder, seed)
    started, full = time.process_time(), 0.0
    widths = narrow(case, size) if arm == "narrow" and size is not None else case.widths
    model = made(case, widths, seed)
    if arm == "pruned":
        assert size is not None
        model, found = pruned(model, size, data, seed, case.epochs)
    else:
        to = f"{size} parameters" if arm == "compress" else str(size)
        full = dense_seconds(case, data, seed) if arm == "faster" else 0.0
        started = time.process_time()
        recipe = dashpot.Compress(to=to) if arm in ("compress", "faster") else None
        model, found = fitted(model, recipe, data, seed, case.epochs)
    took = time.process_time() - started
    if arm == "faster":
        found["seconds beside full size"] = took / full
    right = answers(model, data[2]) == data[3]
    return {
        "accuracy": float(right.float().mean()),
        "parameters": count(model),
        "macs": dashpot.shrink(model, data[0][:2]).before.macs,
        "seconds of processor time": took,
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--result", type=Path, default=RESULTS / "shrink-quality.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    log = options.result.with_suffix(".jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    there = {(row["case"], row["arm"], row["size"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for name in options.cases.split(","):
            for arm in options.arms.split(","):
                case = CASES[name]
                for size in (None,) if arm == "dense" else case.times if arm == "faster" else case.sizes:
                    if (name, arm, size, seed) in there:
                        continue
                    found = one(case, arm, size, seed, options.data)
                    row = {"case": name, "arm": arm, "size": size, "seed": seed, **found}
                    with log.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(row, flush=True)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    table: dict[str, Any] = {}
    for key in dict.fromkeys((row["case"], row["arm"], row["size"]) for row in rows):
        own = [row for row in rows if (row["case"], row["arm"], row["size"]) == key]
        numbers = [k for k in own[0] if k not in ("case", "arm", "size", "seed")]
        label = f"{key[0]}, {key[1]}" + (f" {key[2]}" if key[2] else "")
        table[label] = {"seeds": len(own), **{k: statistics.mean(row[k] for row in own) for k in numbers}}
    write_result("shrink-quality", {"what": __doc__.split("\n\n")[1], "arms": table}, options.result)


if __name__ == "__main__":
    main()
