"""``dashpot.fit`` on tensors against the DataLoader loop of the PyTorch tutorials, per epoch, on digits; same accuracy.

Three networks of two hidden layers, batches of 64 (the tutorials' size) and 128, Adam at 1e-3, validation after each
epoch. The tutorial's loop is written as its readers write it (TensorDataset, DataLoader with shuffle, Adam with default
arguments). ``dashpot.fit`` does more per epoch: it also scores as many training rows as there are validation rows, in
evaluation mode. The wider the network, the less the loop matters. Run: ``python benchmarks/speed/fit.py``
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import digits, interleave, options, ratios, write_result

import dashpot

EPOCHS, ROUNDS = 20, 9
Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
DEVICE = "cpu"


def network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def tutorial(parts: Parts, model: nn.Module, batch_size: int) -> float:
    x, x_val, y, y_val = parts
    loader = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)
    val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=batch_size)
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    hits = 0.0
    for _ in range(EPOCHS):
        model.train()
        for xb, yb in ((xb.to(DEVICE), yb.to(DEVICE)) for xb, yb in loader):
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        hits = 0.0
        with torch.no_grad():
            for xb, yb in ((xb.to(DEVICE), yb.to(DEVICE)) for xb, yb in val_loader):
                hits += (model(xb).argmax(1) == yb).float().sum().item()
    return hits / len(y_val)


def ours(parts: Parts, model: nn.Module, batch_size: int) -> float:
    x, x_val, y, y_val = parts
    settings = {"schedule": "constant", "batch_size": batch_size, "epochs": EPOCHS, "progress": False, "device": DEVICE}
    result = dashpot.fit(model, (x, y), valid=(x_val, y_val), **settings)
    return result.history[-1]["val_accuracy"]


TRAIN = {"tutorial loop": tutorial, "dashpot.fit": ours}


def run(
    parts: Parts, width: int, batch_size: int, train: Callable[[Parts, nn.Module, int], float], scores: list[float]
) -> None:
    scores.append(train(parts, network(width, len(scores)).to(DEVICE), batch_size))


def split() -> tuple[Parts, str]:
    """Three quarters of each digit to train, the rest to score."""
    data, target, what = digits()
    rng, parts = np.random.default_rng(0), ([], [])
    for digit in range(10):
        rows = rng.permutation(np.flatnonzero(target == digit))
        parts[0].append(rows[len(rows) // 4 :])
        parts[1].append(rows[: len(rows) // 4])
    train, held = (np.sort(np.concatenate(part)) for part in parts)
    x, y = torch.as_tensor(data.astype("float32") / 16), torch.as_tensor(target)
    return (x[train], x[held], y[train], y[held]), what


def main() -> None:
    global DEVICE
    chosen = options(argparse.ArgumentParser(description=__doc__))
    DEVICE = chosen.device
    torch.set_num_threads(1)
    parts, what = split()
    record: dict[str, object] = {
        "what": f"{EPOCHS} epochs on {what} ({len(parts[0]):,} rows), one thread; ratio below 1 means dashpot.fit takes"
        " less time",
        "device": DEVICE,
    }
    sizes = ((256, 128),) if chosen.quick else itertools.product((64, 256, 512), (64, 128))
    for width, batch_size in sizes:
        accuracy: dict[str, list[float]] = {name: [] for name in TRAIN}
        arms = {
            name: functools.partial(run, parts, width, batch_size, train, accuracy[name])
            for name, train in TRAIN.items()
        }
        times = interleave(arms, 4 if chosen.quick else ROUNDS, DEVICE)
        record[f"width {width}, batch {batch_size}"] = {
            "seconds": times,
            "ratio to the tutorial loop": ratios(times, to="tutorial loop")["dashpot.fit"],
            "mean validation accuracy": {name: sum(values) / len(values) for name, values in accuracy.items()},
        }
    write_result("fit", record, chosen.result)


if __name__ == "__main__":
    main()
