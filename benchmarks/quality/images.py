"""Images by one command: ``dashpot tune`` beside the plain network of the same time, and what each family earns alone.

``python benchmarks/quality/images.py DATA.npz --budget 300 --seeds 3`` measures, a line of JSON per (set, arm, seed)
in ``benchmarks/results/images.jsonl``, and skips what is there already; ``... images.py table`` puts all together in
``benchmarks/results/images-quality.json``. A file has X_train, y_train, X_test and y_test, where X are bytes of shape
[n, height, width] or [n, height, width, channels], or signals [n, channels, steps].

- ``tune``: the command as a user types it, start, report and figures included. Its accuracy is that on the test rows,
  which it never trains on.
- ``plain``: the built-in network without any technique, at its default settings, for the same wall time.
- ``none``, each family, and ``all``: the built-in network at half its width for 12 epochs (``--families``).
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, write_result

import dashpot
from dashpot import nets
from dashpot.core.environment import machine
from dashpot.data import Prepared, Problem, load_problem
from dashpot.data.kinds import KINDS
from dashpot.evaluation.losses import scores
from dashpot.runs.saved import load_run

LINES = RESULTS / "images.jsonl"
EPOCHS, WIDTH = 12, 16
PHOTO: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "decay": ("weight-decay:strength=0.05",),
    "label smoothing": ("label-smoothing:smoothing=0.1",),
    "geometry": ("horizontal-flip", "translation:fraction=0.1"),
    "colour": ("color-jitter",),
    "erasing": ("cutout:fraction=0.3",),
    "mixing": ("cutmix:p=0.5",),
    "averaging": ("ema:decay=0.98",),
}
"""What is tried alone; ``all`` is everything together."""
GLYPH: Mapping[str, tuple[str, ...]] = {
    **{name: recipe for name, recipe in PHOTO.items() if name != "colour"},
    "geometry": ("translation:fraction=0.06", "rotation:degrees=10"),
}


def tune(path: Path, budget: float, seed: int, net: str | None = None) -> dict[str, Any]:
    """The command, in a process of its own: wall seconds, accuracy on training and test rows, and what was chosen."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        command = [sys.executable, "-m", "dashpot", "tune", str(path), "--budget", f"{budget:g}s", "--seed", str(seed)]
        command += [] if net is None else ["--net", f"net={net}"]
        started = time.perf_counter()
        subprocess.run([*command, "--out", str(run)], check=True, capture_output=True)
        seconds = time.perf_counter() - started
        report = json.loads((run / "report.json").read_text())
        network, *_ = load_run(run)
        prepared, split = _data(path)
        return {
            "seconds": seconds,
            "test": report["test"]["chosen"]["accuracy"],
            "train": _accuracy(network, prepared, split[0]),
            "recipe": (run / "recipe.toml").read_text().splitlines(),
            "final": report["final"],
            "contributions": report["contributions"],
            "candidates": len(report["candidates"]),
        }


def plain(path: Path, budget: float, seed: int) -> dict[str, Any]:
    """The network alone, for the same time."""
    return _fit(path, (), seed, budget=budget)


def family(recipe: tuple[str, ...]) -> Callable[[Path, float, int], dict[str, Any]]:
    """The network with some techniques, for a fixed number of epochs."""
    return lambda path, budget, seed: _fit(path, recipe, seed, width=WIDTH, epochs=EPOCHS)


def _fit(path: Path, recipe: tuple[str, ...], seed: int, width: int | None = None, **length: Any) -> dict[str, Any]:
    prepared, (train, test), problem = _loaded(path)
    usual = KINDS["image"]
    options = {**prepared.stage, **({} if width is None else {"width": width})}
    torch.manual_seed(seed)
    network = nets.build(problem.kind, prepared.x.shape[1:], len(problem.classes), **options)
    started = time.perf_counter()
    dashpot.fit(
        network,
        prepared.part(train),
        recipe=list(recipe),
        batch_size=usual.batch_size or 64,
        lr=usual.lr,
        schedule=usual.schedule,
        seed=seed,
        modality="image",
        progress=False,
        **length,
    )
    return {
        "seconds": time.perf_counter() - started,
        "test": _accuracy(network, prepared, test),
        "train": _accuracy(network, prepared, train),
    }


def _loaded(path: Path) -> tuple[Prepared, tuple[Any, Any], Problem]:
    problem = load_problem(path)
    train, test = problem.pool_and_test(0)
    return problem.prepare(train), (train, test), problem


def _data(path: Path) -> tuple[Prepared, tuple[Any, Any]]:
    prepared, split, _ = _loaded(path)
    return prepared, split


def _accuracy(network: torch.nn.Module, prepared: Prepared, rows: Any) -> float:
    x, y, *_ = prepared.part(rows)
    return scores(network, x, y)["accuracy"]


def lines() -> list[dict[str, Any]]:
    """What is measured; of two lines for the same the later one."""
    found = {}
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        found[line["set"], line["arm"], line["seed"]] = line
    return list(found.values())


def table() -> None:
    """Means over seeds, and differences from the plain network, seed by seed."""
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = defaultdict(dict)
    for line in lines():
        groups[line["set"], line["arm"]][line["seed"]] = line
    found: dict[str, Any] = {}
    for (name, arm), by_seed in sorted(groups.items()):
        own = list(by_seed.values())
        row = {
            "test accuracy": statistics.mean(line["test"] for line in own),
            "each seed": [line["test"] for line in own],
            "train minus test": statistics.mean(line["train"] - line["test"] for line in own),
            "seconds": statistics.mean(line["seconds"] for line in own),
            "machines": [line["machine"] for line in own],
        }
        other = groups.get((name, f"plain {arm.split()[1]}" if arm.startswith("tune") else "none"), {})
        common = sorted(by_seed.keys() & other.keys())
        if common and own[0] is not next(iter(other.values())):
            row["above the plain network"] = statistics.mean(by_seed[s]["test"] - other[s]["test"] for s in common)
        found.setdefault(name, {})[arm] = row
    write_result("images-quality", {"what": __doc__.split("\n")[0], "sets": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="files of images, or the word table")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds of a search")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--families", action="store_true", help="each family alone, instead of searches")
    parser.add_argument("--glyphs", action="store_true", help="families for digits and letters")
    parser.add_argument("--net", default=None, help="a network to search with, such as mlp for signals")
    parser.add_argument("--only", default=None, help="one arm")
    chosen = parser.parse_args()
    if [str(path) for path in chosen.data] == ["table"]:
        table()
        return
    arms: dict[str, Callable[[Path, float, int], dict[str, Any]]]
    if chosen.families:
        alone = GLYPH if chosen.glyphs else PHOTO
        arms = {name: family(recipe) for name, recipe in alone.items()}
        arms["all"] = family(tuple(text for recipe in alone.values() for text in recipe))
    else:
        own = "" if chosen.net is None else f" {chosen.net}"
        searched = functools.partial(tune, net=chosen.net)
        arms = {f"tune {chosen.budget:g}s{own}": searched, f"plain {chosen.budget:g}s": plain}
    known = {(line["set"], line["arm"], line["seed"]) for line in lines()}
    RESULTS.mkdir(exist_ok=True)
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        for path in chosen.data:
            for arm, run in arms.items():
                if (path.stem, arm, seed) in known or (chosen.only or arm) != arm:
                    continue
                where = {"date": datetime.date.today().isoformat(), "machine": machine()["processor"]}
                head = {"set": path.stem, "arm": arm, "seed": seed, **where}
                line = {**head, **run(path, chosen.budget, seed)}
                with LINES.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print({key: line[key] for key in ("set", "arm", "seed", "seconds", "train", "test")}, flush=True)


if __name__ == "__main__":
    main()
