"""Records of searches of every kind, the degenerate ones among them."""

from __future__ import annotations

import json
import math
from typing import Any

from tests.report.tune_record import bare, candidate, searched


def holes(value: Any, hole: Any) -> Any:
    """Every float of a record gone; whole numbers stay."""
    if isinstance(value, dict):
        return {key: holes(part, hole) for key, part in value.items()}
    if isinstance(value, list):
        return [holes(part, hole) for part in value]
    return hole if isinstance(value, float) else value


def odd(data: dict[str, Any]) -> dict[str, Any]:
    """Names with markup, mathematics, line breaks and no end."""
    text = (
        json.dumps(data)
        .replace("mixup", "[red]mix_$a$ \\\\frac{1}{2}[/red]")
        .replace("weight-decay", "weight-decay-" + "on-and-on-" * 12)
    )
    return {**json.loads(text), "dataset": "costs in $ and $ [bold]" + "a long name " * 20}


ONE = candidate(0, name="baseline", recipe="", params={"lr": 0.001})
RECORDS: dict[str, dict[str, Any]] = {
    "forty": searched(),
    "regression, large numbers": searched(seed=2, task="regression", scale=48213.0),
    "tiny numbers": searched(seed=4, task="regression", scale=1e-6),
    "two": searched(2),
    "long race": searched(12, epochs=2000),
    "short race": searched(12, epochs=3),
    "one": bare(ONE),
    "no candidates": bare(),
    "nulls": holes(searched(12), None),
    "not a number": holes(searched(12), math.nan),
    "infinite": holes(searched(12), math.inf),
    "zeros": holes(searched(12), 0.0),
    "nothing chosen": searched(12, chosen=None, best=None, baseline=None, test={}),
    "all failed": bare(
        *(
            candidate(i, state="failed", score=None, se=None, fold_scores=[], history=[], train_score=None)
            for i in range(4)
        )
    ),
    "odd names": odd(searched(20)),
    "choices": bare(
        *(
            candidate(
                i, params={"optimizer": ("adam", "sgd", "lion")[i % 3], "batch": 32 * (i + 1), "flip": i % 2 == 0}
            )
            for i in range(9)
        )
    ),
    "negative scores": bare(
        *(candidate(i, score=-1.0 - i, train_score=-2.0, history=[[1, -0.5], [2, -1.0 - i]]) for i in range(5))
    ),
    "a wild one": bare(
        *(candidate(i, score=0.4 + 0.01 * i, params={"lr": 0.1 + i}) for i in range(9)),
        candidate(9, state="pruned", score=1e9, history=[[1, 1e9]]),
        chosen=1,
        best=1,
    ),
}
