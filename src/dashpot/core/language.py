"""The language of pages, tables and help: English, as it stands in the code, or a translation of it.

Messages are written in English where they are used, as ``say("{n} rows", n=n)``; ``scripts/messages`` collects them
into ``locale/zh_CN/LC_MESSAGES/dashpot.po``, where their Chinese stands, and compiles it to the ``.mo`` beside it. What
a record or a figure says stays English, and so do errors but for the most frequent ones (``cli/errors.py``).
"""

from __future__ import annotations

import functools
import gettext
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import resources
from string import Formatter
from typing import Any

from dashpot.core.errors import ConfigError

LANGUAGES = {"en": "", "zh": "zh_CN"}
"""By the name that one types: the folder of its messages."""
VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Of the environment, the first that is set counts."""

_SPOKEN: ContextVar[str] = ContextVar("language", default="en")


def mark(text: str) -> str:
    """``text`` as it is, for a constant that :func:`say` translates where it is shown."""
    return text


def say(text: str, /, **values: Any) -> str:
    """A message in the language that is spoken, with its places filled.

    Args:
        text: English, with places as of :meth:`str.format`; without ``values`` braces are letters.

    Example:
        >>> say("{n:,} rows", n=1200)
        '1,200 rows'
    """
    language = _SPOKEN.get()
    said = _catalogue(language).gettext(text) if text and language != "en" else text
    return said.format(**values) if values else said


def told(text: str, templates: tuple[str, ...]) -> str:
    """What a record says in English, in the language that is spoken; as it is where it is of no known form.

    Args:
        text: of a record.
        templates: its possible forms, with places.

    Example:
        >>> with speaking("zh"):
        ...     told("the time is up", ("the time is up",))
        '时间用完'
    """
    if _SPOKEN.get() == "en":
        return text
    for template in templates:
        if (found := _pattern(template).fullmatch(text)) is not None:
            return say(template, **found.groupdict())
    return text


def columns(text: str) -> int:
    """The width of a text on a terminal, where ideographs take two columns.

    >>> columns("loss"), columns("损失")
    (4, 4)
    """
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def filled(text: str, width: int) -> str:
    """A text with spaces behind it, or before it for a negative width.

    >>> filled("损失", 6) + filled("ab", -4) + "."
    '损失    ab.'
    """
    spaces = " " * (abs(width) - columns(text))
    return text + spaces if width > 0 else spaces + text


def aligned(rows: Sequence[Sequence[str]], right: bool = False) -> list[str]:
    """Lines of a table whose columns are as wide as their widest cell.

    Args:
        right: whether all columns but the first end at one place, as numbers do.

    Example:
        >>> aligned([("层", "zeros"), ("ab", "7")], right=True)
        ['层  zeros', 'ab      7']
    """
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    signed = [width if k == 0 or not right else -width for k, width in enumerate(widths)]
    return ["  ".join(filled(cell, w) for cell, w in zip(row, signed, strict=True)).rstrip() for row in rows]


def spoken() -> str:
    """The language: a name of ``LANGUAGES``."""
    return _SPOKEN.get()


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Another language for a while.

    Raises:
        ConfigError: an unknown one.
    """
    token = _SPOKEN.set(known(language))
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def speak(language: str) -> None:
    """Another language from now on.

    Raises:
        ConfigError: an unknown one.
    """
    _SPOKEN.set(known(language))


def known(language: str) -> str:
    """A language that there is, by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if language not in LANGUAGES:
        raise ConfigError("--lang", f"one of {', '.join(LANGUAGES)}", language)
    return language


def of_environment(variables: Mapping[str, str]) -> str:
    """The language that the user's environment asks for.

    >>> of_environment({"LANG": "zh_CN.UTF-8"}), of_environment({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"})
    ('zh', 'en')
    """
    first = next((variables[name] for name in VARIABLES if variables.get(name)), "")
    return "zh" if first.lower().startswith("zh") else "en"


@functools.cache
def _catalogue(language: str) -> gettext.GNUTranslations:
    place = resources.files("dashpot").joinpath("locale", LANGUAGES[language], "LC_MESSAGES", "dashpot.mo")
    with place.open("rb") as file:
        return gettext.GNUTranslations(file)


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """What matches a text made from a template, each place a group."""
    parts = [
        re.escape(words) + (f"(?P<{name}>.+)" if name else "") for words, name, _, _ in Formatter().parse(template)
    ]
    return re.compile("".join(parts))
