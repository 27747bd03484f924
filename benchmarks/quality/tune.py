"""``dashpot.tune`` beside what users could pick for a table instead, on the same test rows.

``python benchmarks/quality/tune.py --splits 2 --budget 60`` measures Dashpot's side, a line of JSON per (set, split), and skips what is there already. The peers'
side is ``peers.py``, in an environment that has them. ``python benchmarks/quality/tune.py table`` puts both together: means and mean ranks over those (set, split)
pairs that all arms have, plain and with decisions and temperature fitted on the validation rows, in ``benchmarks/results/tune.json``.

Within a family the best arm is the one with the best mean on the test rows, for all families alike: it says what a family can reach, not what a user who chooses
would get. Differences from Dashpot have their interval over sets, which are independent of each other, as splits of one set are not.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy reads them
    os.environ.setdefault(_variable, "1")

import argparse
import contextlib
import io
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result
from peers import FAMILIES
from tables import DASHPOT_LINES, DATA, PEER_LINES, SETS, Case, Prediction, case_of, lines, measure

from dashpot.data import Problem

OURS, WIDTH = "dashpot", 32
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


def dashpot_arm(problem: Problem, pool: np.ndarray, test: np.ndarray, budget: float, seed: int) -> Prediction:
    """Tune on the rows ``pool`` for ``budget`` seconds and predict the rows ``test``.

    Returns:
        Probabilities [rows, classes] in the order of ``problem.classes``, or values in the target's unit [rows]; as ``decided`` the class codes for balanced accuracy.
    """
    import tempfile

    import torch

    from dashpot.decisions import Decision
    from dashpot.scores import predict
    from dashpot.search.api import Options, run

    classes = problem.task == "classification"
    options = Options(budget=budget, metric="balanced_accuracy" if classes else "rmse", seed=seed, explain=False, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        result = run(problem, options, Path(folder))
    assert np.array_equal(result.test, test)
    out = predict(result.network, result.prepared.x[torch.as_tensor(test)]).double().numpy()
    if not classes:
        return Prediction(test=out[:, 0] * result.prepared.target.scale + result.prepared.target.mean)
    decision = result.decision or Decision()
    probabilities = decision.probabilities(out)
    return Prediction(test=probabilities, decided=decision.decide(probabilities))


def arm_name(budget: float) -> str:
    return f"{OURS}, {budget:g} s"


def run(options: argparse.Namespace) -> None:
    """Dashpot's side: splits one after another, and within a split small sets first."""
    from importlib.metadata import version

    import torch

    torch.set_num_threads(1)
    arm = arm_name(options.budget)
    have = {(line["set"], line["split"]) for line in lines(options.to) if line["arm"] == arm}

    def predict(case: Case) -> Prediction:
        return dashpot_arm(case.problem, case.pool, case.split.test, options.budget, case.seed)

    for name, split in ((name, split) for split in range(options.splits) for name in options.sets):
        if (name, split) not in have:
            measure(options.to, case_of(name, split, options.data), arm, predict, f"dashpot {version('dashpot')}", options.keep)


def collect(paths: Sequence[Path], without: Sequence[str], sets: Sequence[str], task: str) -> Results:
    """The lines of each arm by pair, for the pairs that all arms have; says how many each has, as one with few leaves few for all.

    Raises:
        ValueError: arms with other test rows for the same pair, as after a change of how rows are split.
    """
    found: Results = defaultdict(dict)
    for line in (line for path in paths for line in lines(path)):
        if line["task"] == task and line["arm"] not in without and line["set"] in sets:
            found[line["arm"]][line["set"], line["split"]] = line
    print(f"{task}, pairs of each arm:", {arm: len(pairs) for arm, pairs in found.items()})
    common = sorted(set.intersection(*(set(pairs) for pairs in found.values()))) if found else []
    for pair in common:
        if len({pairs[pair]["test rows"] for pairs in found.values()}) > 1:
            raise ValueError(f"arms must have the same test rows for {pair}; measure the older lines again")
    return {arm: {pair: pairs[pair] for pair in common} for arm, pairs in found.items()}


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
    """Dashpot against one arm: pairs won, tied and lost, and the mean difference (above 0: Dashpot is better) with its 95 % interval over sets."""
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
            name: kind([line["cpu seconds"] for line in some.values()]) for name, kind in (("median", statistics.median), ("mean", statistics.mean))
        }
    by_set = {metric: {name: _means_of(results, metric, name) for name in dict.fromkeys(name for name, _ in pairs)} for metric in metrics}
    record = {"pairs": len(pairs), "splits by set": {name: [s for n, s in pairs if n == name] for name, _ in pairs}}
    against = {
        ours: {metric: {arm: versus(results, metric, ours, arm) for arm in results if not arm.startswith(OURS)} for metric in metrics}
        for ours in families(results).get(OURS, ())
    }
    return {**record, "arms": arms, "best per family": best, "by set": by_set, "dashpot against": against}


def _means_of(results: Results, metric: str, name: str) -> dict[str, float]:
    return {arm: statistics.mean(line["scores"][metric] for pair, line in pairs.items() if pair[0] == name) for arm, pairs in results.items()}


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
        cells = [f"{found['mean']:.4f} {found['arm'][:22]}" for found in (part["best per family"][m][family] for m in metrics)]
        out.append(" ".join(f"{cell:>{WIDTH}}" for cell in (family, *cells)))
    for ours, against in part["dashpot against"].items():
        out.append(f"{ours} against each: won-tied-lost, mean difference over sets [95 % interval], above 0 is better for it")
        out += [" ".join(f"{cell:>{WIDTH}}" for cell in (arm, *(_versus_text(against[m][arm]) for m in metrics))) for arm in against[metrics[0]]]
    return "\n".join(out)


def _versus_text(found: Mapping[str, Any]) -> str:
    low_high = "[{:+.3f} {:+.3f}]".format(*found["interval"]) if "interval" in found else ""
    return f"{'-'.join(map(str, found['won, tied, lost']))} {found['difference, mean over sets']:+.4f} {low_high}"


def table(options: argparse.Namespace) -> None:
    """Both sides together: ``benchmarks/results/tune.json``, and text."""
    record, shown = {}, []
    for task, metrics in METRICS.items():
        results = collect(options.lines, options.without, options.sets, task)
        if results and next(iter(results.values())):
            record[task] = summary(results, metrics)
            shown.append(text(task, record[task]))
    used = sorted({line["by"] for path in options.lines for line in lines(path)})
    what = "60/20/20, one thread each; the scores are of the test rows. Best per family: chosen on the test rows, for all families alike."
    with contextlib.redirect_stdout(io.StringIO()):  # the text below says it shorter
        write_result(options.name, {"what": what, "arms by": used, **record})
    print("\n".join(shown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of each search")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--to", type=Path, default=DASHPOT_LINES)
    parser.add_argument("--keep", type=Path, help="a folder for the predictions themselves")
    parser.set_defaults(do=run)
    tables = parser.add_subparsers().add_parser("table", help="means, ranks and families from the lines that are there")
    tables.add_argument("--lines", type=Path, nargs="+", default=[PEER_LINES, DASHPOT_LINES])
    tables.add_argument("--without", nargs="+", default=[], help="arms to leave out, as one that has few pairs yet", metavar="ARM")
    tables.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    tables.add_argument("--name", default="tune", help="of the result file")
    tables.set_defaults(do=table)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
