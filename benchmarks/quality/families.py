"""What each technique earns alone: the network with it less the network without, on the same splits and seeds.

Every technique at one usual strength, named in the table and chosen before anything was measured: another strength may
do otherwise, and what a technique is worth in a recipe is another question. The built-in network of the kind of data
at its default settings, no early stopping unless it is what is measured. 10 seeds: each draws the split (rows of an
official test part stay there), the initial weights and the order of rows. Intervals are of 95 %, with the
correction of Nadeau and Bengio for splits that overlap.

Run: ``python benchmarks/quality/families.py digits FOLDER/credit-g.csv.gz ... --seeds 10`` measures, a line of JSON per
set and seed in ``benchmarks/results/families.jsonl``, and skips what is there already; ``families.py table`` puts all
together in ``benchmarks/results/families.json`` and ``docs/families.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, write_result

from dashpot.comparison.compare import train_together
from dashpot.core.errors import DashpotError
from dashpot.core.recipe import Recipe
from dashpot.data import load_problem
from dashpot.evaluation.statistics import corrected_interval
from dashpot.training.builtin import TrainingLength, split_scores, train

LINES, PAGE = RESULTS / "families.jsonl", RESULTS.parents[1] / "docs" / "families.md"
ALWAYS = (
    *("weight-decay:strength=0.05", "l2:strength=0.001", "l1:strength=0.0001", "elastic-net:strength=0.0001"),
    *(
        "group-lasso:strength=0.001,groups=rows",
        "mcp:strength=0.0001",
        "max-norm:maximum=3",
        "orthogonality:strength=0.001",
    ),
    *("label-smoothing:smoothing=0.1", "confidence-penalty:strength=0.1", "focal-loss:gamma=2", "poly-loss:epsilon=1"),
    *("logit-norm:temperature=0.1", "label-noise:p=0.1", "activity-penalty:strength=0.001"),
    *("gradient-clipping:maximum=1", "gradient-noise:std=0.01", "weight-noise:std=0.1"),
    *("sam:rho=0.05", "asam:rho=0.5", "gsam:rho=0.05", "look-sam:rho=0.05"),
    *("ema:decay=0.99", "swa", "lawa", "lookahead", "early-stopping:patience=20"),
)
"""For all kinds of data."""
DENSE = (
    *("dropout:p=0.2", "gaussian-dropout:p=0.2", "drop-connect:p=0.2", "activation-noise:std=0.1"),
    *("mixup:alpha=0.2", "manifold-mixup:alpha=0.2", "r-drop:strength=1|dropout:p=0.2", "self-distillation:strength=1"),
)
FLOATS = (
    *("input-noise:std=0.1", "adversarial-examples:epsilon=0.05", "virtual-adversarial:epsilon=0.5"),
    *("jacobian-penalty:strength=0.01", "gradient-penalty:strength=0.1"),
)
ARMS: Mapping[str, tuple[str, ...]] = {
    "table": (*ALWAYS, *DENSE, *FLOATS),
    "image": (
        *("weight-decay:strength=0.05", "label-smoothing:smoothing=0.1", "dropout:p=0.2", "channel-dropout:p=0.1"),
        *("drop-block:p=0.1", "translation:fraction=0.06,border=zero", "rotation:degrees=10,border=zero"),
        *(
            "zoom:scale=0.1,border=zero",
            "elastic",
            "cutout:fraction=0.3",
            "mixup:alpha=0.2",
            "cut-mix:p=0.5",
        ),
        *("input-noise:std=0.1", "sam:rho=0.05", "ema:decay=0.99", "ghost-batch-norm:size=16"),
    ),
    "signal": (
        *("weight-decay:strength=0.05", "l1:strength=0.0001", "label-smoothing:smoothing=0.1", "dropout:p=0.2"),
        *("time-shift:fraction=0.5", "time-stretch:scale=0.2", "amplitude-scale:strength=0.2", "drift:strength=0.3"),
        *("time-mask:fraction=0.2", "input-noise:std=0.1", "mixup:alpha=0.2", "sam:rho=0.05", "ema:decay=0.99", "swa"),
    ),
    "text": (
        *("weight-decay:strength=0.05", "l1:strength=0.0001", "label-smoothing:smoothing=0.1", "dropout:p=0.2"),
        *("embedding-dropout:p=0.1", "random-deletion:rate=0.1", "word-masking:rate=0.1", "random-swap:rate=0.1"),
        *("manifold-mixup:alpha=0.2", "focal-loss:gamma=2", "confidence-penalty:strength=0.1", "sam:rho=0.05"),
        *("ema:decay=0.99", "swa"),
    ),
}
METRICS = ("accuracy", "log loss")


def measure(name: str, seed: int) -> dict[str, Any]:
    """Test scores of every arm on one split; of what failed the reason."""
    problem = load_problem(None if name == "digits" else name)
    split = problem.split(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = problem.prepare(split.train)
        recipes = {"": Recipe(), **{text: Recipe.coerce(text) for text in ARMS[problem.kind]}}
        length = TrainingLength.default(problem.kind, len(split.train), None)
        together = train_together(problem, prepared, split, recipes, length, seed=seed)
        scores: dict[str, Any] = {}
        for text, recipe in recipes.items():
            try:
                if text in together:
                    network = together[text].network
                else:
                    network = train(problem, prepared, split, recipe, length, seed=seed, progress=False).model
                found = split_scores(network, prepared, split)
            except DashpotError as error:
                scores[text] = {"refused": str(error)}
                continue
            test, rest = found["test"], found["train"]
            scores[text] = {"accuracy": test["accuracy"], "log loss": test["loss"], "train": rest["accuracy"]}
    return {"rows": [len(split.train), len(split.test)], "scores": scores}


def lines() -> dict[str, dict[int, dict[str, Any]]]:
    """What is measured, by set and seed."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        found[line["set"]][line["seed"]] = line
    return found


def summary() -> dict[str, Any]:
    """By set: the network without anything, and of each technique the mean difference with its interval."""
    sets: dict[str, Any] = {}
    for name, by_seed in lines().items():
        runs = [line["scores"] for _, line in sorted(by_seed.items())]
        train, test = next(iter(by_seed.values()))["rows"]
        arms: dict[str, Any] = {}
        for text in [text for text in runs[0] if text]:
            pairs = [(run[text], run[""]) for run in runs if "refused" not in run.get(text, {"refused": ""})]
            if not pairs:
                arms[text] = {"refused": runs[0][text]["refused"]}
                continue
            arms[text] = {"seeds": len(pairs)}
            for metric in METRICS:
                interval = corrected_interval([own[metric] - other[metric] for own, other in pairs], test / train)
                arms[text][metric] = [interval.mean, interval.low, interval.high]
        none = {metric: statistics.fmean(run[""][metric] for run in runs) for metric in (*METRICS, "train")}
        sets[name] = {"seeds": len(runs), "rows": [train, test], "none": none, "techniques": arms}
    return sets


def page(sets: Mapping[str, Any]) -> str:
    """The table of the documents: differences of log loss, so that below zero is better."""
    names = list(sets)
    techniques = list(dict.fromkeys(text for found in sets.values() for text in found["techniques"]))
    out = [
        "# What each technique earns alone",
        "",
        "Test log loss of the built-in network with one technique less that of the network without any, in thousandths,",
        "with 95 % intervals over the same splits and seeds: **below zero is better**; bold where the interval does not",
        "reach zero. Each technique is at one usual strength that was chosen before: another may do otherwise, and in a",
        "recipe with others it may earn something else. `benchmarks/quality/families.py` writes this page; accuracies and",
        "machine are in `benchmarks/results/families.json`.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        "| seeds | " + " | ".join(str(sets[name]["seeds"]) for name in names) + " |",
        "| none: log loss | " + " | ".join(f"{sets[name]['none']['log loss']:.3f}" for name in names) + " |",
        "| none: accuracy | " + " | ".join(f"{sets[name]['none']['accuracy']:.4f}" for name in names) + " |",
    ]
    for text in techniques:
        cells = [_cell(sets[name]["techniques"].get(text)) for name in names]
        out.append(f"| `{text.replace('|', ' + ')}` | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None or "refused" in found:
        return "" if found is None else "refused"
    mean, low, high = (1000 * value for value in found["log loss"])
    text = f"{mean:+.0f} [{low:+.0f}, {high:+.0f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", help="digits, files of data, or the word table")
    parser.add_argument("--seeds", type=int, default=10)
    chosen = parser.parse_args()
    if chosen.sets == ["table"]:
        sets = summary()
        write_result("families", {"what": __doc__.split("\n")[0], "sets": sets})
        PAGE.write_text(page(sets))
        return
    RESULTS.mkdir(exist_ok=True)
    for seed in range(chosen.seeds):
        for given in chosen.sets:
            name = Path(given).name.split(".")[0]
            if seed in lines().get(name, {}):
                continue
            started = time.perf_counter()
            line = {"set": name, "seed": seed, "date": datetime.date.today().isoformat(), **measure(given, seed)}
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(name, seed, f"{time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
