"""``dashpot techniques``: the list, or one card."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="techniques")(techniques)


def techniques(name: Annotated[str | None, typer.Argument(help="A technique; without it, the list.")] = None) -> None:
    """List the techniques, or show one's card: formula, ranges, paper, and when not to use it."""
    from dashpot.core.fields.codec import find, registry
    from dashpot.report.cards import card, listing

    typer.echo(listing(registry()) if name is None else card(find(name)))
