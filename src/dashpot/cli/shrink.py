"""``dashpot shrink``: a saved run with a smaller network, by its exact zeros or to a size that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dashpot.cli.options import Device, Model, Out, OwnTokenizer, data_path
from dashpot.core.language import mark, say

TO = mark(
    "The size to come down to: '20k parameters', '0.5x macs', '1 MB', '2x faster' or '2x faster at batch 1'. Without it"
    " only what exact zeros make empty leaves, and predictions stay."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="shrink")(shrink)


def shrink(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished `dashpot fit` or `dashpot tune`.")
    ],
    to: Annotated[str | None, typer.Option("--to", help=TO, metavar="SIZE")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            parser=data_path,
            metavar="PATH",
            help="Data as for fit to train on and to test with. [default: those of RUN, if still there]",
        ),
    ] = None,
    training: Annotated[
        bool,
        typer.Option(
            "--train/--no-train",
            help="With --to and data: train further while units leave, or remove by weights alone what matters least.",
        ),
    ] = True,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Of that training; as of fit by default.")
    ] = None,
    low_rank: Annotated[
        bool,
        typer.Option("--low-rank", help="Layers of low rank, as nuclear-norm makes them, become two smaller ones."),
    ] = False,
    fold: Annotated[
        bool,
        typer.Option("--fold", help="Batch norms become a part of the layers before them: for inference only."),
    ] = False,
    sparse: Annotated[
        bool,
        typer.Option(
            "--sparse",
            help="Linear layers with 80 % scattered zeros become sparse matrices where they are measured to be faster.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    device: Device = "auto",
    model: Model = None,
    tokenizer: OwnTokenizer = None,
    out: Out = None,
) -> None:
    """Write RUN again with a smaller network: without the units that exact zeros make empty, or of a size asked for."""
    from dashpot.runs.factories import load_factory
    from dashpot.runs.saved import next_folder, open_folder
    from dashpot.runs.shrunk import FOUND, shrink_run

    fresh = out is None or not Path(out).exists()
    folder = open_folder(out or next_folder("shrink"))
    try:
        found = shrink_run(
            run,
            folder,
            load_factory(model) if model else None,
            to=to,
            data=FOUND if data is None else data,
            training=training,
            epochs=epochs,
            low_rank=low_rank,
            fold=fold,
            sparse=sparse,
            seed=seed,
            device=device,
            tokenizer=tokenizer,
        )
    except BaseException:  # Ctrl-C too: an empty folder would be in the way of the next try
        if fresh and not any(folder.iterdir()):
            folder.rmdir()
        raise
    tell_shrunk(folder, found, model, data)


def tell_shrunk(folder: Path, found: Any, model: str | None, data: str | Path | None = None) -> None:
    """What a smaller network is, where, and what one may do next; its page is written."""
    from dashpot.cli.next_steps import after_shrink
    from dashpot.runs.page import data_at_hand, record_of, write_run_page

    typer.echo(found.summary())
    typer.echo("\n" + say("saved in {folder}; figure: {figure}", folder=folder, figure=folder / "shrunk.png"))
    typer.echo(say("page: {file}", file=write_run_page(folder)))
    told = record_of(folder)[1]
    after_shrink(folder, model, str(data or data_at_hand(folder, told)))
