"""What one does next, as commands to type, at the end of a command's output."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from dashpot.core.fields import codec
from dashpot.core.language import say
from dashpot.core.recipe import Recipe


def say_next(*commands: str) -> None:
    """Print them."""
    typer.echo(say("next:"))
    for command in commands:
        typer.echo(f"  {' '.join(command.split())}")


def after_tune(folder: Path, record: Any) -> None:
    """Predict, look at the weights, search on."""
    found = json.loads((folder / "tune.json").read_text(encoding="utf-8")) if (folder / "tune.json").exists() else {}
    more = f"--budget {2 * record.budget_s:.0f}s" if record.budget_s else f"--trials {2 * len(record.candidates)}"
    model = f"--model {quote(found['model'])}" if found.get("model") else ""
    run = quote(str(folder))
    say_next(
        predict(folder, found.get("data"), model),
        f"dashpot inspect {run} {model}",
        f"dashpot tune --resume {run} {more} {model}",
    )


def after_fit(folder: Path, data: Path | None, target: str | None, recipe: Recipe, model: str | None) -> None:
    """Predict, look at the weights, compare or search."""
    rows, own = of_data(data, target), f"--model {quote(model)}" if model else ""
    compared = with_(recipe)
    say_next(
        predict(folder, data, own),
        f"dashpot inspect {quote(str(folder))} {own}",
        f"dashpot compare {rows} {compared} --repeats 5" if recipe and not model else f"dashpot tune {rows} {own}",
    )


def after_compare(data: Path | None, target: str | None, recipe: Recipe) -> None:
    """Train with what was compared, read about it, search the strengths."""
    rows = of_data(data, target)
    say_next(
        f"dashpot fit {rows} {with_(recipe)}",
        f"dashpot techniques {recipe[0].name}",
        f"dashpot tune {rows} --budget 5m",
    )


def after_shrink(small: Path, model: str | None) -> None:
    """Predict with the small network, write it for other programs, look at it."""
    own = f"--model {quote(model)}" if model else ""
    say_next(
        predict(small, "DATA", own),
        f"dashpot export {quote(str(small))} --to model.onnx {own}",
        f"dashpot inspect {quote(str(small))} {own}",
    )


def after_export(run: Path, model: str | None) -> None:
    """Predict with the run, make it smaller, see its page."""
    own = f"--model {quote(model)}" if model else ""
    name = quote(str(run))
    say_next(predict(run, "DATA", own), f"dashpot shrink {name} {own}", f"dashpot robustness {name} DATA")


def after_report(runs: list[Path], kind: str, data: str = "") -> None:
    """Use the run, or make one; ``data`` are those that it was made from, where they still are."""
    run, other = quote(str(runs[0])), quote(str(runs[1])) if len(runs) > 1 else ""
    if kind == "shrink":
        after_shrink(runs[0], None)
        return
    if kind not in ("fit", "tune"):
        say_next(
            "dashpot tune DATA --target COLUMN --budget 5m", "dashpot fit DATA --target COLUMN", "dashpot techniques"
        )
        return
    beside = f"--beside {other}" if other else ""
    rows = data or "DATA"
    worse = f"dashpot robustness {run} {quote(rows)} {beside}"
    say_next(predict(runs[0], rows, ""), f"dashpot inspect {run} {beside}", worse)


def predict(folder: Path, data: Any, more: str) -> str:
    """The command that predicts with a run, on the data that it was made from, or others."""
    rows = "DATA" if data is None else quote(str(data))
    return f"dashpot predict {quote(str(folder))} {rows} --out predictions.csv {more}"


def of_data(data: Path | None, target: str | None) -> str:
    """Data and target, as they were typed."""
    return ("" if data is None else quote(str(data))) + (f" --target {quote(target)}" if target else "")


def with_(recipe: Recipe) -> str:
    """The option that names a recipe."""
    return f"--with {quote(codec.to_text(recipe, full=False))}" if recipe else ""
