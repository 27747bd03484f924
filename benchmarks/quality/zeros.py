"""Exact zeros and test accuracy of L1, against L1 added to the loss, on digits.

MLP 64-256-256-10, 60 epochs, batch 64, AdamW at 5e-3 with a cosine to zero, five seeds (initial weights, order and split). Zeros are
counted over the three weight matrices, as exactly 0.0. Run: ``python benchmarks/quality/zeros.py``
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result

import dashpot

SEEDS, EPOCHS = range(5), 60
ADAPTIVE, DECOUPLED = (1e-5, 1e-4, 3e-4, 1e-3), (0.03, 0.1, 0.2, 0.4)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def zeros(model: nn.Module) -> float:
    weights = [p for p in model.parameters() if p.ndim > 1]
    return sum(int((p == 0).sum()) for p in weights) / sum(p.numel() for p in weights)


def run(recipe: dashpot.Technique | None, seed: int, in_loss: float = 0.0) -> tuple[float, float]:
    digits = load_digits()
    parts = train_test_split(digits.data.astype("float32") / 16, digits.target, test_size=0.25, stratify=digits.target, random_state=seed)
    x, x_test, y, y_test = (torch.as_tensor(part) for part in parts)
    model = network(seed)

    def with_l1(out: Tensor, target: Tensor) -> Tensor:
        penalty = sum(p.abs().sum() for p in model.parameters() if p.ndim > 1)
        return nn.functional.cross_entropy(out, target, reduction="none") + in_loss * penalty

    dashpot.fit(model, (x, y), recipe=recipe, loss=with_l1 if in_loss else None, epochs=EPOCHS, batch_size=64, lr=5e-3, seed=seed, progress=False)
    return zeros(model), dashpot.scores(model, x_test, y_test)["accuracy"]


def main() -> None:
    torch.set_num_threads(1)
    arms: dict[str, dict[str, Any]] = {"dense": {}}
    arms |= {f"L1 in the loss {s:g}": {"in_loss": s} for s in ADAPTIVE}
    arms |= {f"L1 adaptive {s:g}": {"recipe": dashpot.L1(strength=s)} for s in ADAPTIVE}
    arms |= {f"L1 decoupled {s:g}": {"recipe": dashpot.L1(strength=s, metric="decoupled")} for s in DECOUPLED}
    table = {}
    for name, options in arms.items():
        runs = [run(options.get("recipe"), seed, options.get("in_loss", 0.0)) for seed in SEEDS]
        share, accuracy = zip(*runs, strict=True)
        table[name] = {
            "exact zeros": statistics.mean(share),
            "test accuracy": statistics.mean(accuracy),
            "accuracy, standard error": statistics.stdev(accuracy) / len(runs) ** 0.5,
        }
        print(f"{name:<24} zeros {table[name]['exact zeros']:.3f}  accuracy {table[name]['test accuracy']:.4f}", flush=True)
    write_result("zeros", {"what": "digits MLP 64-256-256-10, 60 epochs, mean of 5 seeds", "arms": table})


if __name__ == "__main__":
    main()
