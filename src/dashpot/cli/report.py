"""``dashpot report``: the page of a run, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dashpot.core.language import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="report")(report)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of `dashpot tune`, fit, compare, path, robustness or shrink."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="By default report.html in RUN, or here for several.")
    ] = None,
) -> None:
    """Write one page that shows all that a run found, or several runs of fit and tune side by side."""
    from dashpot.cli.next_steps import after_report
    from dashpot.core.errors import ConfigError, StorageError
    from dashpot.report.page.several import several_page
    from dashpot.report.page.write import FILE, write_page
    from dashpot.runs.page import data_at_hand, record_of, side_of, write_run_page

    for run in runs:
        if not run.is_dir():
            raise StorageError(
                f"RUN must be the folder of a run; {run} {'is a file' if run.exists() else 'does not exist'}."
            )
    if out is not None and (out.suffix.lower() not in (".html", ".htm") or out.is_dir() or not out.parent.is_dir()):
        raise ConfigError("--out", "an .html file in a folder that exists", str(out), "Such as --out report.html.")
    if len(runs) == 1:
        typer.echo(say("page: {file}", file=write_run_page(runs[0], out=out)))
    else:
        sides = [side_of(run) for run in runs]
        typer.echo(say("page: {file}", file=write_page(several_page(sides), out or Path(FILE))))
        runs = [run for run, side in zip(runs, sides, strict=True) if side.data == sides[0].data]
    kind, record = record_of(runs[0])
    after_report(runs, kind, record, data_at_hand(runs[0], record))
