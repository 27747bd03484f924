"""Texts by one command: ``dashpot tune`` beside linear models on TF-IDF, which are hard to beat on short texts.

``python benchmarks/quality/text.py DATA.csv --budget 180 --seeds 3`` measures, a line of JSON per (set, arm, seed) in
``benchmarks/results/text.jsonl``, and skips what is there already; ``... text.py table`` puts all together in
``benchmarks/results/text-quality.json``. A table has the columns ``text`` and ``target``, and perhaps ``split``.

- ``tune``: the command as a user types it, start, report and figures included; its accuracy on the test rows, which it
  never trains on, the seconds until its first answer and of all, and its memory.
- ``encoder`` (with ``--encoder DIR [--package NAME]``): the same with a sentence encoder of that folder; the line says
  which it is. It knows more than the table, so it stands beside, never for, what ``tune`` learns from the table alone.
- ``logistic``, ``svm``, ``nb-svm``, ``complement-nb``: scikit-learn on TF-IDF of words, pairs of words and runs of 3
  to 5 characters, strengths chosen by five folds of the training rows.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, write_result

from dashpot.core.environment import machine, versions
from dashpot.data import load_problem

LINES = RESULTS / "text.jsonl"
FIRST = "on the held-out rows of one fold"
"""Ends the line that is a search's first answer."""


def tune(path: Path, budget: float, seed: int, *more: str) -> dict[str, Any]:
    """The command, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        command = [sys.executable, "-m", "dashpot", "tune", str(path), "--target", "target", "--seed", str(seed), *more]
        started, first = time.perf_counter(), None
        process = subprocess.Popen(
            [*command, "--budget", f"{budget:g}s", "--out", str(run)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            first = time.perf_counter() - started if first is None and FIRST in line else first
        if process.wait():
            raise RuntimeError("".join(said))
        seconds = time.perf_counter() - started
        report = json.loads((run / "report.json").read_text())
        return {
            "seconds": seconds,
            "first answer": first,
            "test": report["test"]["chosen"]["accuracy"],
            "log loss": report["test"]["chosen"]["log_loss"],
            "its linear models": {name: one["accuracy"] for name, one in report["test"]["references"].items()},
            "memory MB": report["peak_memory_mb"],
            "recipe": (run / "recipe.toml").read_text().splitlines(),
            "final": report["final"],
            "contributions": report["contributions"],
            "candidates": len(report["candidates"]),
        }


def encoded(folder: Path, package: str | None) -> Callable[[Path, float, int], dict[str, Any]]:
    """The command with an encoder. Vectors that are in the user's cache from before are not computed again."""

    def run(path: Path, budget: float, seed: int) -> dict[str, Any]:
        config = json.loads((folder / "config.json").read_text())
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        named = {"package": package, "transformers": importlib.metadata.version("transformers")}
        about = {"name": config.get("_name_or_path") or folder.name, "kind": config["model_type"], **named}
        sizes = {"layers": config.get("num_hidden_layers"), "width": config.get("hidden_size"), "MB": weights / 1e6}
        return {**tune(path, budget, seed, "--encoder", str(folder)), "encoder": {**about, **sizes}}

    return run


def linear(how: str) -> Callable[[Path, float, int], dict[str, Any]]:
    """A linear model by scikit-learn on the same rows."""

    def run(path: Path, budget: float, seed: int) -> dict[str, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from sklearn.naive_bayes import ComplementNB
        from sklearn.pipeline import make_pipeline, make_union
        from sklearn.svm import LinearSVC

        problem = load_problem(path, "target", kind="text")
        texts = np.array([" ".join(str(cell) for cell in row if cell is not None) for row in problem.inputs])
        train, test = problem.pool_and_test(seed)
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
        pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2)
        models: dict[str, tuple[Any, dict[str, Any]]] = {
            "logistic": (LogisticRegression(max_iter=1000), {"logisticregression__C": [1, 3, 10, 30]}),
            "svm": (LinearSVC(), {"linearsvc__C": [0.1, 0.3, 1.0]}),
            "nb-svm": (NaiveBayesSVM(), {"naivebayessvm__C": [0.3, 1.0, 3.0]}),
            "complement-nb": (ComplementNB(), {"complementnb__alpha": [0.1, 0.3, 1.0]}),
        }
        model, grid = models[how]
        started = time.perf_counter()
        search = GridSearchCV(make_pipeline(make_union(words, pieces), model), grid, cv=5)
        search.fit(texts[train], problem.labels[train])
        return {
            "seconds": time.perf_counter() - started,
            "test": float(search.score(texts[test], problem.labels[test])),
            "strength": {name.split("__")[1]: value for name, value in search.best_params_.items()},
        }

    return run


class NaiveBayesSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Wang and Manning's machine, by scikit-learn's parts: one class against the rest, on features times log ratios."""

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(self, x: Any, y: np.ndarray) -> NaiveBayesSVM:
        from sklearn.svm import LinearSVC

        self.classes_ = np.unique(y)
        self.ratios, self.machines = [], []
        for label in self.classes_:
            yes = y == label
            own, other = (np.asarray(x[part].sum(axis=0)).ravel() + 1 for part in (yes, ~yes))
            ratio = np.log(own / own.sum()) - np.log(other / other.sum())
            self.ratios.append(ratio)
            self.machines.append(LinearSVC(C=self.C).fit(x.multiply(ratio).tocsr(), yes))
        return self

    def predict(self, x: Any) -> np.ndarray:
        pairs = zip(self.ratios, self.machines, strict=True)
        margins = [machine.decision_function(x.multiply(ratio).tocsr()) for ratio, machine in pairs]
        return self.classes_[np.argmax(margins, axis=0)]


def lines() -> list[dict[str, Any]]:
    """What is measured; of two lines for the same the later one."""
    found = {}
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        found[line["set"], line["arm"], line["seed"]] = line
    return list(found.values())


def table() -> None:
    """Means over seeds, and the difference from the best linear model, seed by seed."""
    groups: dict[str, dict[str, dict[int, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines():
        groups[line["set"]][line["arm"]][line["seed"]] = line
    found: dict[str, Any] = {}
    for name, arms in sorted(groups.items()):
        plain = {arm: by for arm, by in arms.items() if not arm.startswith("tune")}
        for arm, by_seed in sorted(arms.items()):
            own = list(by_seed.values())
            row: dict[str, Any] = {
                "test accuracy": statistics.mean(line["test"] for line in own),
                "each seed": [line["test"] for line in own],
                "seconds": statistics.mean(line["seconds"] for line in own),
                "dates": sorted({line["date"] for line in own}),
                "processors": sorted({line.get("processor", "not recorded") for line in own}),
            }
            if arm.startswith("tune"):
                row["seconds to the first answer"] = max(line["first answer"] or line["seconds"] for line in own)
                row["memory MB at most"] = max(line["memory MB"].get("process", 0.0) for line in own)
                if "encoder" in own[-1]:
                    row["encoder"] = own[-1]["encoder"]
                # The best on the test rows, so chosen in its favour; those of the search's own report are among them.
                gains = [
                    line["test"]
                    - max(
                        *line["its linear models"].values(), *(by[seed]["test"] for by in plain.values() if seed in by)
                    )
                    for seed, line in by_seed.items()
                ]
                row["above the best linear model"] = statistics.mean(gains)
            found.setdefault(name, {})[arm] = row
    write_result("text-quality", {"what": (__doc__ or "").split("\n")[0], "sets": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="tables of texts, or the word table")
    parser.add_argument("--budget", type=float, default=180.0, help="seconds of a search")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--encoder", type=Path, default=None, help="the folder of a sentence encoder, for one more arm")
    parser.add_argument("--package", default=None, help="where the encoder came from, with its version")
    parser.add_argument("--only", default=None, help="one arm")
    chosen = parser.parse_args()
    if [str(path) for path in chosen.data] == ["table"]:
        table()
        return
    arms: dict[str, Callable[[Path, float, int], dict[str, Any]]] = {f"tune {chosen.budget:g}s": tune}
    if chosen.encoder is not None:
        arms[f"tune {chosen.budget:g}s with an encoder"] = encoded(chosen.encoder, chosen.package)
    arms |= {how: linear(how) for how in ("logistic", "svm", "nb-svm", "complement-nb")}
    known = {(line["set"], line["arm"], line["seed"]) for line in lines()}
    RESULTS.mkdir(exist_ok=True)
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        for path in chosen.data:
            for arm, run in arms.items():
                name = path.name.split(".")[0]
                if (name, arm, seed) in known or (chosen.only or arm) != arm:
                    continue
                head = {"set": name, "arm": arm, "seed": seed, "date": datetime.date.today().isoformat()}
                where = {"processor": machine()["processor"], "versions": versions()}
                line = {**head, **run(path, chosen.budget, seed), **where}
                with LINES.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print({key: line[key] for key in ("set", "arm", "seed", "seconds", "test")}, flush=True)


if __name__ == "__main__":
    main()
