"""Options of ``dashpot tune``, checked and converted, and what it prints at the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from dashpot.core.language import say

LONG = {"moved": "data"}
"""Options that are called otherwise than their parameter."""
CLASSES = 12
"""Of so many at most the words are shown."""


def show(record: Any, figures: list[str], folder: Path) -> None:
    """Print the tables, and where the files are."""
    from rich.console import Console

    from dashpot.cli.next_steps import after_tune
    from dashpot.report.tune.table import print_report
    from dashpot.runs.page import write_run_page
    from dashpot.runs.text_report import TABLE, TextAnswers

    console = Console() if sys.stdout.isatty() else Console(width=110)
    print_report(record, console)
    if (found := TextAnswers.read(folder)) is not None:
        words = found.table if len(found.words) <= CLASSES else ""
        shown = f"words that count, of {found.source}:\n{words}\n" if words else ""
        typer.echo(
            f"{shown}{'all words and ' if found.words and not words else ''}the surest mistakes: {folder / TABLE}"
        )
    typer.echo(say("figures: {files}", files=", ".join(figures)))
    typer.echo(say("page: {file}", file=write_run_page(folder)))
    typer.echo(say("saved in {folder}", folder=folder))
    after_tune(folder, record)


def again(folder: Path) -> None:
    """Report a search that is finished."""
    import json

    from dashpot.report.tune.record import TuneRecord
    from dashpot.search.outcome.folder import REPORT

    record = TuneRecord.from_dict(json.loads((folder / REPORT).read_text(encoding="utf-8")))
    typer.echo("this search is finished; --budget or --trials with more than it had would go on with it", err=True)
    show(record, [str(path) for path in sorted(folder.glob("*.png"))], folder)


def seconds(text: str) -> float:
    """``--budget`` as seconds: ``90``, ``90s``, ``10m`` or ``2h``.

    Raises:
        ConfigError: anything else.
    """
    from dashpot.core.durations import seconds as read

    return read(text, "--budget")


def low_precision(precision: str) -> bool | None:
    """Whether wide products are in bfloat16; None is where the processor does so fast.

    Raises:
        ConfigError: an unknown name.
    """
    from dashpot.core.errors import ConfigError

    known = {"auto": None, "float32": False, "bfloat16": True}
    if precision not in known:
        raise ConfigError("--precision", "auto, float32 or bfloat16", precision)
    return known[precision]


def processes_for(asked: int | None, device: str, trials: int | None = None, budget: float | None = None) -> int:
    """How many processes work on this machine: by default one per core, four at most, and no more than there are races,
    as a worker without candidates would only take a core from the others.

    Raises:
        ConfigError: fewer than one.
    """
    import torch

    from dashpot.core.errors import ConfigError
    from dashpot.core.threads import cores
    from dashpot.search.racing.budget import PARALLEL

    if asked is not None:
        if asked < 1:
            raise ConfigError("workers", "a whole number >= 1", asked)
        return asked
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return 1  # a GPU takes the whole population at once
    races = math.inf if trials is None or budget is not None else math.ceil(trials / PARALLEL)
    return int(min(4, cores(), max(1, races)))


def demand_alone(context: typer.Context, free: Sequence[str]) -> None:
    """Refuse options beside ``--resume`` that would have no effect.

    Args:
        free: those that have one.

    Raises:
        ConfigError: naming the others.
    """
    from dashpot.core.errors import ConfigError

    sources = {name: context.get_parameter_source(name) for name in context.params if name not in (*free, "lang")}
    typed = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if typed:
        names = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        rule = (
            f"given alone or with {', '.join(f'--{LONG.get(name, name)}' for name in free if name != 'resume')}: the"
            " folder knows its data and the other options"
        )
        shown = " ".join(str(context.params[name]) if name == "data" else str(names[name]) for name in typed)
        raise ConfigError("--resume", rule, shown, "Leave that out, or start a new search.")


def demand_more(folder: Path, config: Mapping[str, Any], budget: float | None) -> None:
    """Refuse to go on with a finished search for less time than it has had: it would only be chosen again from the
    same, in a hurry.

    Raises:
        ConfigError: naming the time it has had.
    """
    from dashpot.core.errors import ConfigError
    from dashpot.search.outcome.folder import Clock

    spent = Clock(folder).before
    if config.get("done") and budget is not None and budget <= spent:
        raise ConfigError(
            "--budget",
            f"more than the {spent:.0f} s that this search has taken",
            f"{budget:g} s",
            "The budget is that of all its lives.",
        )


def demand_same_model(before: str | None, model: str | None) -> None:
    """Refuse to go on with another network than a search began with; a folder never says what code is run, so that the
    function is named again.

    Raises:
        ConfigError: naming the one it began with.
    """
    from dashpot.core.errors import ConfigError

    if before != model:
        rule = "left out, as when the search began" if before is None else f"{before}, as when the search began"
        raise ConfigError("--model", rule, model)


def tidy(folder: Path) -> None:
    """A refused command leaves nothing behind, unless candidates were trained."""
    import contextlib

    if not (folder / "candidates").exists() and not (folder / "spent.json").exists():
        for file in ("tune.json", "tune.lock", "journal.log", "workers.log"):
            (folder / file).unlink(missing_ok=True)
        for rest in folder.glob("journal.log*"):
            rest.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
            if folder.parent == Path("runs"):  # made for it, if it is empty
                folder.parent.rmdir()


def tell_unfinished(live: Any, store: Any, lost: int, processes: int, log: Path) -> None:
    """Say which workers ended early, and how many candidates are not finished."""
    if lost:
        live.note(f"{lost} of {processes} workers ended early; {log} may say why. What they had finished counts.")
    rest = sum(
        t.state.name == "RUNNING" or (t.state.name == "WAITING" and "again" in t.user_attrs) for t in store.trials()
    )
    if rest:
        live.note(f"{rest} candidate{'s' * (rest > 1)} not finished, here or by other workers, and not in this report")
