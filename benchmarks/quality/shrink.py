"""Test accuracy at a size that was asked for: a residual convnet dense, compressed while it trains, and built narrow.

usps (7,291 to train, 2,007 to test, its own split), a residual convnet with batch norm of 78 thousand parameters, 20
epochs in all, batches of 128, AdamW at 3e-3 whose rate falls to zero by a cosine, in all arms. ``Compress`` has no
strength to choose; nothing else was chosen either, on these rows or others. The narrow nets are the same net with the
widths that come nearest to the size from below.

Run: ``python benchmarks/quality/shrink.py --data FOLDER [--seeds 3] [--epochs 20] [--result FILE]``; results are
written only of 20 epochs, or where a file is named.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result

import dashpot

WIDTHS = 23, 46
TARGETS = {"20k": 20_000, "8k": 8_000}
EPOCHS = 20


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


def network(one: int, two: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, one, 3, padding=1, bias=False), nn.BatchNorm2d(one), nn.ReLU()),
        *(Block(one, one), Block(one, two, 2), Block(two, two)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(two, 10)),
    )


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def narrow(size: int) -> tuple[int, int]:
    """The widths, the second about twice the first, that come nearest to a size from below."""
    pairs = [(one, two) for one in range(2, 24) for two in (2 * one - 1, 2 * one, 2 * one + 1)]
    return max((pair for pair in pairs if count(network(*pair, 0)) <= size), key=lambda pair: count(network(*pair, 0)))


def split(folder: Path) -> tuple[Tensor, ...]:
    parts = np.load(folder / "usps.npz")
    images = (torch.as_tensor(parts[name]).float()[:, None] / 127.5 - 1 for name in ("X_train", "X_test"))
    return (*images, *(torch.as_tensor(parts[name]).long() for name in ("y_train", "y_test")))


def measured(model: nn.Module, recipe: Any, data: tuple[Tensor, ...], seed: int, epochs: int) -> dict[str, float]:
    x, x_test, y, y_test = data
    few, started = (x[:128], y[:128]), time.process_time()
    result = dashpot.fit(
        model, (x, y), valid=few, recipe=recipe, epochs=epochs, batch_size=128, lr=3e-3, seed=seed, progress=False
    )
    took = time.process_time() - started
    with torch.no_grad():
        right = torch.cat([result.model(part).argmax(1) for part in x_test.split(512)]) == y_test
        same = 1.0
        if result.large is not None:
            large = torch.cat([result.large(part).argmax(1) for part in x_test.split(512)]) == y_test
            same = float((large == right).float().mean())
    return {
        "accuracy": float(right.float().mean()),
        "parameters": count(result.model),
        "macs": dashpot.shrink(result.model, x[:2]).before.macs,
        "share of rows answered alike before the cut": same,
        "seconds of processor time": took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--result", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = split(options.data)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        arms: dict[str, tuple[tuple[int, int], Any]] = {"dense": (WIDTHS, None)}
        for name, size in TARGETS.items():
            arms[f"compress to {name}"] = WIDTHS, dashpot.Compress(to=f"{size} parameters")
            arms[f"built with {name}"] = narrow(size), None
        for name, (widths, recipe) in arms.items():
            row = measured(network(*widths, seed), recipe, data, seed, options.epochs)
            rows.setdefault(name, []).append(row)
            print(name, seed, row, flush=True)
    table = {
        name: {key: statistics.mean(row[key] for row in found) for key in found[0]} for name, found in rows.items()
    }
    record = {"what": __doc__.split("\n\n")[1], "epochs": options.epochs, "seeds": options.seeds, "arms": table}
    if options.result is not None or options.epochs == EPOCHS:
        write_result("shrink-usps", {**record, "each": rows}, options.result)


if __name__ == "__main__":
    main()
