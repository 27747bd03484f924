"""The commands, and what turns their errors into one message and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from dashpot.cli.errors import said
from dashpot.cli.lang import Lang, helped, language_of, takes_language
from dashpot.cli.ranks import of_torchrun, refuse_others
from dashpot.core.errors import DashpotError
from dashpot.core.language import mark, of_environment, say, speaking

app = typer.Typer(
    name="dashpot",
    help="Regularization for PyTorch: apply any recipe, and see what each technique contributes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
SAVED = mark(
    " What was finished is saved; `dashpot fit ... --out FOLDER --resume` or `dashpot tune --resume FOLDER` goes on."
)


def _version(wanted: bool) -> None:
    if wanted:
        from dashpot import __version__

        typer.echo(f"dashpot {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    lang: Lang = None,
) -> None:
    pass


def main(started: float | None = None) -> None:
    """Run a command, with errors as one message and an exit code.

    Args:
        started: when this process did, by ``time.monotonic()``, for a budget that counts from there.
    """
    from dashpot.cli import (
        augment_text,
        compare,
        doctor,
        export,
        fit,
        inspect,
        path,
        predict,
        report,
        robustness,
        show_augment,
        shrink,
        techniques,
        tune,
    )

    looks = (report, robustness, inspect, shrink, export, show_augment, augment_text, techniques, doctor)
    commands = (tune, fit, predict, compare, path, *looks)
    for module in commands:
        module.register(app)
    takes_language(app)
    warnings.showwarning = _show_warning
    language = of_environment(os.environ)
    try:
        language, arguments = language_of(sys.argv[1:], os.environ)
        refuse_others(arguments)
        with speaking(language):
            helped(app)(obj=started)
    except DashpotError as error:
        with speaking(language):
            _say(said(error))
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == 130:  # what typer makes of Ctrl-C
            with speaking(language):
                # Nothing begins before torch is loaded.
                _say(say("interrupted.") + (say(SAVED) if "torch" in sys.modules else ""))
        raise
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing more to say, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    _say(say("warning: {text}", text=message))


def _say(text: str) -> None:
    if of_torchrun()[0] == 0:  # all ranks have the same to say
        print(text, file=sys.stderr)
