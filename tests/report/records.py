"""Comparison records made up for tests, in the shape of compare.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

NETWORKS = ("baseline", "weight-decay", "dropout", "mixup", "l1", "all of them")
REFERENCES = ("logistic regression, L2", "logistic regression, L1", "histogram gradient boosting")


def arm(
    name: str,
    tests: Sequence[float],
    *,
    kind: str = "network",
    train: float = 0.95,
    zeros: float | None = 0.0,
    seconds: float = 1.5,
) -> dict[str, Any]:
    """An arm with the given test accuracies, one for each repeat."""
    runs = [
        {
            "repeat": r,
            "seed": r,
            "train": {"accuracy": train},
            "test": {"accuracy": s},
            "zeros": zeros,
            "seconds": seconds,
            "epochs": 5,
            "error": None,
        }
        for r, s in enumerate(tests)
    ]
    return {"name": name, "kind": kind, "recipe": None, "runs": runs}


def record(*arms: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A record of those arms, with 600 training and 200 test rows."""
    return {
        "version": 1,
        "dataset": "demo",
        "task": "classification",
        "metric": "accuracy",
        "repeats": max((len(a["runs"]) for a in arms), default=1),
        "seed": 0,
        "rows": 1000,
        "features": 20,
        "train_rows": 600,
        "test_rows": 200,
        "arms": list(arms),
    } | changes


def drawn(
    names: Sequence[str] = NETWORKS,
    references: Sequence[str] = REFERENCES,
    repeats: int = 3,
    scale: float = 1.0,
    **changes: Any,
) -> dict[str, Any]:
    """A record of random scores."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0.75, 0.02, repeats)
    arms = []
    for name in (*names, *references):
        zeros = None if "boosting" in name else 0.6 if "l1" in name.lower() else 0.0
        tests = [float(scale * s) for s in shared + rng.normal(0.0, 0.02) + rng.normal(0, 0.01, repeats)]
        kind = "reference" if name in references else "network"
        arms.append(
            arm(name, tests, kind=kind, train=scale * rng.uniform(0.7, 1.0), zeros=zeros, seconds=rng.uniform(0.1, 300))
        )
    return record(*arms, **changes)


def fail(
    data: dict[str, Any], name: str, repeats: Sequence[int], why: str = "loss must stay finite, got nan in epoch 3"
) -> dict[str, Any]:
    """Let an arm's runs fail as a diverged run does: the scores of the weights so far are there, with an error."""
    for a in data["arms"]:
        if a["name"] == name:
            for run in a["runs"]:
                if run["repeat"] in repeats:
                    run["error"] = why
    return data
