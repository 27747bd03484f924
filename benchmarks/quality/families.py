"""What each technique earns alone: the network with it less the network without, on the same splits and seeds.

Every technique at one usual strength, named in the table and chosen before anything was measured: another strength may
do otherwise, and what a technique is worth in a recipe is another question. The built-in network of the kind of data
at its default settings and half of the usual epochs, no early stopping unless it is what is measured. 10 seeds: each
draws the split (rows of an official test part stay there), the initial weights and the order of rows. Intervals are
of 95 %, with the correction of Nadeau and Bengio for splits that overlap.

Run: ``python benchmarks/quality/families.py digits FOLDER/credit-g.csv.gz ... --seeds 10`` measures, a line of JSON for
each set and technique in ``benchmarks/results/families.jsonl``, and skips what is there already; ``families.py table``
puts all together in ``benchmarks/results/families.json`` and ``docs/families.md``.
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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, write_result

from dashpot.core.errors import DashpotError
from dashpot.core.recipe import Recipe
from dashpot.data import Split, load_problem
from dashpot.evaluation.calibration import fit_temperature
from dashpot.evaluation.statistics import corrected_interval
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.techniques.stopping.early_stopping import EarlyStopping
from dashpot.training.builtin import TrainingLength, network_for

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
SHARE = 0.5
"""Of the usual number of epochs."""


class Seeds:
    """A set with as many splits as there are seeds. Columns are prepared by the features of all rows, never by the
    target, so that the networks of all splits have one shape.
    """

    def __init__(self, name: str, seeds: int) -> None:
        self.problem = load_problem(None if name == "digits" else name, target="target" if ".csv" in name else None)
        self.splits = [self.problem.split(seed) for seed in range(seeds)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.prepared = self.problem.prepare(np.concatenate(self.problem.pool_and_test(0)))
        self.rows = [len(self.splits[0].train), len(self.splits[0].test)]
        usual = TrainingLength.default(self.problem.kind, self.rows[0], None)
        self.length = replace(usual, epochs=max(1, round(SHARE * (usual.epochs or 1))))

    def measure(self, text: str) -> dict[str, Any]:
        """A recipe's test scores, of each seed. Networks of one shape are trained together where that is possible."""
        recipe, plan = Recipe.coerce(text) if text else Recipe(), self.length
        assert plan.epochs is not None
        stops = any(isinstance(t, EarlyStopping) for t in recipe)
        members = [
            Member(
                make=functools.partial(network_for, self.problem, self.prepared),
                recipe=recipe,
                lr=plan.lr,
                seed=seed,
                rows=split.train,
                watch=split.valid if stops else None,
            )
            for seed, split in enumerate(self.splits)
        ]
        population = Population(
            members,
            [(self.prepared.x, self.prepared.y)],
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            schedule=plan.schedule,
            device="cpu",
            bfloat16=False,
            modality=self.prepared.modality,
        )
        population.train(plan.epochs)
        if population.failed:
            return {"refused": f"{len(population.failed)} of {len(members)} diverged"}
        found = [self._scores(population.model(seed), split) for seed, split in enumerate(self.splits)]
        return {name: [scores[name] for scores in found] for name in (*METRICS, "train")}

    def _scores(self, network: torch.nn.Module, split: Split) -> dict[str, float]:
        """Accuracy, and the log loss after one temperature that is fitted on the validation rows, as a search does."""
        network.eval()
        with torch.inference_mode():
            parts = {}
            for name, rows in {"train": split.train, "valid": split.valid, "test": split.test}.items():
                x, y, *_ = self.prepared.part(rows)
                parts[name] = (network(x), y)
        temperature = fit_temperature(*parts["valid"])
        out, y = parts["test"]
        right, known = out.argmax(1) == y, parts["train"][0].argmax(1) == parts["train"][1]
        loss = torch.nn.functional.cross_entropy(out / temperature, y)
        return {"accuracy": float(right.float().mean()), "log loss": float(loss), "train": float(known.float().mean())}


def lines() -> dict[str, dict[str, dict[str, Any]]]:
    """What is measured, by set and technique."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        found[line["set"]][line["technique"]] = line
    return found


def summary() -> dict[str, Any]:
    """By set: the network without anything, and of each technique the mean difference with its interval."""
    sets: dict[str, Any] = {}
    for name, by_technique in lines().items():
        none = by_technique[""]
        train, test = none["rows"]
        techniques: dict[str, Any] = {}
        for text, own in by_technique.items():
            if not text:
                continue
            if "refused" in own:
                techniques[text] = {"refused": own["refused"]}
                continue
            techniques[text] = {}
            for metric in METRICS:
                differences = [a - b for a, b in zip(own[metric], none[metric], strict=True)]
                interval = corrected_interval(differences, test / train)
                techniques[text][metric] = [interval.mean, interval.low, interval.high]
        means = {metric: statistics.fmean(none[metric]) for metric in (*METRICS, "train")}
        seeds = len(none["accuracy"])
        sets[name] = {"seeds": seeds, "rows": none["rows"], "none": means, "techniques": techniques}
    return sets


def page(sets: Mapping[str, Any]) -> str:
    """The table of the documents: differences of log loss, so that below zero is better."""
    names = list(sets)
    techniques = list(dict.fromkeys(text for found in sets.values() for text in found["techniques"]))
    out = [
        "# What each technique earns alone",
        "",
        "Test log loss, after one temperature, of the built-in network with one technique less that of the network",
        "without any, in thousandths, with 95 % intervals over the same splits and seeds: **below zero is better**;",
        "bold where the interval does not reach zero. Each technique is at one usual strength, chosen before: another",
        "may do otherwise, and in a recipe with others it may earn something else. `benchmarks/quality/families.py`",
        "writes this page; accuracies and the machine are in `benchmarks/results/families.json`.",
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
    for given in chosen.sets:
        name, ready = Path(given).name.split(".")[0], Seeds(given, chosen.seeds)
        for text in ("", *ARMS[ready.problem.kind]):
            if text in lines().get(name, {}):
                continue
            started, head = time.perf_counter(), {"set": name, "technique": text, "rows": ready.rows}
            try:
                line = {**head, "date": datetime.date.today().isoformat(), **ready.measure(text)}
            except DashpotError as error:
                line = {**head, "refused": str(error)}
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(name, text or "none", f"{time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
