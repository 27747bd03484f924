"""``dashpot augment-text``: a file of texts, with augmented copies of its rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from dashpot.cli.options import RecipeFile, Seed, With, read_recipe
from dashpot.cli.reading import Encoding
from dashpot.core.language import say

BATCH = 1024


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="augment-text")(augment_text)


def augment_text(
    data: Annotated[Path, typer.Argument(metavar="IN", help="A file of texts: .txt, .csv, .tsv or .jsonl.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new file, of one of these kinds, UTF-8.")],
    with_: With = None,
    recipe: RecipeFile = None,
    copies: Annotated[int, typer.Option("--copies", min=1, help="Augmented copies of each row.")] = 1,
    column: Annotated[
        str | None, typer.Option("--column", help="The column of texts. [default: text, or the only one]")
    ] = None,
    originals: Annotated[bool, typer.Option("--originals/--no-originals", help="Write the rows of IN, too.")] = True,
    seed: Seed = 0,
    encoding: Encoding = None,
) -> None:
    """Write the rows of IN to OUT, each followed by copies whose text is augmented; all other columns, the label among
    them, stay. A copy that equals its original is left out.

    Only training rows should be augmented: split first.
    """
    from dashpot.core.errors import ConfigError
    from dashpot.data.texts.files import TextFile, writing
    from dashpot.training.text_transform import TextTransform

    chosen = read_recipe(recipe, with_)
    if not len(chosen):
        raise ConfigError("--with", "a technique on texts, such as random-deletion", None)
    transform = TextTransform(chosen, seed)
    file = TextFile(data, column, encoding)
    if out.exists():
        raise ConfigError("OUT", "the name of a new file", str(out), "Delete the old one, or name another.")
    read, written, same, names = 0, 0, 0, file.columns
    single = out.suffix.lower() == ".txt"
    if single and names != [file.column]:
        raise ConfigError("OUT", "a .csv, .tsv or .jsonl file, since IN has other columns beside the texts", str(out))
    with writing(out, names) as write, _Progress(data) as advance:
        for start, rows in _batches(file.rows()):
            texts = [row[file.column] for row in rows]
            places = range(start, start + len(rows))
            drawn = [transform.batch(texts, index=places, epoch=copy) for copy in range(copies)]
            for row, text, *new in zip(rows, texts, *drawn, strict=True):
                changed = [one for one in dict.fromkeys(new) if one != text]
                same += copies - len(changed)
                for one in ([text] if originals else []) + changed:
                    write({**row, file.column: one})
                    written += 1
            read += len(rows)
            advance(read)
    left = say("; {n:,} copies equal the original or another copy and are left out", n=same) if same else ""
    typer.echo(say("{out}: {written:,} rows of {read:,}{left}.", out=out, written=written, read=read, left=left))


def _batches(rows: Iterator[Any]) -> Iterator[tuple[int, list[Any]]]:
    start = 0
    while batch := list(islice(rows, BATCH)):
        yield start, batch
        start += len(batch)


class _Progress:
    """Rows that are done, on a terminal."""

    def __init__(self, data: Path) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            with data.open("rb") as file:
                lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
            self._bar = Progress(
                TextColumn(say("rows")),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("rows", total=lines)

    def __enter__(self) -> Any:
        if self._bar is None:
            return lambda done: None
        self._bar.start()
        return lambda done: self._bar.update(self._task, completed=done)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
