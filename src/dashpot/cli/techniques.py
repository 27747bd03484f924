"""``dashpot techniques``: the list, one card, or the rules of combination."""

from __future__ import annotations

from typing import Annotated

import typer

from dashpot.cli.options import technique_names


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="techniques")(techniques)


def techniques(
    name: Annotated[
        str | None,
        typer.Argument(metavar="TECHNIQUE", help="A technique; without it, the list.", autocompletion=technique_names),
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="What goes with what, as Markdown.")] = False,
) -> None:
    """List the techniques, or show one's card: formula, ranges, paper, and when not to use it."""
    from dashpot.core.errors import UsageError
    from dashpot.core.fields.codec import find, registry
    from dashpot.report.cards import card, listing
    from dashpot.report.combinations import page

    if rules and name is not None:
        raise UsageError(f"--rules is for all techniques: leave out {name!r}, whose card has its own rules.")
    text = page(registry()).rstrip() if rules else listing(registry()) if name is None else card(find(name))
    typer.echo(text)
