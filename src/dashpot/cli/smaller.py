"""``--to`` of fit and tune: a network of the size that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dashpot.core.language import mark, say

SMALL = "small"
"""The folder in that of a search in which its smaller network is."""
OF_FIT = mark(
    "A size or time for the network, such as '20k parameters', '0.5x macs', '1 MB' or '2x faster': units leave while it"
    " is trained; short for --with 'compress:to=...'."
)
OF_TUNE = mark(
    "A size or time for the network, such as '20k parameters', '0.5x macs', '1 MB' or '2x faster': the network that is"
    " chosen is trained further while units leave, after the search, and saved in the folder small."
)
ToOfFit = Annotated[str | None, typer.Option("--to", help=OF_FIT, metavar="SIZE")]
ToOfTune = Annotated[str | None, typer.Option("--to", help=OF_TUNE, metavar="SIZE")]


def with_size(texts: Sequence[str] | None, to: str | None, *, known: bool) -> list[str] | None:
    """The techniques of ``--with``, and the one of ``--to``.

    Args:
        known: how long the training is.

    Raises:
        ConfigError: it is not, or the size cannot be read.
    """
    from dashpot.core.errors import ConfigError

    if to is None:
        return None if texts is None else list(texts)
    if not known:
        way = "With --budget beside it the training ends earlier where it has to."
        raise ConfigError("--to", "given with --epochs, by half of which the size is reached", to, way)
    return [*(texts or ()), f"compress:to={demand_size(to)}"]


def demand_size(to: str) -> str:
    """The size as it is written.

    Raises:
        ConfigError: it cannot be read.
    """
    from dashpot.shrinking.target import Target

    return Target.parse("--to", to)[1]


def demand_size_for(to: str | None, problem: Any) -> None:
    """Refuse a size, before anything is searched, where networks keep theirs.

    Raises:
        ConfigError: of texts.
    """
    from dashpot.core.errors import ConfigError

    if to is not None and problem.kind == "text":
        raise ConfigError(
            "--to",
            "given for tables, images or signals: networks over words keep their size",
            to,
            "Leave it out.",
        )


def make_smaller(folder: Path, to: str, model: str | None, seed: int, device: str) -> None:
    """The network of a finished search comes down to a size, in a folder of its own that is there when it is whole."""
    import shutil

    from dashpot.cli.shrink import tell_shrunk
    from dashpot.runs.factories import load_factory
    from dashpot.runs.shrunk import shrink_run

    small, made = folder / SMALL, folder / f".{SMALL}"
    typer.echo("\n" + say("the search is done; its network comes down to {to}", to=to))
    shutil.rmtree(made, ignore_errors=True)  # of a process that was killed
    made.mkdir()
    try:
        found = shrink_run(folder, made, load_factory(model) if model else None, to=to, seed=seed, device=device)
        shutil.rmtree(small, ignore_errors=True)  # that of the search before it was given more time
        made.rename(small)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    tell_shrunk(small, found, model)
