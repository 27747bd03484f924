"""What one does next, as commands to type, at the end of a command's output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from dashpot.core.fields import codec
from dashpot.core.language import say
from dashpot.core.recipe import Recipe
from dashpot.report.compare.record import CompareRecord
from dashpot.report.page.onward import after_compare, after_path, data_words, longer, rows_of, typed
from dashpot.report.path.record import PathRecord
from dashpot.report.sizes.record import SizesRecord


def say_next(*commands: str) -> None:
    """Print them."""
    typer.echo(say("next:"))
    for command in commands:
        typer.echo(f"  {command}")


def after_tune(folder: Path, record: Any) -> None:
    """Predict, look at the weights, search on."""
    found = json.loads((folder / "tune.json").read_text(encoding="utf-8")) if (folder / "tune.json").exists() else {}
    own, run = _own(found.get("model")), quote(str(folder))
    reader = _reader(found.get("reading"))
    say_next(
        predict(folder, found.get("data"), typed(own, reader)),
        typed("dashpot inspect", run, own),
        typed("dashpot tune --resume", run, longer(record), own),
    )


def after_fit(
    folder: Path, made_from: Mapping[str, Any], recipe: Recipe, model: str | None, changed: bool = False
) -> None:
    """Predict, look at the weights, compare or search.

    Args:
        made_from: as of :func:`read_from`.
        changed: the network is the built-in one with other options, which a comparison does not take.
    """
    rows, own = data_words(made_from), _own(model)
    reader = _reader(made_from.get("options"))
    compared = f"--with {quote(codec.to_text(recipe, full=False))}" if recipe else ""
    say_next(
        predict(folder, made_from["source"], typed(own, reader)),
        typed("dashpot inspect", quote(str(folder)), own),
        typed("dashpot compare", rows, compared, "--repeats 5")
        if recipe and not model and not changed
        else typed("dashpot tune", rows, own),
    )


def after_record(
    record: CompareRecord | PathRecord | SizesRecord, folder: Path | None, rows: str | None = None
) -> None:
    """What a comparison or a path is followed by, as its page says it.

    Args:
        folder: whose page can be written again; None where it was just written.
        rows: the data as one types them; by default as the record has them.
    """
    shown = rows_of(record) if rows is None else rows
    found = after_compare(record, shown) if isinstance(record, CompareRecord) else after_path(record, shown)
    again = [] if folder is None else [f"dashpot report {quote(str(folder))}"]
    say_next(*(command for _, command in found), *again)


def after_shrink(small: Path, model: str | None, data: str = "") -> None:
    """Predict with the small network, write it for other programs, look at it."""
    own, run = _own(model), quote(str(small))
    say_next(
        predict(small, data or "DATA", own),
        typed("dashpot export", run, "--to model.onnx", own),
        typed("dashpot inspect", run, own),
    )


def after_export(run: Path, model: str | None) -> None:
    """Predict with the run, make it smaller, see its page."""
    own, name = _own(model), quote(str(run))
    say_next(
        predict(run, "DATA", own), typed("dashpot shrink", name, own), typed("dashpot robustness", name, "DATA", own)
    )


def after_report(runs: list[Path], kind: str, record: Any, data: str = "") -> None:
    """Use the run, or make one.

    Args:
        runs: on the same data, as a second one is named beside the first.
        record: of the first.
        data: those that it was made from, where they still are.
    """
    run, other = quote(str(runs[0])), quote(str(runs[1])) if len(runs) > 1 else ""
    if kind == "shrink":
        after_shrink(runs[0], None, data)
        return
    if isinstance(record, CompareRecord | PathRecord | SizesRecord):
        there = data or ("DATA" if record.data.get("source") else None)
        after_record(record, None, data_words({**record.data, "source": there}) if record.data else None)
        return
    if kind not in ("fit", "tune"):
        say_next(
            "dashpot tune DATA --target COLUMN --budget 5m", "dashpot fit DATA --target COLUMN", "dashpot techniques"
        )
        return
    beside = f"--beside {other}" if other else ""
    rows = data or "DATA"
    say_next(
        predict(runs[0], rows, ""),
        typed("dashpot inspect", run, beside),
        typed("dashpot robustness", run, quote(rows), beside),
    )


def predict(folder: Path, data: Any, more: str) -> str:
    """The command that predicts with a run, on the data that it was made from, or others."""
    rows = "DATA" if data is None else quote(str(data))
    return typed("dashpot predict", quote(str(folder)), rows, "--out predictions.csv", more)


def read_from(data: Path | None, target: str | None, reading: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Data, target and the options of their reading, as they were typed.

    Args:
        reading: of :func:`dashpot.cli.reading.reads_tables`.
        more: other options that say how the data are read; None where they were not given.
    """
    options = {name: value for name, value in {**more, **reading}.items() if value is not None}
    return {
        "source": None if data is None else str(data),
        **({"target": target} if target else {}),
        **({"options": options} if options else {}),
    }


def said_of_training(lr: float | None, lr_decay: float, net: list[str] | None, model: str | None) -> dict[str, Any]:
    """What was said of the learning rate and the network, for a record."""
    said = {"model": model, "lr": lr, "lr_decay": None if lr_decay == 1.0 else lr_decay}
    given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    return {**given, **({"net": dict(text.split("=", 1) for text in net)} if net else {})}


def for_record(made_from: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a record, which is read from any folder."""
    source = made_from["source"]
    return {**made_from, "source": None if source is None else str(Path(source).resolve())}


def _reader(options: Mapping[str, Any] | None) -> str:
    """The function of the user's own that cuts texts, which no run is read without; a file is kept in the run."""
    tokenizer = str((options or {}).get("tokenizer") or "")
    return f"--tokenizer {quote(tokenizer)}" if ":" in tokenizer and not Path(tokenizer).is_file() else ""


def _own(model: str | None) -> str:
    return f"--model {quote(model)}" if model else ""
