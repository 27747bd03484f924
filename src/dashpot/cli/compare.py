"""``dashpot compare``: the contribution of each technique."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dashpot.cli.options import (
    Data,
    Device,
    Epochs,
    Monotone,
    Out,
    RecipeFile,
    Seed,
    TargetName,
    Task,
    Weights,
    With,
    read_recipe,
)
from dashpot.cli.reading import reads_tables
from dashpot.core.language import say

if TYPE_CHECKING:
    from dashpot.report.compare.record import CompareRecord


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="compare")(compare)


@reads_tables
def compare(
    data: Data = None,
    target: TargetName = None,
    task: Task = None,
    weights: Weights = None,
    *,
    reading: dict[str, Any],
    with_: With = None,
    recipe: RecipeFile = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Splits; the same for every arm.")] = 3,
    out: Out = None,
    seed: Seed = 0,
    epochs: Epochs = None,
    device: Device = "auto",
    monotone: Monotone = None,
) -> None:
    """Train the network without regularization, with each technique alone and with all of them, on the same splits,
    beside linear models and boosted trees.
    """
    from dataclasses import replace

    import numpy as np
    from rich.console import Console

    from dashpot import nets
    from dashpot.cli.next_steps import after_record, for_record, read_from
    from dashpot.comparison.compare import compare as run
    from dashpot.comparison.compare import default_recipe
    from dashpot.core.native import tell
    from dashpot.data import load_problem
    from dashpot.report.compare.figures import compare_figure
    from dashpot.report.compare.table import compare_table, notes
    from dashpot.report.page.onward import data_words
    from dashpot.runs.page import write_run_page
    from dashpot.runs.saved import discarded_unless_started, next_folder, open_folder, write_json

    chosen = read_recipe(recipe, with_)
    problem = load_problem(data, target, task, weights, monotone=monotone, **reading)
    tell()
    if isinstance(problem.inputs, np.ndarray) and problem.kind != "text":
        nets.build(
            problem.kind, problem.inputs.shape[1:], 2
        )  # refuses images that are too small, before each arm would
    if not chosen:
        chosen = default_recipe(problem.task, problem.kind)
        typer.echo(say("no technique was named; comparing {recipe}", recipe=chosen), err=True)
    folder = open_folder(out or next_folder("compare"))
    latest: list[CompareRecord] = []
    made_from = read_from(data, target, reading, task=task, weights=weights, monotone=monotone)

    def keep(record: CompareRecord) -> None:
        record = replace(record, data=for_record(made_from))
        latest[:] = [record]
        write_json(folder / record.FILE, record.to_dict())

    def show() -> None:
        record = latest[0]
        console = Console() if sys.stdout.isatty() else Console(width=100)
        console.print(compare_table(record))
        for line in notes(record):
            console.print(line, markup=False, highlight=False)
        png, _ = compare_figure(record, folder / "compare")
        typer.echo(say("figure: {file}", file=png))
        typer.echo(say("page: {file}", file=write_run_page(folder)))
        after_record(record, folder, data_words(made_from))

    try:
        with discarded_unless_started(folder):
            run(
                problem,
                chosen,
                repeats=repeats,
                epochs=epochs,
                seed=seed,
                device=device,
                note=lambda text: typer.echo(text, err=True),
                keep=keep,
            )
    except KeyboardInterrupt:
        if not latest:
            raise
        said = say("interrupted after {n} of {many} splits; this is what they say:", n=latest[0].repeats, many=repeats)
        typer.echo(said, err=True)
        show()
        raise typer.Exit(130) from None
    show()
