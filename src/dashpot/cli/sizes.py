"""``dashpot path --technique compress``: the score of a network against its size."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dashpot.cli.next_steps import after_record, for_record
from dashpot.core.digits import digits
from dashpot.core.language import say
from dashpot.report.page.onward import data_words

if TYPE_CHECKING:
    from rich.table import Table

    from dashpot.data import Problem
    from dashpot.report.sizes.record import SizesRecord
    from dashpot.sparsity.sizes import SizePath


def path_of_sizes(
    found: SizePath, problem: Problem, features: int, seed: int, folder: Path, made_from: Mapping[str, Any]
) -> None:
    """Write ``sizes.json``, a figure and the page, and show the table.

    Args:
        features: of the data.
        made_from: the data as they were typed, as of :func:`~dashpot.cli.next_steps.read_from`.
    """
    from rich.console import Console

    from dashpot.report.sizes.figure import sizes_figure
    from dashpot.runs.page import write_run_page
    from dashpot.runs.saved import write_json

    record = replace(
        found.record,
        features=features,
        dataset=problem.name,
        task=problem.task,
        seed=seed,
        data=for_record(made_from),
    )
    write_json(folder / record.FILE, record.to_dict())
    console = Console() if sys.stdout.isatty() else Console(width=100)
    console.print(_table(record))
    png, _ = sizes_figure(record, folder / "sizes")
    typer.echo(say("figure: {file}", file=png) + "\n" + say("page: {file}", file=write_run_page(folder)))
    after_record(record, folder, data_words(made_from))


def _table(record: SizesRecord) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from dashpot.report.style import METRICS

    title = say(
        "{data}: {rows:,} rows, {features:,} features, {folds} folds",
        data=record.dataset,
        rows=record.rows,
        features=record.features,
        folds=record.folds,
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=Text(title), title_justify="left")
    scores = [say("{score} ± se", score=say(METRICS[name])) for name in (record.metric, "loss")]
    for name in (say("asked for"), say("parameters"), "macs", say("ms, 1 row"), say("ms, 64"), *scores):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    marks = {record.best: say("lowest loss")}
    marks[record.one_se] = say("both choices" if record.best == record.one_se else "one-SE choice")
    for i, size in enumerate(record.sizes):
        cells = (
            size.replace(" parameters", ""),
            f"{record.parameters[i]:,}",
            f"{record.macs[i]:,}",
            f"{record.ms_1[i]:.3g}",
            f"{record.ms_64[i]:.3g}",
            f"{_number(record.score[i])} ± {_number(record.score_se[i])}",
            f"{_number(record.loss[i])} ± {_number(record.loss_se[i])}",
            marks.get(i, ""),
        )
        table.add_row(*map(Text, cells), style="bold" if i in marks else "")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else digits(value)
