"""How batch normalization regularizes, and what it does to the best dropout rate and decay.

scikit-learn's digits, 300 training rows, the others for the test; an MLP 64-64-64-10, AdamW at 3e-3 falling to 0,
200 steps. Each seed has a split, initial weights and batches of its own, the same for all arms. Arms: without and with
batch normalization in front of both activations x dropout (behind both activations, or, with batch normalization,
behind the last one only) x decoupled decay; then batch sizes, without dropout and decay. Writes
``benchmarks/results/batch-norm.json`` and ``docs/batch-norm.md``.
Run: ``python benchmarks/quality/batch_norm.py [--seeds 5]``
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import digits, options, write_result

import dashpot

ROWS, STEPS, BATCH = 300, 200, 50
RATES, DECAYS, BATCHES = (0.0, 0.2, 0.5), (0.0, 0.3, 3.0), (10, 50, 300)
NETWORKS = ("without", "batch norm", "batch norm, dropout behind the last")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "batch-norm.md"


def network(norm: bool) -> nn.Sequential:
    def body(inputs: int) -> list[nn.Module]:
        return [nn.Linear(inputs, 64), *([nn.BatchNorm1d(64)] if norm else []), nn.ReLU()]

    return nn.Sequential(*body(64), *body(64), nn.Linear(64, 10))


def recipe(kind: str, rate: float, decay: float) -> dashpot.Recipe:
    where = "name:5" if kind == NETWORKS[2] else "activations"
    parts = [dashpot.Dropout(rate, on=where)] * (rate > 0) + [dashpot.WeightDecay(strength=decay)] * (decay > 0)
    return dashpot.Recipe(tuple(parts))


def trained(x: Tensor, y: Tensor, kind: str, rate: float, decay: float, batch: int, seed: int) -> dict[str, float]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    rows, rest = order[:ROWS], order[ROWS:]
    torch.manual_seed(seed)
    model = network(kind != NETWORKS[0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    draws = torch.Generator().manual_seed(seed)
    with recipe(kind, rate, decay).attach(model, optimizer, seed=seed, classes=10):
        for _ in range(STEPS):
            chosen = rows[torch.randperm(ROWS, generator=draws)[:batch]]
            optimizer.zero_grad()
            functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            rates.step()
    model.eval()
    with torch.no_grad():
        learned, out = model(x[rows]), model(x[rest])
    return {
        "accuracy": float((out.argmax(1) == y[rest]).float().mean()),
        "log loss": float(functional.cross_entropy(out, y[rest])),
        "training log loss": float(functional.cross_entropy(learned, y[rows])),
    }


def mean(found: list[dict[str, float]]) -> dict[str, Any]:
    """Of all seeds, with the standard error."""
    result = {}
    for name in found[0]:
        values = [one[name] for one in found]
        result[name] = [statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5]
    return result


def told(entry: dict[str, Any], name: str = "log loss") -> str:
    return f"{entry[name][0]:.3f} ± {entry[name][1]:.3f}"


def table(arms: dict[str, Any], kind: str) -> list[str]:
    found = {(r, d): arms[f"{kind} | dropout {r} | decay {d}"] for r in RATES for d in DECAYS}
    best = min(found, key=lambda place: found[place]["log loss"][0])
    lines = ["| dropout | " + " | ".join(f"decay {d:g}" for d in DECAYS) + " |", "|---|" + "---|" * len(DECAYS)]
    for r in RATES:
        cells = [("**{}**" if (r, d) == best else "{}").format(told(found[r, d])) for d in DECAYS]
        lines.append(f"| {r:g} | {' | '.join(cells)} |")
    accuracy = f"{100 * found[best]['accuracy'][0]:.1f} % right"
    return [*lines, "", f"Best: dropout {best[0]:g} with decay {best[1]:g}, {accuracy}.", ""]


def effect(sizes: dict[str, Any]) -> list[str]:
    """What the largest batch shows."""
    (old, new), size = (sizes[f"{kind} | batch {BATCHES[-1]}"] for kind in NETWORKS[:2]), BATCHES[-1]
    return [
        f"With batches of {size}, normalization takes the training loss from {old[LOSSES[1]][0]:.4f} to"
        f" {new[LOSSES[1]][0]:.4f}, and the test loss",
        f"from {old[LOSSES[0]][0]:.3f} to {new[LOSSES[0]][0]:.3f}: a worse fit that generalizes better is what a"
        " regularizer makes."
        if new[LOSSES[1]][0] > old[LOSSES[1]][0] and new[LOSSES[0]][0] < old[LOSSES[0]][0]
        else f"from {old[LOSSES[0]][0]:.3f} to {new[LOSSES[0]][0]:.3f}.",
    ]


def cost(arms: dict[str, Any], kind: str) -> str:
    """Of the strongest decay, in test log loss."""
    weak, strong = (arms[f"{kind} | dropout 0.0 | decay {d}"]["log loss"][0] for d in (DECAYS[0], DECAYS[-1]))
    return f"{strong - weak:.3f}"


def page(arms: dict[str, Any], sizes: dict[str, Any], seeds: int) -> str:
    lines = [
        "# Batch normalization as a regularizer",
        "",
        "Made by `benchmarks/quality/batch_norm.py` on scikit-learn's digits: 300 training rows, 1,497 for the test,",
        f"an MLP 64-64-64-10, {STEPS} steps of AdamW. Test log loss (lower is better), mean ± standard error over",
        f"{seeds} seeds; the best of each table in bold. Machine and versions: `benchmarks/results/batch-norm.json`.",
        "",
        "## Batch sizes, without dropout and decay",
        "",
        "The mean and variance of a batch are estimates, and their noise grows as the batch shrinks. All arms have",
        f"{STEPS} steps, so that smaller batches also saw fewer rows.",
        *effect(sizes),
        "",
        "| batch | without: test | training | batch norm: test | training |",
        "|---|---|---|---|---|",
    ]
    for size in BATCHES:
        cells = [told(sizes[f"{kind} | batch {size}"], what) for kind in NETWORKS[:2] for what in LOSSES]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    lines += [""]
    for kind, title in zip(
        NETWORKS,
        (
            "Without batch normalization",
            "With batch normalization, dropout behind both activations",
            "With batch normalization, dropout behind the last activation",
        ),
        strict=True,
    ):
        lines += [f"## {title}", "", *table(arms, kind)]
    lines += [
        "Dropout in front of a batch normalization gives it a larger variance in training than in evaluation (Li et",
        "al., CVPR 2019), so Dashpot warns about it at attach; the last table has none there. Decay of a weight in",
        "front of a batch normalization changes no output by itself: it makes the steps of the direction larger.",
        f"Without dropout, decay {DECAYS[-1]:g} costs {cost(arms, NETWORKS[0])} of test loss without normalization, and"
        f" {cost(arms, NETWORKS[1])} with it.",
    ]
    return "\n".join(lines) + "\n"


LOSSES = ("log loss", "training log loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = options(parser)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of dropout in front of a normalization, which is what is measured
    data, target, source = digits()
    x = torch.tensor(data, dtype=torch.float32)
    x, y = (x - x.mean()) / x.std(), torch.tensor(target)
    seeds = range(2 if chosen.quick else chosen.seeds)
    arms = {
        f"{kind} | dropout {rate} | decay {decay}": mean([trained(x, y, kind, rate, decay, BATCH, s) for s in seeds])
        for kind in NETWORKS
        for rate in RATES
        for decay in DECAYS
    }
    sizes = {
        f"{kind} | batch {size}": mean([trained(x, y, kind, 0.0, 0.0, size, s) for s in seeds])
        for kind in NETWORKS[:2]
        for size in BATCHES
    }
    what = (
        f"{source}, {ROWS} training rows, MLP 64-64-64-10, {STEPS} steps; means, standard errors of {len(seeds)} seeds"
    )
    write_result("batch-norm", {"what": what, "arms": arms, "batch sizes": sizes}, chosen.result)
    if chosen.result is None:
        PAGE.write_text(page(arms, sizes, len(seeds)), encoding="utf-8")


if __name__ == "__main__":
    main()
