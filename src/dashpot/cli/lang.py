"""``--lang`` of every command: the language of help, pages, tables and what comes next."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.main import get_command

from dashpot.core.language import known, mark, of_environment, say, spoken

NAME = "--lang"
Lang = Annotated[
    str | None,
    typer.Option(
        NAME, metavar="en|zh", help="The language of help, pages and tables. [default: as LC_ALL or LANG says]"
    ),
]
TITLES = {"argument": mark("Arguments"), "option": mark("Options"), "command": mark("Commands")}
"""Of the boxes of a help text."""
TYPER = {
    "DEFAULT_STRING": mark("[default: {}]"),
    "REQUIRED_LONG_STRING": mark("[required]"),
    "ERRORS_PANEL_TITLE": mark("Error"),
    "RICH_HELP": mark("Try [blue]'{command_path} {help_option}'[/] for help."),
}
"""What typer says of its own, by the names under which it keeps it."""
TAG = re.compile(r"\[(?=[a-z#/@])")
"""What rich would take for markup."""
HELP = mark("Show this message and exit.")
COMPLETION = (
    mark("Install completion for the current shell."),
    mark("Show completion for the current shell, to copy it or customize the installation."),
)
"""Typer's help of its options, which are translated with those of ours."""


def language_of(arguments: Sequence[str], variables: Mapping[str, str]) -> tuple[str, list[str]]:
    """The language that a command line or the environment asks for, and the arguments without it; it may stand before
    the command and after it.

    >>> language_of(["--lang", "zh", "tune"], {}), language_of(["tune", "--lang=en"], {"LANG": "zh_CN.UTF-8"})
    (('zh', ['tune']), ('en', ['tune']))

    Raises:
        ConfigError: an unknown language.
    """
    language, rest, left = of_environment(variables), [], list(arguments)
    while left:
        word = left.pop(0)
        if word == NAME and left:
            language = known(left.pop(0))
        elif word.startswith(f"{NAME}="):
            language = known(word.partition("=")[2])
        else:
            rest.append(word)
        if word == "--":
            rest, left = rest + left, []
    return language, rest


def takes_language(app: typer.Typer) -> None:
    """Show the option in the help of every command of ``app``; its value is read by :func:`language_of`."""
    for command in app.registered_commands:
        if command.callback is not None and "lang" not in inspect.signature(command.callback).parameters:
            command.callback = _with_option(command.callback)


def helped(app: typer.Typer) -> Callable[..., Any]:
    """The command line of ``app``, whose help texts speak the language that is spoken; ``obj`` is what each command
    finds in its context.
    """
    group: Any = get_command(app)
    for command in (group, *group.commands.values()):
        command.help = "\n\n".join(_shown(" ".join(part.split())) for part in (command.help or "").split("\n\n"))
        command.rich_help_panel = say(TITLES["command"])
        for parameter in command.params:
            parameter.help = _shown(parameter.help or "")
            parameter.rich_help_panel = say(TITLES[parameter.param_type_name])
        command.get_help_option = _said_too(command.get_help_option)

    def run(obj: Any = None) -> Any:
        with _typer_says():
            return group(obj=obj)

    return run


def _shown(text: str) -> str:
    """A help text in the language that is spoken; what stands in brackets is no markup of rich, and so is shown."""
    return TAG.sub(r"\\\g<0>", say(text))  # as rich.markup.escape, which the shell's completion need not load


def _said_too(get: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The option ``--help``, which is made when it is first asked for."""

    def got(context: Any) -> Any:
        option = get(context)
        if option is not None:
            option.help = _shown(HELP)
            option.rich_help_panel = say(TITLES["option"])
        return option

    return got


@contextmanager
def _typer_says() -> Iterator[None]:
    """Typer's own words in the language that is spoken; versions that keep them elsewhere say them in English."""
    if spoken() == "en":  # which needs no rich before anything is shown
        yield
        return
    from typer import rich_utils

    highlighted: Any = rich_utils.highlighter

    def folded(text: Any) -> Any:
        found = highlighted(text)
        found.overflow = "fold"  # a sentence without spaces goes on in the next line, where rich would cut it off
        return found

    said = {name: say(text) for name, text in TYPER.items() if hasattr(rich_utils, name)} | {"highlighter": folded}
    usual = {name: getattr(rich_utils, name) for name in said}
    try:
        for name, value in said.items():
            setattr(rich_utils, name, value)
        yield
    finally:
        for name, value in usual.items():
            setattr(rich_utils, name, value)


def _with_option(command: Callable[..., Any]) -> Callable[..., Any]:
    own = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("lang", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Lang)

    @functools.wraps(command)
    def with_option(*arguments: Any, lang: str | None = None, **given: Any) -> Any:
        return command(*arguments, **given)

    parameters = [*own.parameters.values(), option]
    with_option.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # functions may
    with_option.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_option
