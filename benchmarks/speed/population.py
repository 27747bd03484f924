"""The cost of a member's step in a population, against networks trained one after the other in plain PyTorch.

The plain arm is what a practitioner writes: AdamW(fused=True), nn.Dropout, Mixup with one share per sample, label
smoothing by the loss, exact zeros by an in-place soft threshold after the step at Adam's own step size, batches by
index. It may not use anything of this library. Both arms do the same work: batch 128, 40 columns, 10 classes, the same
recipe in every step, one thread, in turn in one process. Members differ in seed, learning rate and strengths. Then both
arms train on scikit-learn's digits, to show that what is fast learns as well.

Run: ``python benchmarks/speed/population.py [--threads 1] [--rounds 7]``
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import digits, interleave, options, ratios, write_result

import dashpot
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.population.sizes import fast_bfloat16

DEVICE = "cpu"
SHAPES = [(64, 3), (64, 9), (128, 3), (256, 3), (256, 9), (512, 3)]
ROWS, COLUMNS, CLASSES, BATCH, ENDLESS = 1024, 40, 10, 128, 100_000
ALPHA, SMOOTHING, STRENGTH = 0.3, 0.1, 1e-4


def network(columns: int, width: int, depth: int, norm: bool, p: float = 0.0) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(nn.Linear(columns if i == 0 else width, width))
        layers += [nn.BatchNorm1d(width)] if norm else []
        layers.append(nn.ReLU())
        # Before a batch normalization dropout does harm: with one it is only after the last activation, in both arms.
        layers += [nn.Dropout(p)] if not norm or i == depth - 1 else []
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def rate(i: int) -> float:
    return 0.05 + 0.2 * i / 64


def plain_epoch(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor, lr: float) -> None:
    """One epoch as it is written by hand."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
    order = torch.randperm(len(x), device=x.device)
    shape = torch.tensor(ALPHA, device=x.device)
    beta = torch.distributions.Beta(shape, shape)
    weights = [p for p in model.parameters() if p.ndim > 1]
    for rows in order.split(BATCH):
        xb, yb = x[rows], functional.one_hot(y[rows], CLASSES).float()
        share, partner = beta.sample((len(rows), 1)), torch.randperm(len(rows), device=x.device)
        xb, yb = torch.lerp(xb[partner], xb, share), torch.lerp(yb[partner], yb, share)
        loss = functional.cross_entropy(model(xb), yb, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for p in weights:
                state = optimizer.state[p]
                denominator = (state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))).sqrt_().add_(1e-8)
                threshold = (lr * STRENGTH) / denominator
                p.sub_(torch.minimum(torch.maximum(p, -threshold), threshold))


def plain(width: int, depth: int, norm: bool, x: Tensor, y: Tensor) -> Callable[[], None]:
    model = network(COLUMNS, width, depth, norm, rate(32)).to(x.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    return lambda: plain_epoch(model, optimizer, x, y, 1e-3)


def recipe(i: int) -> dashpot.Recipe:
    return dashpot.Recipe(
        (
            dashpot.Mixup(alpha=ALPHA),
            dashpot.Dropout(p=rate(i)),
            dashpot.LabelSmoothing(smoothing=SMOOTHING),
            dashpot.L1(strength=STRENGTH),
        )
    )


def population(
    count: int,
    width: int,
    depth: int,
    norm: bool,
    x: Tensor,
    y: Tensor,
    bfloat16: bool,
    epochs: int = ENDLESS,
    rows: Any = None,
) -> Population:
    def make() -> nn.Module:
        return network(x.shape[1], width, depth, norm)

    rows = np.arange(len(x)) if rows is None else rows
    members = [Member(make=make, recipe=recipe(i), lr=1e-3 * (1 + i / 64), seed=i, rows=rows) for i in range(count)]
    return Population(
        members,
        [(x, y)],
        epochs=epochs,
        batch_size=BATCH,
        schedule="constant" if epochs == ENDLESS else "cosine",
        bfloat16=bfloat16,
        device=DEVICE,
    )


def arms(width: int, depth: int, norm: bool, count: int) -> tuple[dict[str, Callable[[], None]], dict[str, int]]:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(ROWS, COLUMNS, generator=g), torch.randint(0, CLASSES, (ROWS,), generator=g)
    x, y = x.to(DEVICE), y.to(DEVICE)
    found = {"plain": plain(width, depth, norm, x, y)}
    members = {"plain": 1}
    kinds = [("float32", False), *([("bfloat16", True)] if fast_bfloat16(torch.device(DEVICE)) else [])]
    for name, bfloat16 in kinds:
        for number in (1, count):
            together = population(number, width, depth, norm, x, y, bfloat16)
            key = f"{name}, {number} member{'s' if number > 1 else ''}"
            # The default holds the loop's value.
            found[key] = lambda together=together: together.train(1)  # type: ignore[misc]
            members[key] = number
    return found, members


def accuracy(rounds: int, epochs: int = 60) -> dict[str, Any]:
    """Both arms on digits: 1200 rows to train, 597 to test, another seed each round."""
    data, target, _ = digits()
    x, y = torch.tensor(data / 16, dtype=torch.float32), torch.tensor(target)
    order = np.random.default_rng(0).permutation(len(x))
    rows, test = np.sort(order[:1200]), np.sort(order[1200:])
    result: dict[str, list[float]] = {}

    def hit(out: Tensor) -> float:
        return float((out.argmax(1).cpu() == y[test]).float().mean())

    for name, bfloat16 in (("float32", False), ("bfloat16", True)):
        together = population(rounds, 128, 3, False, x, y, bfloat16, epochs, rows)
        together.train(epochs)
        result[f"population, {name}"] = [
            hit(out) for out in together.outputs(dict.fromkeys(range(rounds), test)).values()
        ]
        result[f"zeros of the population, {name}"] = [
            float((together.tensors(k)["3.weight"] == 0).float().mean()) for k in range(rounds)
        ]
    for seed in range(rounds):
        torch.manual_seed(seed)
        model, base = network(64, 128, 3, False, rate(seed)), 1e-3 * (1 + seed / 64)
        optimizer = torch.optim.AdamW(model.parameters(), lr=base, weight_decay=0.0, fused=True)
        for epoch in range(epochs):
            plain_epoch(model, optimizer, x[rows], y[rows], base * (1 + np.cos(np.pi * epoch / epochs)) / 2)
        with torch.no_grad():
            result.setdefault("plain", []).append(hit(model.eval()(x[test])))
        result.setdefault("zeros of plain", []).append(float((model[3].weight == 0).float().mean()))
    return {
        name: {"mean": statistics.mean(v), "standard error": statistics.stdev(v) / len(v) ** 0.5}
        for name, v in result.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=16)
    global DEVICE
    chosen = options(parser)
    DEVICE = chosen.device
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    learned = {} if chosen.quick else accuracy(chosen.seeds)
    table: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for norm in (False,) if chosen.quick else (False, True):
        for width, depth in [(64, 3), (256, 3), (512, 3)] if chosen.quick else SHAPES:
            name = f"{width}/{depth}{', batch norm' if norm else ''}"
            found, members = arms(width, depth, norm, 32 if width < 512 or DEVICE != "cpu" else 16)
            times = interleave(found, 5 if chosen.quick else chosen.rounds, DEVICE)
            each = {key: [t / members[key] for t in values] for key, values in times.items()}
            inverse = ratios({key: [1 / t for t in values] for key, values in each.items()}, "plain")
            table[name] = inverse
            seconds[name] = statistics.median(each["plain"]) / (ROWS // BATCH)
            print(
                f"{name:<22}",
                {key: round(value["median"], 2) for key, value in inverse.items()},
                f"plain {seconds[name] * 1e6:.0f} us",
                flush=True,
            )
    write_result(
        f"population-{chosen.threads}-thread{'s' if chosen.threads > 1 else ''}",
        {
            "what": (
                "a member's step in a population, times as fast as a step of plain PyTorch with fused AdamW, the same"
                " recipe in both"
            ),
            "times as fast": table,
            "accuracy on digits": learned,
            "seconds of a plain step": seconds,
            "device": DEVICE,
        },
        chosen.result,
    )


if __name__ == "__main__":
    main()
