"""Test accuracy against exact zeros on images: dashpot's penalties, L1 in the loss with a cut-off, and torchao's
``pat``.

digits: MLP 64-256-256-10, 60 epochs, batch 64, AdamW at 5e-3, five splits and initial weights. usps: a convnet of 73
thousand parameters on its own split. The learning rate falls to zero by a cosine in all arms. Zeros are counted over
the weight matrices and kernels, as exactly 0.0.

Each arm has its own strengths and each is in the result, so that a family is a curve; "best at" is the best mean among
a family's strengths with at least so many zeros. That choice is made on the test rows, for all families alike: it says
what a family can reach, not what a user who tunes would get.

Run: ``python benchmarks/quality/zeros.py [digits] [usps] [--data FOLDER]`` (digits need no folder; ``pat`` is left out
where torchao is missing)
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result

import dashpot

DATA = Path("data")
CUTS = (0.67, 0.83, 0.9, 0.95)


@dataclass(frozen=True)
class Problem:
    """A network, data, and how long to train."""

    make: Callable[[], nn.Module]
    split: Callable[[int], tuple[Tensor, Tensor, Tensor, Tensor]]
    epochs: int
    batch: int
    lr: float

    def network(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return self.make()

    def steps(self, rows: int) -> int:
        return self.epochs * -(-rows // self.batch)

    def fit(
        self, model: nn.Module, x: Tensor, y: Tensor, seed: int, epochs: int = 0, lr: float = 0.0, **options: Any
    ) -> None:
        # A few rows as `valid` make the scores at the end of an epoch cheap; nothing is chosen by them.
        few = (x[: self.batch], y[: self.batch])
        size = {"epochs": epochs or self.epochs, "batch_size": self.batch, "lr": lr or self.lr}
        dashpot.fit(model, (x, y), valid=few, seed=seed, progress=False, device="cpu", **size, **options)


@dataclass(frozen=True)
class Arm:
    """One setting of a method."""

    family: str
    setting: str
    train: Callable[[Problem, int, Tensor, Tensor], nn.Module] = field(repr=False)


def kernels(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.ndim > 1]


def zeros(model: nn.Module) -> float:
    weights = kernels(model)
    return sum(int((p == 0).sum()) for p in weights) / sum(p.numel() for p in weights)


def zero_rows(model: nn.Module) -> int:
    return sum(int((p.flatten(1) == 0).all(1).sum()) for p in kernels(model))


def with_recipe(recipe: dashpot.Technique | None, problem: Problem, seed: int, x: Tensor, y: Tensor) -> nn.Module:
    model = problem.network(seed)
    problem.fit(model, x, y, seed, recipe=recipe)
    return model


def in_the_loss(strength: float, problem: Problem, seed: int, x: Tensor, y: Tensor) -> nn.Module:
    """L1 as a term of the loss, which makes no zeros."""
    model = problem.network(seed)

    def loss(out: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(out, target, reduction="none") + strength * sum(
            p.abs().sum() for p in kernels(model)
        )

    problem.fit(model, x, y, seed, loss=loss)
    return model


def cut_to(model: nn.Module, share: float) -> nn.Module:
    """A copy without its smallest weights, over the whole network at one threshold."""
    copied = copy.deepcopy(model)
    sizes = torch.cat([p.detach().abs().flatten() for p in kernels(copied)])
    limit = sizes.kthvalue(math.ceil(share * sizes.numel())).values
    with torch.no_grad():
        for p in kernels(copied):
            p[p.abs() <= limit] = 0
    return copied


def with_pat(
    strength: float, rows: bool, healing: float, problem: Problem, seed: int, x: Tensor, y: Tensor
) -> nn.Module:
    """torchao's ``PruneOptimizer`` around torch's AdamW; ``healing`` is the share of the steps at the end in which
    zeros stay and nothing is shrunk.
    """
    from torchao.prototype.pat.optim import PruneOptimizer

    model = problem.network(seed)
    kind = (
        {"prox_type": "ProxGroupLasso", "group_type": "Dim0Grouper"}
        if rows
        else {"prox_type": "ProxLasso", "group_type": "ElemGrouper"}
    )
    groups = [
        {"params": kernels(model), "reg_lambda": strength, **kind},
        {"params": [p for p in model.parameters() if p.ndim == 1]},
    ]
    options = {"healing_start_step": round((1 - healing) * problem.steps(len(x)))} if healing else {}
    optimizer = PruneOptimizer(torch.optim.AdamW(groups, lr=problem.lr, weight_decay=0.0), **options)
    problem.fit(model, x, y, seed, optimizer=optimizer)
    return model


def ours(family: str, make: Callable[[float], dashpot.Technique], strengths: Sequence[float]) -> list[Arm]:
    return [Arm(family, f"{s:g}", partial(with_recipe, make(s))) for s in strengths]


def in_loss(strengths: Sequence[float]) -> list[Arm]:
    return [Arm("L1 in the loss", f"{s:g}", partial(in_the_loss, s)) for s in strengths]


def pat(family: str, strengths: Sequence[float], rows: bool = False, healing: float = 0.0) -> list[Arm]:
    return [Arm(family, f"{s:g}", partial(with_pat, s, rows, healing)) for s in strengths]


def split_digits(seed: int) -> tuple[Tensor, ...]:
    digits = load_digits()
    parts = train_test_split(
        digits.data.astype("float32") / 16, digits.target, test_size=0.25, stratify=digits.target, random_state=seed
    )
    return tuple(torch.as_tensor(part) for part in parts)


def usps_split(folder: Path, seed: int) -> tuple[Tensor, ...]:
    parts = np.load(folder / "usps.npz")
    images = (torch.as_tensor(parts[name]).float()[:, None] / 127.5 - 1 for name in ("X_train", "X_test"))
    return (*images, *(torch.as_tensor(parts[name]).long() for name in ("y_train", "y_test")))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def convnet() -> nn.Module:
    body = (
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(1024, 52), nn.ReLU(), nn.Linear(52, 10))


def measure(arms: Sequence[Arm], problem: Problem, seeds: Sequence[int]) -> dict[str, dict[str, dict[str, Any]]]:
    """For each family and setting: zeros, accuracy and its standard error over the seeds."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for arm in arms:
        runs: dict[str, list[tuple[float, float, int]]] = {}
        started = time.perf_counter()
        for seed in seeds:
            x, x_test, y, y_test = problem.split(seed)
            model = arm.train(problem, seed, x, y)
            own = zeros(model)
            # A cut costs nothing, and removes what a falling learning rate left small but not zero: so every family
            # gets it, on a line of its own.
            results = {"": model} | {f", cut at {share:.0%}": cut_to(model, share) for share in CUTS if share > own}
            for suffix, result in results.items():
                measured = (zeros(result), dashpot.scores(result, x_test, y_test)["accuracy"], zero_rows(result))
                runs.setdefault(suffix, []).append(measured)
        seconds = (time.perf_counter() - started) / len(seeds)
        for suffix, values in runs.items():
            if len(values) < len(seeds):
                continue  # some seeds had more zeros than this cut by themselves
            share, accuracy, rows = zip(*values, strict=True)
            family = f"{arm.family}, then cut" if suffix else arm.family
            table.setdefault(family, {})[arm.setting + suffix] = {
                "exact zeros": statistics.mean(share),
                "test accuracy": statistics.mean(accuracy),
                "accuracy, standard error": statistics.stdev(accuracy) / len(accuracy) ** 0.5,
                "share of rows zero": statistics.mean(rows) / sum(len(p) for p in kernels(model)),
                "seconds per run": seconds,
            }
            print(
                f"{family:<28} {arm.setting + suffix:<18} zeros {statistics.mean(share):.3f}  accuracy"
                f" {statistics.mean(accuracy):.4f}",
                flush=True,
            )
    return table


def best_at(
    table: dict[str, dict[str, dict[str, Any]]], least: Sequence[float], by: str = "exact zeros"
) -> dict[str, dict[str, Any]]:
    """For each family the most accurate setting with at least so many zeros; None where it has no such setting."""
    result: dict[str, dict[str, Any]] = {}
    for family, settings in table.items():
        result[family] = {}
        for bound in least:
            enough = [(row["test accuracy"], name) for name, row in settings.items() if row[by] >= bound]
            result[family][f"{bound:g}"] = (
                {"test accuracy": max(enough)[0], "setting": max(enough)[1]} if enough else None
            )
    return result


def pat_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torchao")
    except PackageNotFoundError:
        return None


def run_digits() -> None:
    problem = Problem(mlp, split_digits, epochs=60, batch=64, lr=5e-3)
    half = problem.steps(1347) // 2
    arms = [
        Arm("dense", "0", partial(with_recipe, None)),
        *ours("L1 adaptive", lambda s: dashpot.L1(strength=s), (1e-5, 1e-4, 2e-4, 3e-4, 1e-3)),
        *ours(
            "L1 adaptive, ramp", lambda s: dashpot.L1(strength=f"0to{s}@until={half}steps"), (1e-4, 2e-4, 4e-4, 1e-3)
        ),
        *ours("L1 decoupled", lambda s: dashpot.L1(strength=s, scaling="decoupled"), (0.03, 0.1, 0.2, 0.4)),
        *ours(
            "MCP decoupled, ramp",
            lambda s: dashpot.MCP(strength=f"0to{s}@until={half}steps", gamma=1.5, scaling="decoupled"),
            (0.15, 0.2, 0.25, 0.3, 0.4),
        ),
        *in_loss((1e-4, 3e-4, 1e-3)),
    ]
    if pat_version():
        arms += [*pat("pat L1", (0.02, 0.05, 0.1, 0.2, 0.4)), *pat("pat L1, healing", (0.1,), healing=0.3)]
    what = (
        "digits MLP 64-256-256-10, 60 epochs, mean of 5 splits and initial weights. ramp: over the first half of the"
        " steps. cut: the smallest weights of the whole network set to zero after training, at one threshold and"
        " without training afterwards. healing: pat's zeros frozen and nothing shrunk in the last 30 % of the steps."
        " best at: chosen on the test rows, for all families alike."
    )
    run("zeros-digits", what, arms, problem, range(5))


def run(name: str, what: str, arms: Sequence[Arm], problem: Problem, seeds: Sequence[int], **more: Any) -> None:
    size = {
        "epochs": problem.epochs,
        "batch": problem.batch,
        "lr": problem.lr,
        "weights": sum(p.numel() for p in kernels(problem.make())),
    }
    table = measure(arms, problem, seeds)
    record = {
        "what": what,
        **size,
        **more,
        "seeds": len(seeds),
        "torchao": pat_version(),
        "best at": best_at(table, CUTS),
    }
    rows = {family: settings for family, settings in table.items() if "rows" in family}
    if rows:
        record["best at, share of rows zero"] = best_at(rows, (0.2, 0.34, 0.5), "share of rows zero")
    write_result(name, {**record, "families": table})


def run_usps(folder: Path) -> None:
    problem = Problem(convnet, partial(usps_split, folder), epochs=10, batch=64, lr=2e-3)
    half = problem.steps(7291) // 2
    arms = [
        Arm("dense", "0", partial(with_recipe, None)),
        *ours("L1 adaptive, ramp", lambda s: dashpot.L1(strength=f"0to{s}@until={half}steps"), (3e-4, 1e-3)),
        *ours("L1 decoupled", lambda s: dashpot.L1(strength=s, scaling="decoupled"), (0.3,)),
        *ours(
            "MCP decoupled, ramp",
            lambda s: dashpot.MCP(strength=f"0to{s}@until={half}steps", gamma=1.5, scaling="decoupled"),
            (0.3, 0.45),
        ),
        *ours(
            "group lasso on rows",
            lambda s: dashpot.GroupLasso(strength=f"0to{s}@until={half}steps", groups="rows", scaling="decoupled"),
            (0.1, 0.2),
        ),
        *in_loss((1e-3,)),
    ]
    if pat_version():
        arms += [*pat("pat L1", (0.1, 0.2)), *pat("pat on rows", (0.1,), rows=True)]
    what = (
        "usps (7291 to train, 2007 to test, its own split), a convnet 1-32-64 with linear layers 1024-52-10, 10 epochs,"
        " mean of 3 seeds (initial weights and order). ramp: over the first half of the steps. cut: the smallest"
        " weights of the whole network set to zero after training, at one threshold and without training afterwards."
        " best at: chosen on the test rows, for all families alike."
    )
    run("zeros-usps", what, arms, problem, range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=("digits", "usps"), default=["digits", "usps"])
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.which:
        _ = run_digits() if name == "digits" else run_usps(options.data)


if __name__ == "__main__":
    main()
