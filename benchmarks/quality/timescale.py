"""Weight decay tuned once on little, used on much: by its timescale in epochs, and by its strength.

    .venv/bin/python benchmarks/quality/timescale.py --data FOLDER

The best decay of a grid is chosen at 1/16 of the rows and a quarter of the width, by the mean held-out loss over the
seeds, and used at full size. Its regret is how much worse its held-out loss there is than that of the best decay of the
grid, as a share of it. AdamW with one learning rate that falls along a cosine, a perceptron of two hidden layers, and
as many epochs at both sizes; all decays and seeds train in lock-step. The best of a grid is the best on the rows that
judge it, so every regret is at least 0; the spread over seeds stands beside it.

The arm "constant" shrinks by the same share in every step, as if the strength followed the present learning rate and
not the highest one.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from common import options, write_result
from tables import read

import dashpot
from dashpot.core.fields.domains import Range
from dashpot.core.fields.select import weights
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.nets import MLP
from dashpot.population.members import Member
from dashpot.population.population import Population

ROWS, WIDTH, SHARE, NARROW = 4096, 32, 16, 4
EPOCHS, BATCH, LR = 32, 16, 2e-3
TIMESCALES = [2.0**k for k in range(-1, 8)]


class StackedConstant(StackedTechnique):
    """Of all members that have it."""

    def on_step(self) -> None:
        shares = [0.0 if t is None else 1 / (t.timescale * self.stack.steps_per_epoch) for t in self.techniques]
        for t in self.stack.selected(weights):
            w = self.stack.block.parameters[t].detach()
            w.mul_(1 - self.wide(shares, w.ndim))


class ConstantDecay(dashpot.Technique):
    """The same share in every step, after the update."""

    summary = "shrinks weights by the same share in every step"
    stacked = StackedConstant
    timescale: Annotated[float, Range(0.0, math.inf, open="low")] = 1.0

    def on_step(self, params: Any, ctx: Any) -> None:
        raise NotImplementedError("only in populations")


def data(name: str, folder: Path) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Inputs, targets, training rows in a random order, and those that judge."""
    if name == "usps":
        file = np.load(folder / "usps.npz")
        x = torch.from_numpy(np.concatenate([file["X_train"], file["X_test"]])).float().flatten(1) / 127.5 - 1
        y = torch.from_numpy(np.concatenate([file["y_train"], file["y_test"]])).long()
    else:
        problem, _, _ = read(name, folder)
        prepared = problem.prepare(problem.split(0).train)
        x, y = prepared.x, prepared.y
    order = np.random.default_rng(0).permutation(len(x))
    count = min(ROWS, len(x) - 2000) // SHARE * SHARE
    return x, y, order[:count], order[count : count + 8000]


def losses(
    x: torch.Tensor, y: torch.Tensor, rows: np.ndarray, judge: np.ndarray, width: int, recipes: list[Any], seeds: int
) -> np.ndarray:
    """Held-out loss [recipe, seed]: log loss, or root mean squared error."""
    outputs = int(y.max()) + 1 if not y.is_floating_point() else 1
    members = [
        Member(
            make=lambda: MLP(x.shape[1], outputs, width=width, depth=2),
            recipe=recipe,
            lr=LR,
            seed=seed,
            rows=rows,
        )
        for recipe in recipes
        for seed in range(seeds)
    ]
    population = Population(members, [(x, y)], epochs=EPOCHS, batch_size=BATCH, device="cpu", bfloat16=False)
    population.train(EPOCHS)
    out = population.outputs(dict.fromkeys(range(len(members)), judge))
    found = []
    for k in range(len(members)):
        if k not in out:
            found.append(math.inf)
        elif y.is_floating_point():
            found.append(float((out[k][:, 0] - y[judge]).square().mean().sqrt()))
        else:
            found.append(float(torch.nn.functional.cross_entropy(out[k], y[judge])))
    return np.array(found).reshape(len(recipes), seeds)


def regret(at_full: np.ndarray, chosen: int) -> dict[str, Any]:
    """Of a choice, by the mean over seeds, with the standard error of the paired differences to the best."""
    mean = at_full.mean(axis=1)
    best = int(mean.argmin())
    apart = (at_full[chosen] - at_full[best]) / mean[best]
    error = float(apart.std(ddof=1) / math.sqrt(len(apart))) if chosen != best else 0.0
    return {"regret": float(apart.mean()), "standard error": error}


def study(name: str, folder: Path, make: Any, seeds: int) -> dict[str, Any]:
    """One set and one way to decay."""
    x, y, rows, judge = data(name, folder)
    few = rows[: len(rows) // SHARE]
    steps = {"small": math.ceil(len(few) / BATCH), "full": math.ceil(len(rows) / BATCH)}
    recipes = [make(timescale=t) for t in TIMESCALES]
    small = losses(x, y, few, judge, WIDTH // NARROW, recipes, seeds)
    # The last one is without decay.
    full, plain = np.split(losses(x, y, rows, judge, WIDTH, [*recipes, dashpot.Recipe()], seeds), [len(recipes)])
    chosen = int(small.mean(axis=1).argmin())
    # The strength that is this timescale on few rows is a shorter one on many, where an epoch has more steps.
    same = TIMESCALES[chosen] * steps["small"] / steps["full"]
    nearest = min(range(len(TIMESCALES)), key=lambda k: abs(math.log(TIMESCALES[k] / same)))
    return {
        "rows": len(rows),
        "judged on": len(judge),
        "features": x.shape[1],
        "chosen timescale": TIMESCALES[chosen],
        "best timescale at full size": TIMESCALES[int(full.mean(axis=1).argmin())],
        "by timescale": regret(full, chosen),
        "by strength": regret(full, nearest) | {"its timescale at full size": TIMESCALES[nearest]},
        "loss, small": small.mean(axis=1).tolist(),
        "loss, full": full.mean(axis=1).tolist(),
        "loss, full, without decay": float(plain.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=["diamonds", "adult", "usps"])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=3)
    given = options(parser)
    torch.set_num_threads(1)
    started = time.process_time()
    settings = {"epochs": EPOCHS, "batch": BATCH, "lr": LR, "width": WIDTH, "seeds": given.seeds}
    settings |= {"timescales": TIMESCALES, "rows, small": f"1/{SHARE}", "width, small": f"1/{NARROW}"}
    found: dict[str, dict[str, Any]] = {}
    for arm, make in {"follows the rate": dashpot.WeightDecay, "constant": ConstantDecay}.items():
        if given.quick and found:
            break
        found[arm] = {}
        for name in given.sets:
            found[arm][name] = study(name, given.data, make, given.seeds)
            spent = time.process_time() - started
            # After each set, so that a run that is cut short leaves what it has.
            write_result("timescale", {"settings": settings, "arms": found, "processor seconds": spent}, given.result)


if __name__ == "__main__":
    main()
