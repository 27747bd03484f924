"""``dashpot shrink``: a saved run without the units that exact zeros make empty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dashpot.cli.options import Model, Out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="shrink")(shrink)


def shrink(
    run: Annotated[Path, typer.Argument(help="The folder of a finished `dashpot fit` or `dashpot tune`.")],
    model: Model = None,
    out: Out = None,
) -> None:
    """Write RUN again with a smaller network and the same predictions: units that exact zeros make empty leave."""
    from dashpot.runs.factories import load_factory
    from dashpot.runs.saved import next_folder, open_folder
    from dashpot.runs.shrunk import shrink_run

    fresh = out is None or not Path(out).exists()
    folder = open_folder(out or next_folder("shrink"))
    try:
        found = shrink_run(run, folder, load_factory(model) if model else None)
    except BaseException:  # Ctrl-C too: an empty folder would be in the way of the next try
        if fresh and not any(folder.iterdir()):
            folder.rmdir()
        raise
    typer.echo(found.summary())
    typer.echo(f"\nsaved in {folder}: dashpot predict {folder} DATA --out predictions.csv")
