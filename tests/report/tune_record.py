"""Records of a search made up for tests, in the shape of report.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Names, the searched field, its bounds and whether they are on a log scale, the strength that is best, and what the
# technique gains there.
TECHNIQUES: tuple[tuple[str, str, float, float, bool, float, float], ...] = (
    ("mixup", "alpha", 0.05, 1.0, False, 0.4, 0.16),
    ("weight-decay", "strength", 1e-5, 1.0, True, 3e-2, 0.10),
    ("l1", "strength", 1e-6, 1e-1, True, 1e-4, 0.05),
    ("dropout", "p", 0.05, 0.6, False, 0.25, 0.04),
    ("label-smoothing", "strength", 0.01, 0.3, False, 0.05, 0.0),
    ("ema", "decay", 0.9, 0.9999, False, 0.99, 0.03),
    ("input-noise", "std", 1e-3, 1.0, True, 1e-2, -0.05),
)


def candidate(number: int, **changes: Any) -> dict[str, Any]:
    """A candidate with two epochs and five folds."""
    return {
        "number": number,
        "name": "",
        "recipe": "L1(strength=0.0001)",
        "params": {"lr": 0.002, "net.width": 256, "l1": True, "l1.strength": 1e-4},
        "state": "complete",
        "epochs": 2,
        "folds": 5,
        "score": 0.4,
        "se": 0.01,
        "fold_scores": [0.38, 0.39, 0.40, 0.41, 0.42],
        "metric_score": 0.8,
        "train_score": 0.3,
        "history": [[1, 0.6], [2, 0.4]],
        "seconds": 3.0,
    } | changes


def contribution(
    technique: str, kind: str, difference: float | None, half: float | None, folds: Sequence[float] = ()
) -> dict[str, Any]:
    """What a technique gained, with a symmetric interval."""
    known = difference is not None and half is not None
    low, high = (difference - half, difference + half) if known else (None, None)
    return {
        "technique": technique,
        "kind": kind,
        "difference": difference,
        "low": low,
        "high": high,
        "folds": list(folds),
    }


def bare(*candidates: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A record of those candidates, the first baseline, the last best and chosen, with nothing else measured."""
    numbers = [c["number"] for c in candidates]
    return {
        "version": 2,
        "dataset": "demo",
        "task": "classification",
        "metric": "balanced_accuracy",
        "proper": "log_loss",
        "better": "higher",
        "rows": 1000,
        "train_rows": 800,
        "test_rows": 200,
        "features": 20,
        "classes": 3,
        "folds": 5,
        "epochs": 50,
        "budget_s": 600.0,
        "seconds": 543.2,
        "seed": 0,
        "members_trained": 40,
        "member_steps": 123456,
        "versions": {"dashpot": "0.1.0"},
        "machine": {"cores": 2},
        "candidates": list(candidates),
        "baseline": numbers[0] if numbers else None,
        "best": numbers[-1] if numbers else None,
        "chosen": numbers[-1] if numbers else None,
        "why": "the lowest log loss",
        "final": "ensemble of 5 folds",
        "test": {},
        "contributions": [],
        "importance": {},
        "interactions": [],
        "decision": {},
    } | changes


def searched(
    count: int = 40,
    seed: int = 0,
    *,
    task: str = "classification",
    scale: float = 1.0,
    epochs: int = 50,
    **changes: Any,
) -> dict[str, Any]:
    """A whole search: candidates drawn at random and halved in three rounds, baseline that overfits, contributions,
    importances and test scores.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0.0, 0.02, 5)
    made = [_made(i, rng, difficulty, epochs, scale) for i in range(count)]
    # Rounds of a search: the worse half ends after a sixth, and again after a half of the epochs; only the rest see all
    # folds.
    alive = list(range(2, count))
    for stop in (max(1, epochs // 6), max(1, epochs // 2)):
        alive.sort(key=lambda i: made[i]["history"][stop - 1][1])
        for i in alive[max(2, len(alive) // 2) :]:
            made[i] |= {"state": "pruned", "epochs": stop, "folds": 1, "history": made[i]["history"][:stop], "se": None}
            made[i] |= {
                "score": made[i]["history"][-1][1],
                "fold_scores": [made[i]["history"][-1][1]],
                "seconds": made[i]["seconds"] * stop / epochs,
            }
        alive = alive[: max(2, len(alive) // 2)]
    finalists = sorted((c for c in made if c["state"] == "complete"), key=lambda c: c["score"])
    best = finalists[0]["number"]
    chosen = finalists[1]["number"] if len(finalists) > 2 else best
    if count > 8:
        broken = next(c for c in made if c["state"] == "pruned")
        broken |= {
            "state": "failed",
            "score": None,
            "se": None,
            "train_score": None,
            "metric_score": None,
            "fold_scores": [],
        }
        broken["history"] = broken["history"][:3]
    tests = _tests(made, chosen, task, scale)
    measured = []
    for name, *_, gain in TECHNIQUES:
        for kind, share in (("left out", 1.0), ("alone", 1.2)):
            if kind == "alone" or name in made[chosen]["recipe"]:
                folds = scale * (share * gain + rng.normal(0, 0.01) + rng.normal(0, 0.015, 5))
                measured.append(
                    contribution(name, kind, float(folds.mean()), float(3 * folds.std() / math.sqrt(5)), folds.tolist())
                )
    shares = rng.dirichlet([0.6] * 12)
    keys = ["lr", "net.width", *(f"{name}.{field}" for name, field, *_ in TECHNIQUES), "mixup", "l1", "weight-decay"]
    return bare(*made) | {
        "task": task,
        "metric": "balanced_accuracy" if task == "classification" else "r2",
        "proper": "log_loss" if task == "classification" else "rmse",
        "classes": 3 if task == "classification" else 0,
        "epochs": epochs,
        "baseline": 0,
        "best": best,
        "chosen": chosen,
        "why": f"#{chosen} has fewer techniques than #{best} and a score near to its",
        "test": tests,
        "contributions": measured,
        "importance": {key: float(share) for key, share in zip(keys, shares, strict=True)},
        "interactions": [
            {
                "pair": ["mixup", "weight-decay"],
                "difference": -0.03 * scale,
                "low": -0.05 * scale,
                "high": -0.01 * scale,
            },
            {"pair": ["dropout", "l1"], "difference": 0.01 * scale, "low": -0.02 * scale, "high": 0.04 * scale},
        ],
        "decision": {
            "temperature": 1.3,
            "tau": 0.9,
            "offsets": [0.0, 0.1, -0.1],
            "note": "probabilities sharpened a little",
        },
        **changes,
    }


def _made(number: int, rng: np.random.Generator, difficulty: np.ndarray, epochs: int, scale: float) -> dict[str, Any]:
    """A candidate trained to the end; number 0 is baseline and number 1 the default recipe."""
    lr = 1e-3 if number < 2 else float(10 ** rng.uniform(-4, -1.5))
    width = int(rng.choice([64, 128, 256, 512])) if number > 1 else 256
    params: dict[str, Any] = {"lr": lr, "net.width": width}
    gain, parts = -0.03 * math.log10(lr / 2e-3) ** 2, []
    for name, field, low, high, log, optimum, most in TECHNIQUES:
        on = rng.random() < 0.5 if number > 1 else number == 1 and name in ("mixup", "weight-decay")
        params[name] = bool(on)
        if on:
            value = float(10 ** rng.uniform(math.log10(low), math.log10(high)) if log else rng.uniform(low, high))
            params[f"{name}.{field}"] = value
            off = math.log10(value / optimum) / 2 if log else (value - optimum) / (high - low)
            gain += most * math.exp(-4 * off * off) - 0.02
            parts.append(f"{name}:{field}={value:.3g}")
    slow = epochs / 10 * (2e-3 / lr) ** 0.3
    overfit = max(0.0, 0.30 - 1.2 * gain)
    epoch = np.arange(1, epochs + 1)
    curve = scale * (
        0.42 - gain + 0.9 * np.exp(-epoch / slow) + overfit * (epoch / epochs) ** 2 + rng.normal(0, 0.006, epochs)
    )
    curve = np.maximum(curve, 0.02 * scale)
    at = int(np.argmin(curve))
    folds = curve[at] + scale * (difficulty + rng.normal(0, 0.008, 5))
    return {
        "number": number,
        "name": {0: "baseline", 1: "default"}.get(number, ""),
        "recipe": " | ".join(parts),
        "params": params,
        "state": "complete",
        "epochs": epochs,
        "folds": 5,
        "score": float(folds.mean()),
        "se": float(folds.std(ddof=1) / math.sqrt(5)),
        "fold_scores": folds.tolist(),
        "metric_score": float(1 - 0.45 * curve[at] / scale),
        "train_score": float(max(curve[at] - scale * (0.05 + overfit), 0.01 * scale * rng.uniform(1, 2))),
        "history": [[int(e), float(s)] for e, s in zip(epoch, curve, strict=True)],
        "seconds": float(rng.uniform(5, 30)),
    }


def _tests(made: Sequence[dict[str, Any]], chosen: int, task: str, scale: float) -> dict[str, Any]:
    def scores(loss: float) -> dict[str, float]:
        if task == "classification":
            return {"log_loss": loss, "accuracy": 1 - 0.4 * loss, "balanced_accuracy": 1 - 0.45 * loss}
        return {"rmse": loss, "r2": 1 - 0.5 * (loss / scale) ** 2}

    names = (
        ("logistic regression", "boosted trees") if task == "classification" else ("ridge regression", "boosted trees")
    )
    references = {name: scores(scale * (0.5 + 0.1 * i)) for i, name in enumerate(names)}
    return {
        "chosen": scores(made[chosen]["score"] * 1.02),
        "baseline": scores(made[0]["score"]),
        "references": references,
    }
