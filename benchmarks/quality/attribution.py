"""Do the 95 % intervals of contributions hold? Each technique's effect by one search's folds and seeds, against the
mean of many searches.

Every search sees a random half of a set, splits it into five folds, and measures what each technique of a recipe
contributes (left out, alone, in pairs) by the code of ``dashpot tune``. The truth is the mean over all searches: the
effect at this number of rows, whichever they are. A set's coverage is the share of its intervals, of all searches and
effects, that hold the truth; 95 % is what is said, and fewer would be too sure. The mean is itself of these searches:
with n of them its error is about 1 / sqrt(n) of one search's, which lowers the coverage that is seen by little.

Sets are scikit-learn's, and tables that are named: ``python benchmarks/quality/attribution.py [FILE.csv ...]
--searches 100``. A line of JSON for each set and search is kept in ``benchmarks/results/attribution.jsonl``, and is
not measured again; ``attribution.py --table`` writes ``benchmarks/results/attribution.json``.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import statistics
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import datasets

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, write_result

from dashpot.data import load_problem
from dashpot.evaluation.cross_validation import folds as split_folds
from dashpot.evaluation.metrics import find_metric
from dashpot.search.inputs import problem_of
from dashpot.search.outcome.ablation import measure
from dashpot.search.racing.networks import in_groups
from dashpot.search.racing.task import Task, equal_folds
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from dashpot.training.builtin import network_for

SETS = ("iris", "wine", "breast_cancer")
LINES = RESULTS / "attribution.jsonl"
RECIPE = ("weight-decay:strength=0.3", "dropout:p=0.2", "mixup:alpha=0.2", "label-smoothing:smoothing=0.05")
FOLDS, EPOCHS, BATCH, LR = 5, 20, 16, 3e-3


def tables(names: list[str]) -> dict[str, Any]:
    """Problems by name: scikit-learn's small sets of classes, and files."""
    found = {
        name: problem_of(getattr(datasets, f"load_{name}")(return_X_y=True), None, None, False).problem for name in SETS
    }
    return found | {Path(name).name.split(".")[0]: load_problem(name, target="target") for name in names}


def search(x: Any, y: Any, classes: int, make: Any, seed: int) -> dict[str, Any]:
    """What one search says of each technique and pair: mean, low, high."""
    rows = np.random.default_rng(seed).permutation(len(y))[: len(y) // 2]
    own = Task(
        x=x[rows],
        y=y[rows],
        folds=equal_folds(split_folds(y[rows], FOLDS, seed), seed),
        make=make,
        metric=find_metric("accuracy", "classification"),
        classes=classes,
        seed=seed,
        calibrated=True,
        device="cpu",
        bfloat16=False,
        modality="table",
        populations=1,
    )
    space = Space(technique_spaces(list(RECIPE)), lr=Numeric(LR, 2 * LR), lr_default=LR)
    params = {**{part.name: True for part in space.techniques}, "lr": LR}
    budget = TrainingBudget(EPOCHS, BATCH, (), FOLDS, 1)
    chosen = Trial(0, space.candidate(params))
    in_groups(own, budget, [chosen], folds=range(FOLDS), deadline=None, say=_silent)
    found = measure(
        own, budget, space, chosen, range(FOLDS), deadline=None, seconds_per_member=0.0, say=_silent, note=print
    )
    rows_ = [(f"{row['technique']}, {row['kind']}", row) for row in found.contributions]
    rows_ += [(" and ".join(row["pair"]), row) for row in found.interactions]
    return {name: [row["difference"], row["low"], row["high"]] for name, row in rows_}


def _silent(*_: Any) -> None:
    return None


def lines() -> dict[str, dict[int, dict[str, Any]]]:
    """What is measured, by set and search."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        found[line["set"]][line["search"]] = line["effects"]
    return found


def table() -> None:
    """Coverage by set and by kind of effect."""
    sets: dict[str, Any] = {}
    every: dict[str, list[bool]] = defaultdict(list)
    for name, searches in lines().items():
        held: dict[str, list[bool]] = {}
        truth: dict[str, float] = {}
        for effect in next(iter(searches.values())):
            own = [found[effect] for found in searches.values() if effect in found]
            truth[effect] = statistics.fmean(mean for mean, _, _ in own)
            held[effect] = [low <= truth[effect] <= high for _, low, high in own]
            every["pairs" if " and " in effect else "techniques"] += held[effect]
        sets[name] = {
            "searches": len(searches),
            "covered": statistics.fmean(hold for each in held.values() for hold in each),
            "effects": {effect: [truth[effect], statistics.fmean(held[effect])] for effect in held},
        }
    covered = {kind: statistics.fmean(held) for kind, held in every.items()}
    both = [hold for held in every.values() for hold in held]
    write_result(
        "attribution",
        {"what": __doc__.split("\n")[0], "covered": {**covered, "all": statistics.fmean(both)}, "sets": sets},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="tables whose target is the column target")
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--table", action="store_true", help="only put together what is measured")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    RESULTS.mkdir(exist_ok=True)
    for name, problem in {} if chosen.table else tables(chosen.files).items():
        prepared = problem.prepare(np.arange(problem.n))
        make = functools.partial(_network, problem, prepared)
        for seed in range(chosen.searches):
            if seed in lines().get(name, {}):
                continue
            started = time.perf_counter()
            effects = search(prepared.x, prepared.y, len(problem.classes), make, seed)
            line = {"set": name, "search": seed, "date": datetime.date.today().isoformat(), "effects": effects}
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(name, seed, f"{time.perf_counter() - started:.1f} s", flush=True)
    table()


def _network(problem: Any, prepared: Any, options: Any) -> torch.nn.Module:
    return network_for(problem, prepared)


if __name__ == "__main__":
    main()
