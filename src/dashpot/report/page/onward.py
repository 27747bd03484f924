"""What one does next with what was compared, as commands to type: for a page, and for the end of a command's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from dashpot.core.errors import DashpotError
from dashpot.core.fields import codec
from dashpot.core.language import say
from dashpot.core.recipe import Recipe
from dashpot.report.compare.record import CompareRecord
from dashpot.report.compare.stats import summarize
from dashpot.report.path.record import PathRecord
from dashpot.report.sizes.record import SizesRecord
from dashpot.report.tune.record import TuneRecord

Commands = list[tuple[str, str]]
"""What each is for, and the command."""
FILES = ("tokenizer", "vectors", "encoder")
"""Options that may name a file, whose folders a page does not tell."""


def data_words(data: Mapping[str, Any], *, folders: bool = True) -> str:
    """Data, target and what was said of their reading, as a command takes them.

    Args:
        data: ``source``, ``target`` and ``options`` as records keep them.
        folders: whether files are named with their folders.

    Example:
        >>> data_words({"source": "my data/a.csv", "target": "y", "options": {"numeric": ["a", "b"]}})
        "'my data/a.csv' --target y --numeric a --numeric b"
    """

    def name(value: Any) -> str:
        return quote(str(value) if folders else Path(str(value)).name)

    source, target = data.get("source"), data.get("target")
    words = [name(source)] if source else []
    words += [f"--target {quote(target)}"] if target else []
    for option, value in (data.get("options") or {}).items():
        if option == "day_first":
            words.append("--day-first" if value else "--month-first")
            continue
        for one in value if isinstance(value, list) else [value]:
            words.append(f"--{option} {name(one) if option in FILES else quote(str(one))}")
    return " ".join(words)


def rows_of(record: CompareRecord | PathRecord | SizesRecord, *, folders: bool = True) -> str:
    """The data of a record as a command takes them; placeholders where a record of before did not keep them."""
    if not record.data and record.dataset != "digits":
        return "DATA --target COLUMN"
    return data_words(record.data, folders=folders)


def after_compare(record: CompareRecord, rows: str) -> Commands:
    """Train with what was best, read about it, search.

    Args:
        record: of the comparison.
        rows: the data as a command takes them.
    """
    scored = [row for row in summarize(record) if row.kind == "network" and row.score is not None]
    best = max(scored, key=lambda row: row.score or 0.0).name if scored else ""
    texts = [record.recipes.get(best, ""), *record.recipes.values()]
    named = next((text for text in texts if text), "")
    commands = [] if not record.recipes else [(say("train the best network"), _fit(rows, texts[0]))]
    if named:
        commands.append((say("read about it"), f"dashpot techniques {Recipe.coerce(named)[0].name}"))
    return [*commands, (say("search techniques and strengths"), typed("dashpot tune", rows, "--budget 5m"))]


def longer(record: TuneRecord) -> str:
    """The option by which a search goes on for twice as long, or with twice as many candidates."""
    return f"--budget {2 * record.budget_s:.0f}s" if record.budget_s else f"--trials {2 * len(record.candidates)}"


def short(technique: str) -> str:
    """The text of a technique without what it has by default."""
    try:
        return codec.to_text(Recipe.coerce(technique), full=False)
    except DashpotError:  # of a package that this installation does not have
        return technique


def after_path(record: PathRecord | SizesRecord, rows: str) -> Commands:
    """Train at the point that was chosen, and read about the technique.

    Args:
        record: of the path.
        rows: the data as a command takes them.
    """
    try:
        technique = Recipe.coerce(record.technique)
    except DashpotError:  # of a package that this installation does not have
        return []
    if isinstance(record, SizesRecord):
        first: Any = technique[0]
        chosen: Any = replace(first, to=record.sizes[record.one_se])
        last = record.one_se == len(record.sizes) - 1  # the full network, which nothing makes smaller
        text = "" if last else codec.to_text(chosen, full=False)
        return [(say("train the chosen size"), _fit(rows, text)), _read(technique)]
    penalty: Any = technique[0]
    text = codec.to_text(penalty.with_strength(float(f"{record.strengths[record.one_se]:.4g}")), full=False)
    linear = "--net depth=0" if record.network == "linear" else ""
    return [(say("train at the chosen strength"), _fit(rows, text, linear)), _read(technique)]


def training_words(training: Mapping[str, Any]) -> str:
    """Learning rates and options of the network, as ``dashpot fit`` takes them.

    >>> training_words({"lr": 0.00312345, "net": {"width": 16, "se": True}})
    '--lr 0.003123 --net width=16 --net se=true'
    """
    rates = [f"--{name.replace('_', '-')} {training[name]:.4g}" for name in ("lr", "lr_decay") if name in training]
    options = {n: str(v).lower() if isinstance(v, bool) else v for n, v in training.get("net", {}).items()}
    return typed(model_words(training), *rates, *(f"--net {quote(f'{n}={v}')}" for n, v in options.items()))


def model_words(training: Mapping[str, Any]) -> str:
    """A network of the user's own as commands take it, without the folders above its file."""
    return f"--model {quote(Path(str(training['model'])).name)}" if training.get("model") else ""


def typed(*parts: str) -> str:
    """A command of its parts, of which those that are empty were left out."""
    return " ".join(part for part in parts if part)


def _fit(rows: str, recipe: str, more: str = "") -> str:
    return typed("dashpot fit", rows, f"--with {quote(recipe)}" if recipe else "", more)


def _read(recipe: Recipe) -> tuple[str, str]:
    return say("read about it"), f"dashpot techniques {recipe[0].name}"
