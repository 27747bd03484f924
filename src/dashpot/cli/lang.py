"""``--lang`` of every command: the language of pages, tables and what comes next."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from dashpot.core.language import known, of_environment

NAME = "--lang"
Lang = Annotated[
    str | None,
    typer.Option(NAME, metavar="en|zh", help="The language of pages and tables. [default: as LC_ALL or LANG says]"),
]


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
