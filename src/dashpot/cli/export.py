"""``dashpot export``: a saved run as ONNX, torch.export's file or safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dashpot.cli.options import Model, OwnTokenizer, data_path


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="export")(export)


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="The folder of a finished `dashpot fit`, `dashpot tune` or `dashpot shrink`."
        ),
    ],
    to: Annotated[
        Path,
        typer.Option("--to", help="The file to write: .onnx, .pt2 (torch.export) or .safetensors (tensors alone)."),
    ],
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Of .onnx: also a file whose linear layers have 8 bits, with its effect measured."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            parser=data_path,
            metavar="PATH",
            help="Data with targets to score on. [default: the test rows of RUN, if still there]",
        ),
    ] = None,
    tta: Annotated[
        str | None,
        typer.Option(
            "--tta",
            metavar="TECHNIQUE",
            help="Of images: flip, the mean over both mirror images, or none. [default: as RUN]",
        ),
    ] = None,
    model: Model = None,
    tokenizer: OwnTokenizer = None,
) -> None:
    """Write the network of RUN for other programs, from inputs to probabilities or values, and check the file."""
    from dashpot.cli.next_steps import after_export
    from dashpot.runs.data_of_run import FOUND
    from dashpot.runs.exported import export_run
    from dashpot.runs.factories import load_factory

    make = load_factory(model) if model else None
    known = FOUND if data is None else data
    reading = {"tokenizer": tokenizer} if tta is None else {"tokenizer": tokenizer, "tta": tta}
    typer.echo(export_run(run, to, make, int8=int8, data=known, **reading).summary())
    after_export(run, model)
