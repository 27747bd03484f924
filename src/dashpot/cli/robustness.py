"""``dashpot robustness``: how the score of a saved run falls as its inputs get worse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dashpot.cli.options import Model, Out, OwnTokenizer, data_path
from dashpot.core.language import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="robustness")(robustness)


def robustness(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished `dashpot fit` or `dashpot tune`.")
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            parser=data_path,
            help="Data with targets, as for fit; of those that RUN was trained on, its test rows. None: the digits.",
        ),
    ] = None,
    beside: Annotated[
        Path | None, typer.Option("--beside", help="Another run on the same data, such as one without a recipe.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="accuracy or r2 by default; balanced_accuracy, rmse or loss.")
    ] = None,
    corruption: Annotated[
        list[str] | None, typer.Option("--corruption", help="One to try; repeat for more. By default all.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Of each strength, where something is drawn.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")] = 0,
    model: Model = None,
    tokenizer: OwnTokenizer = None,
    out: Out = None,
) -> None:
    """Score RUN as its inputs get worse in five strengths: noise, missing values, blur, typing errors and others."""
    from dashpot.comparison.robustness import robustness as measured
    from dashpot.runs.factories import load_factory
    from dashpot.runs.page import write_run_page
    from dashpot.runs.saved import next_folder, open_folder, write_json

    models = {str(run): run} if beside is None else {str(beside): beside, str(run): run}
    make = load_factory(model) if model else None
    result = measured(
        models,
        data,
        metric=metric,
        corruptions=corruption or None,
        draws=draws,
        seed=seed,
        make=make,
        tokenizer=tokenizer,
    )
    folder = open_folder(out or next_folder("robustness"))
    write_json(folder / result.record.FILE, result.record.to_dict())
    figure, _ = result.plot(folder / "robustness")
    typer.echo(result.summary())
    page = write_run_page(folder)
    typer.echo("\n" + say("saved in {folder}; figure: {figure}, page: {page}", folder=folder, figure=figure, page=page))
