"""The tables of ``tune.py``: means and mean ranks over those (set, split) pairs that all arms have, families, and
Dashpot beside each arm set by set.

Within a family the best arm is the one with the best mean on the test rows, for all families alike: it says what a
family can reach, not what a user who chooses would get. Differences from Dashpot have their interval over sets, which
are independent of each other, as splits of one set are not.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers import FAMILIES
from tables import lines

OURS, PLAIN, WIDTH = "dashpot", "plain network", 32
HIGHER = {
    "balanced accuracy": True,
    "balanced accuracy, p/prior": True,
    "balanced accuracy, p/prior^tau": True,
    "accuracy": True,
    "log-loss": False,
    "log-loss, one temperature": False,
    "R2": True,
}
METRICS = {"classification": tuple(name for name in HIGHER if name != "R2"), "regression": ("R2",)}
Pair = tuple[str, int]
Results = dict[str, dict[Pair, dict[str, Any]]]


def collect(paths: Sequence[Path], without: Sequence[str], sets: Sequence[str], task: str) -> Results:
    """The lines of each arm by pair.

    Raises:
        ValueError: arms with other test rows for the same pair, as after a change of how rows are split.
    """
    found: Results = defaultdict(dict)
    rows: dict[Pair, str] = {}
    for line in (line for path in paths for line in lines(path)):
        if line["task"] == task and line["arm"] not in without and line["set"] in sets:
            pair = line["set"], line["split"]
            if rows.setdefault(pair, line["test rows"]) != line["test rows"]:
                raise ValueError(f"arms must have the same test rows for {pair}; measure the older lines again")
            found[line["arm"]][pair] = line
    return found


def in_common(results: Results) -> Results:
    """The pairs that all arms have but the baseline network, which is compared on its own; says how many each has, as
    one with few leaves few for all.
    """
    print("pairs of each arm:", {arm: len(pairs) for arm, pairs in results.items()})
    peers = {arm: pairs for arm, pairs in results.items() if arm != PLAIN}
    common = sorted(set.intersection(*(set(pairs) for pairs in peers.values()))) if peers else []
    return {arm: {pair: pairs[pair] for pair in common} for arm, pairs in peers.items()}


def values(results: Results, metric: str) -> dict[str, np.ndarray]:
    """For each arm the scores over the pairs, in the same order."""
    return {arm: np.array([line["scores"][metric] for line in pairs.values()]) for arm, pairs in results.items()}


def ranks(scores: Mapping[str, np.ndarray], higher: bool) -> dict[str, float]:
    """Mean rank of each arm over the pairs: 1 is best, equals share."""
    from scipy.stats import rankdata

    table = np.stack(list(scores.values()))
    return dict(zip(scores, rankdata(-table if higher else table, axis=0).mean(axis=1).tolist(), strict=True))


def families(results: Results) -> dict[str, list[str]]:
    """The arms of each family that have results."""
    named = {OURS: [arm for arm in results if arm.startswith(OURS)]} | {
        name: [arm for arm in arms if arm in results] for name, arms in FAMILIES.items()
    }
    return {name: arms for name, arms in named.items() if arms}


def versus(results: Results, metric: str, ours: str, other: str) -> dict[str, Any]:
    """Dashpot against one arm: pairs won, tied and lost, and the mean difference (above 0: Dashpot is better) with its
    95 % interval over sets.
    """
    from scipy.stats import t

    scores = values({ours: results[ours], other: results[other]}, metric)
    gain = (scores[ours] - scores[other]) * (1 if HIGHER[metric] else -1)
    by_set: dict[str, list[float]] = defaultdict(list)
    for (name, _), one in zip(results[ours], gain, strict=True):
        by_set[name].append(float(one))
    means = [statistics.mean(some) for some in by_set.values()]
    result: dict[str, Any] = {"won, tied, lost": [int((gain > 0).sum()), int((gain == 0).sum()), int((gain < 0).sum())]}
    result["difference, mean over sets"] = statistics.mean(means)
    if len(means) > 1:
        half = float(t.ppf(0.975, len(means) - 1)) * statistics.stdev(means) / len(means) ** 0.5
        result["interval"] = [statistics.mean(means) - half, statistics.mean(means) + half]
    return result


def set_by_set(results: Results, metric: str, ours: str, other: str) -> dict[str, dict[str, float]]:
    """The mean difference of the splits of each set, above 0 where ``ours`` is better, and its standard error, where
    there are splits enough.
    """
    gains: dict[str, list[float]] = defaultdict(list)
    for pair in sorted(set(results[ours]) & set(results[other])):
        scores = [results[arm][pair]["scores"][metric] for arm in (ours, other)]
        gains[pair[0]].append((scores[0] - scores[1]) * (1 if HIGHER[metric] else -1))
    return {
        name: (
            {"splits": len(some), "difference": statistics.mean(some)}
            | ({"standard error": statistics.stdev(some) / len(some) ** 0.5} if len(some) > 1 else {})
        )
        for name, some in gains.items()
    }


def summary(results: Results, metrics: Sequence[str]) -> dict[str, Any]:
    """Means and ranks of each arm, the best of each family, and Dashpot against each peer."""
    pairs = list(next(iter(results.values())))
    arms: dict[str, dict[str, Any]] = {arm: {} for arm in results}
    best: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        scores, sign = values(results, metric), 1 if HIGHER[metric] else -1
        placed = ranks(scores, HIGHER[metric])
        for arm, some in scores.items():
            arms[arm][metric] = {"mean": float(some.mean()), "rank": placed[arm]}
        best[metric] = {}
        for family, members in families(results).items():
            first = max(members, key=lambda arm: sign * scores[arm].mean())
            best[metric][family] = {"arm": first, "mean": float(scores[first].mean())}
    for arm, some in results.items():
        arms[arm]["cpu seconds"] = {
            name: kind([line["cpu seconds"] for line in some.values()])
            for name, kind in (("median", statistics.median), ("mean", statistics.mean))
        }
    by_set = {
        metric: {name: _means_of(results, metric, name) for name in dict.fromkeys(name for name, _ in pairs)}
        for metric in metrics
    }
    record = {"pairs": len(pairs), "splits by set": {name: [s for n, s in pairs if n == name] for name, _ in pairs}}
    against = {
        ours: {
            metric: {arm: versus(results, metric, ours, arm) for arm in results if not arm.startswith(OURS)}
            for metric in metrics
        }
        for ours in families(results).get(OURS, ())
    }
    return {**record, "arms": arms, "best per family": best, "by set": by_set, "dashpot against": against}


def _means_of(results: Results, metric: str, name: str) -> dict[str, float]:
    return {
        arm: statistics.mean(line["scores"][metric] for pair, line in pairs.items() if pair[0] == name)
        for arm, pairs in results.items()
    }


def text(task: str, part: Mapping[str, Any]) -> str:
    """Two small tables for people: arms, and families."""
    metrics = METRICS[task]
    out = [
        f"\n{task}: {part['pairs']} pairs of set and split that all arms have; mean (mean rank)",
        " ".join(f"{m:>{WIDTH}}" for m in ("", *metrics, "cpu seconds, median")),
    ]
    for arm, row in sorted(part["arms"].items(), key=lambda item: item[1][metrics[0]]["rank"]):
        cells = [f"{row[m]['mean']:.4f} ({row[m]['rank']:.2f})" for m in metrics]
        out.append(" ".join(f"{cell:>{WIDTH}}" for cell in (arm, *cells, f"{row['cpu seconds']['median']:.1f}")))
    out.append("best of each family")
    for family in part["best per family"][metrics[0]]:
        cells = [
            f"{found['mean']:.4f} {found['arm'][:22]}"
            for found in (part["best per family"][m][family] for m in metrics)
        ]
        out.append(" ".join(f"{cell:>{WIDTH}}" for cell in (family, *cells)))
    for ours, against in part["dashpot against"].items():
        out.append(
            f"{ours} against each: won-tied-lost, mean difference over sets [95 % interval], above 0 is better for it"
        )
        out += [
            " ".join(f"{cell:>{WIDTH}}" for cell in (arm, *(_versus_text(against[m][arm]) for m in metrics)))
            for arm in against[metrics[0]]
        ]
    return "\n".join(out)


def beside_text(ours: str, others: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> str:
    """On how many sets Dashpot is above and below each arm by more than two standard errors of its splits, and the sets
    where it is below.
    """
    out = ["sets above : within : below by more than two standard errors of the splits (and those below)"]
    for arm, metrics in others.items():
        for metric, sets in metrics.items():
            sure = {
                name: found["difference"] / max(found["standard error"], 1e-12)
                for name, found in sets.items()
                if "standard error" in found
            }
            below = [f"{name} {sets[name]['difference']:+.4f}" for name, size in sure.items() if size < -2]
            above = sum(size > 2 for size in sure.values())
            out.append(
                f"{ours} - {arm}, {metric}: {above} : {len(sure) - above - len(below)} : {len(below)} "
                f" {', '.join(below)}"
            )
    return "\n".join(out)


def _versus_text(found: Mapping[str, Any]) -> str:
    low_high = "[{:+.3f} {:+.3f}]".format(*found["interval"]) if "interval" in found else ""
    return f"{'-'.join(map(str, found['won, tied, lost']))} {found['difference, mean over sets']:+.4f} {low_high}"
