"""``dashpot inspect``: the weights of a saved run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dashpot.cli.options import Model, Out
from dashpot.core.language import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="inspect")(inspect)


def inspect(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished `dashpot fit` or `dashpot tune`.")
    ],
    beside: Annotated[
        Path | None, typer.Option("--beside", help="Another run of the same network, such as one without a penalty.")
    ] = None,
    model: Model = None,
    inputs: Annotated[int, typer.Option("--inputs", min=1, help="Input columns to print at most.")] = 20,
    out: Out = None,
) -> None:
    """Show how the weights of RUN are distributed, layer by layer, which are exactly zero, and which inputs reach the
    output.
    """
    from dashpot.runs.factories import load_factory
    from dashpot.runs.saved import UNREAD, load_run, next_folder, open_folder, write_json
    from dashpot.sparsity.inspect import inspect as look
    from dashpot.sparsity.inspection import Inspection
    from dashpot.sparsity.spread import path_strengths

    make = load_factory(model) if model else None

    def looked(folder: Path) -> Inspection:
        network, how, _ = load_run(folder, None, make, UNREAD)
        names: Any = getattr(how, "feature_names", ())
        paths = path_strengths(network)
        return look(network, names=names if paths is not None and len(names) == len(paths) else None)

    found, other = looked(run), looked(beside) if beside is not None else None
    folder = open_folder(out or next_folder("inspect"))
    record = found.record(str(run))
    write_json(folder / record.FILE, record.to_dict())
    figure, _ = found.plot(folder / "weights", other, str(run), str(beside))
    typer.echo(found)
    typer.echo("\n" + found.details(inputs))
    typer.echo("\n" + say("saved in {folder}; figure: {figure}", folder=folder, figure=figure))
