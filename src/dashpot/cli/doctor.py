"""``dashpot doctor``: what there is on this machine, what is slow, and why."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Show versions, processor, threads, compiler, kernels and GPU; say what is slow or broken, and the way out.

    Exit code 1 where something is broken. Nothing in it names the user: the home folder is ~.
    """
    import json
    import warnings

    from dashpot.core.doctor import examine, in_words
    from dashpot.core.native import SlowerWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowerWarning)  # it is in the report
        found = examine()
    typer.echo(json.dumps(found, indent=2) if as_json else in_words(found))
    if found["broken"]:
        raise typer.Exit(1)
