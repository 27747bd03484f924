"""``dashpot path``: a model at every strength of a penalty, and the columns that each keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dashpot.cli.options import Data, Device, Out, Seed, TargetName, Task, Weights
from dashpot.cli.path_parts import column_names, network_maker, preparer
from dashpot.cli.reading import reads_tables
from dashpot.core.digits import digits
from dashpot.core.language import say

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from dashpot.data import Prepared
    from dashpot.report.path.record import PathRecord
    from dashpot.sparsity.result import PathResult

SHOWN = 20
"""Names of selected columns in the terminal; the file has all."""
STABLE = 0.6
"""The lowest of the thresholds that Meinshausen and Bühlmann recommend."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="path")(path)


@reads_tables
def path(
    data: Data = None,
    target: TargetName = None,
    task: Task = None,
    weights: Weights = None,
    *,
    reading: dict[str, Any],
    technique: Annotated[
        str,
        typer.Option(
            "--technique",
            help="A penalty, such as l1 or elastic-net:l1_ratio=0.5; or compress:to=0.05x macs: sizes from there up.",
        ),
    ] = "l1",
    points: Annotated[
        int | None, typer.Option("--points", help="Strengths to go through, 30 by default; 6 sizes.")
    ] = None,
    cv: Annotated[int, typer.Option("--cv", help="Folds of the cross-validation.")] = 5,
    network: Annotated[
        str | None, typer.Option("--network", help="linear (solved exactly; the default for tables), or mlp (trained).")
    ] = None,
    stability: Annotated[
        bool, typer.Option("--stability", help="Also report how often halves of the rows select each column.")
    ] = False,
    out: Out = None,
    seed: Seed = 0,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="For each strength of a trained network.")] = 50,
    device: Device = "auto",
) -> None:
    """Go through the strengths of a penalty, score each by cross-validation, and name the columns that the simplest
    good model keeps. With --technique compress, go through sizes of a network: accuracy against size and latency.

    Rows that DATA itself names as its test part play no part.
    """
    from dataclasses import replace

    import torch
    from rich.console import Console

    from dashpot.cli.next_steps import after_record, for_record, read_from
    from dashpot.cli.sizes import path_of_sizes
    from dashpot.core.errors import ConfigError, ConflictError
    from dashpot.core.files import write_atomic
    from dashpot.core.native import tell
    from dashpot.core.recipe import Recipe
    from dashpot.data import load_problem
    from dashpot.report.page.onward import data_words
    from dashpot.report.path.figure import path_figure
    from dashpot.runs.page import write_run_page
    from dashpot.runs.saved import next_folder, open_folder, write_json
    from dashpot.sparsity.path import run_path
    from dashpot.sparsity.points import Training
    from dashpot.sparsity.selection import check_technique, selected_features
    from dashpot.sparsity.sizes import POINTS, run_sizes
    from dashpot.techniques.penalties.compress import Compress

    if network not in (None, "linear", "mlp"):
        raise ConfigError("--network", "linear or mlp", network)
    for name in ("vectors", "encoder"):
        if name in reading:
            raise ConfigError(f"--{name}", "left out of a path", reading[name], "No network of a path uses it.")
    asked = Recipe.coerce_one("--technique", technique)
    chosen = asked if isinstance(asked, Compress) else check_technique(asked)
    why = "Units leave hidden layers, not columns."
    if isinstance(chosen, Compress) and network == "linear":
        raise ConfigError("--network", "mlp", network, why)
    if isinstance(chosen, Compress) and stability:
        raise ConfigError("--stability", "left out", stability, why)
    problem = load_problem(data, target, task, weights, **reading)
    if problem.kind == "text":
        way = "With --kind table it is over topics; `dashpot tune` with --net net=textbag --with l1 keeps single words."
        raise ConfigError("DATA", "a table, images or signals, whose columns a path goes over", "texts", way)
    tell()
    rows = problem.pool_and_test(seed)[0] if problem.fixed_test is not None else _rows(problem.n)
    every = problem.prepare(rows)
    kind = network or ("mlp" if isinstance(chosen, Compress) else "linear")
    flat = kind == "linear" or every.x.ndim == 2
    weight = None if problem.weight is None else problem.weight[rows]
    folder = open_folder(out or next_folder("path"))
    common: dict[str, Any] = {
        "cv": cv,
        "weight": None if weight is None else torch.from_numpy(weight),
        "weights": weights,
        "note": lambda text: typer.echo(text, err=True),
    }
    parts = (network_maker(problem, every, kind), preparer(problem, flat, rows), len(rows))
    names = column_names(every, flat)
    made_from = read_from(data, target, reading, task=task, weights=weights)
    try:
        if isinstance(chosen, Compress):
            training, many = Training(epochs=epochs, seed=seed, device=device), POINTS if points is None else points
            sizes = run_sizes(*parts, chosen, points=many, training=training, **common)
            path_of_sizes(sizes, problem, len(names), seed, folder, made_from)
            return
        result = run_path(
            *parts,
            chosen,
            points=30 if points is None else points,
            epochs=epochs,
            seed=seed,
            device=device,
            feature_names=names,
            **common,
        )
    except (ConfigError, ValueError, ConflictError):
        _remove_if_empty(folder)
        raise
    kept = selected_features(result.model(), result.feature_names)
    shares = _stability(result, every, rows, weight, chosen, flat, seed, epochs, device) if stability else None
    record = replace(
        result.record(dataset=problem.name, network=kind, task=problem.task, seed=seed, stability=shares),
        classes=list(problem.classes) or None,
        data=for_record(made_from),
    )
    write_json(folder / record.FILE, record.to_dict())
    write_atomic(folder / "selected.txt", "".join(f"{name}\n" for name in kept))

    console = Console() if sys.stdout.isatty() else Console(width=100)
    console.print(_table(record))
    more = (
        say(", and {n} more in {file}", n=len(kept) - SHOWN, file=folder / "selected.txt") if len(kept) > SHOWN else ""
    )
    console.print(
        say(
            "{n} of {many:,} columns at the one-SE choice: {names}{more}",
            n=len(kept),
            many=record.features,
            names=say(", ").join(kept[:SHOWN]) or say("none"),
            more=more,
        ),
        markup=False,
        highlight=False,
    )
    if shares is not None:
        found = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
        text = say(
            "of 50 random halves of the rows, at that strength, {n} columns are chosen in {share:.0%} or more;"
            " the most frequent: {names}",
            n=sum(share >= STABLE for _, share in found),
            share=STABLE,
            names=say(", ").join(f"{name} {share:.0%}" for name, share in found[:10]) or say("none"),
        )
        console.print(text, markup=False, highlight=False)
    short = result.converged.count(False)
    if short:
        why = say(
            "{n} of {many} strengths did not reach the tolerance somewhere; path.json says which."
            if result.coefficients is not None
            else "{n} of {many} strengths diverged somewhere; path.json says which.",
            n=short,
            many=len(result.converged),
        )
        console.print(why, markup=False, highlight=False)
    png, _ = path_figure(record, folder / "path")
    typer.echo(say("figure: {file}", file=png) + "\n" + say("page: {file}", file=write_run_page(folder)))
    after_record(record, folder, data_words(made_from))


def _rows(n: int) -> np.ndarray:
    import numpy as np

    return np.arange(n)


def _stability(
    result: PathResult,
    every: Prepared,
    rows: np.ndarray,
    weight: np.ndarray | None,
    penalty: Any,
    flat: bool,
    seed: int,
    epochs: int,
    device: str,
) -> dict[str, float]:
    from dashpot.sparsity.selection import stability_selection

    raw = every.standardized()[rows]
    x = raw.flatten(1) if flat else raw
    strength = result.strengths[result.one_se]
    shares = stability_selection(
        result.make,
        (x, every.y[rows]),
        penalty,
        strength=strength,
        sample_weight=weight,
        seed=seed,
        epochs=epochs,
        device=device,
    )
    return {name: float(share) for name, share in zip(result.feature_names, shares, strict=True) if share > 0}


def _table(record: PathRecord) -> Table:
    """At most 12 strengths, the two chosen ones among them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from dashpot.report.path.figure import weighted
    from dashpot.report.style import METRICS

    count = len(record.strengths)
    title = say(
        "{data}: {rows:,} rows{weighted}, {features:,} features, {folds} folds",
        data=record.dataset,
        rows=record.rows,
        weighted=weighted(record),
        features=record.features,
        folds=record.folds,
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=Text(title), title_justify="left")
    scores = [say("{score} ± se", score=say(METRICS[name])) for name in (record.metric, "loss")]
    for name in (say("strength"), *scores, say("zeros"), say("features")):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    marks = {record.best: say("lowest loss")}
    one = say("one-SE choice" if record.one_se != record.best else "lowest loss and one-SE choice")
    marks[record.one_se] = one
    for i in sorted({round(k * (count - 1) / 9) for k in range(10)} | set(marks)):
        cells = (
            f"{record.strengths[i]:.4g}",
            f"{_number(record.score[i])} ± {_number(record.score_se[i])}",
            f"{_number(record.loss[i])} ± {_number(record.loss_se[i])}",
            f"{record.zeros[i]:.1%}",
            f"{record.selected[i]:,}",
            marks.get(i, ""),
        )
        table.add_row(*map(Text, cells), style="bold" if i in marks else "")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else digits(value)


def _remove_if_empty(folder: Path) -> None:
    """A refused command leaves no empty folder behind."""
    import contextlib

    with contextlib.suppress(OSError):
        folder.rmdir()
