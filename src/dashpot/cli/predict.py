"""``dashpot predict``: a saved run on new data."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from dashpot.cli.options import Model, OwnTokenizer, Tta, TtaDraws, data_path, read_tta
from dashpot.cli.reading import Encoding, Separator
from dashpot.core.language import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="predict")(predict)


def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished `dashpot fit` or `dashpot tune`.")
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            parser=data_path,
            help="Data as for fit; columns are found by name, in any order, and read as they were in training.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The CSV file to write.")],
    encoding: Encoding = None,
    separator: Separator = None,
    tta: Tta = None,
    tta_draws: TtaDraws = None,
    model: Model = None,
    tokenizer: OwnTokenizer = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help="Of a run with an encoder: its folder, if it was moved.", metavar="DIR"),
    ] = None,
) -> None:
    """Predict for DATA with the network in RUN."""
    from dashpot.core.files import write_atomic
    from dashpot.data import load_rows
    from dashpot.runs.factories import load_factory
    from dashpot.runs.saved import SAVED, load_decision, load_run, predictions

    said = tta is not None or tta_draws is not None
    network, preprocessing, target = load_run(
        run, read_tta(tta, tta_draws) if said else SAVED, load_factory(model) if model else None, tokenizer, encoder
    )
    x, names = load_rows(data, preprocessing, target.name, target.weight, encoding=encoding, separator=separator)
    columns = {"row": names, **predictions(network, x, target, load_decision(run))}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    # Networks compute in float32, of which nine digits say everything.
    texts = [[f"{value:.9g}" if isinstance(value, float) else value for value in column] for column in columns.values()]
    writer.writerows(zip(*texts, strict=True))
    write_atomic(out, buffer.getvalue())
    typer.echo(say("{n:,} predictions in {out}", n=len(names), out=out))
