"""Tables of words and what may stand for them: dicts, functions, and files of two columns."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dashpot.core.errors import ConfigError, DataError, StorageError
from dashpot.core.fields.domains import Domain
from dashpot.texts.functions import Function, Named
from dashpot.texts.wordnet import WordNet

_MOST_KNOWN = 100_000  # answers of a function that are remembered


class Replacements:
    """What may stand for a word: of a dict, a function or a file.

    Args:
        table: words and their replacements, or a function of a word.
        text: how it is written in a recipe: the path of its file, the name of its function, or the table as JSON.
    """

    def __init__(self, table: Mapping[str, tuple[str, ...]] | Callable[[str], Iterable[str]], text: str) -> None:
        self._table, self._text = table, text
        self._known: dict[str, tuple[str, ...]] = {}
        self._answers: dict[str, tuple[str, ...]] = {}  # of a function

    def of(self, word: str) -> tuple[str, ...]:
        """The replacements of a word, in its case; of a word in capitals or with one, those of its small letters, too.

        >>> Replacements({"film": ("movie", "film")}, "").of("Film")
        ('Movie',)
        """
        found = self._known.get(word)
        if found is None:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
                self._answers.clear()
            given = self._asked(word)
            if not given and word != word.lower():
                given = tuple(_cased(one, word) for one in self._asked(word.lower()))
            found = self._known[word] = tuple(one for one in given if one != word)
        return found

    def count(self, word: str) -> int:
        """How many replacements a word has."""
        return len(self.of(word))

    def _asked(self, word: str) -> tuple[str, ...]:
        if not callable(self._table):
            return self._table.get(word, ())
        if word not in self._answers:
            self._answers[word] = _checked(self._table(word), f"the replacements of {word!r}", DataError)
        return self._answers[word]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Replacements) and (self._table, self._text) == (other._table, other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Replacements({self._text})"


def _cased(word: str, like: str) -> str:
    return word.upper() if len(like) > 1 and like.isupper() else word[:1].upper() + word[1:]


def _checked(given: Any, what: str, error: type[Exception]) -> tuple[str, ...]:
    """Replacements as a tuple of texts."""
    if isinstance(given, str):
        given = (given,)
    if given is None:
        return ()
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    for one in found:
        if not isinstance(one, str) or not one.strip():
            raise error(f"{what} must be texts that are not empty, got {one!r}.")
    return found


def read_pairs(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A file of two columns: a word and one replacement, or several with ``|`` between them; a word may come again.

    Columns are separated by a tab or, where a line has none, by its first comma. Empty lines and those that start with
    ``#`` are left out. UTF-8, with or without a byte order mark.

    Raises:
        StorageError: the file cannot be read.
        DataError: a line that has not two columns, or is no UTF-8; with its number.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}. Check the path.") from error
    found: dict[str, tuple[str, ...]] = {}
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}). Save the file as UTF-8.") from None
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = (part.strip() for part in line.partition("\t" if "\t" in line else ","))
        replacements = tuple(part.strip() for part in rest.split("|"))
        if not word or not all(replacements) or "\t" in rest:
            raise DataError(
                f"{path}, line {number}: must be a word, a tab or comma, and its replacements with | between them, got"
                f" {line[:60]!r}. Correct it, or start the line with #."
            )
        found[word] = tuple(dict.fromkeys((*found.get(word, ()), *replacements)))
    if not found:
        raise DataError(f"{path} has no words. Write a word, a tab and its replacement on each line.")
    return found


@functools.lru_cache(maxsize=32)
def _read(path: str, changed: int) -> Replacements:
    """Of a file, once while it does not change."""
    return Replacements(read_pairs(path), path)


class Source(Domain):
    """Replacements of words: a dict, a function of a word (or its name ``module:function``), the path of a file of two
    columns, ``wordnet`` or ``wordnet:LEXICON``, or None.
    """

    @property
    def rule(self) -> str:
        return (
            "None, a dict, a function or its name module:function, the path of a file of two columns, wordnet:LEXICON"
        )

    def check(self, parameter: str, value: Any) -> Replacements | None:
        if value is None or isinstance(value, Replacements):
            return value
        if isinstance(value, Mapping):
            return self._of_dict(parameter, value)
        if callable(value):
            named = value if isinstance(value, Named) else Named(value)
            return Replacements(named, str(named))
        if not isinstance(value, str | Path) or not str(value).strip():
            raise ConfigError(parameter, self.rule, value)
        path = Path(value)
        if path.is_file():
            return _read(str(value), path.stat().st_mtime_ns)
        if (words := WordNet.read(parameter, str(value))) is not None:
            return Replacements(words, str(words))
        try:
            named = Function("a function").check(parameter, str(value))
        except ConfigError:
            raise ConfigError(parameter, self.rule, value, "There is no such file and no such function.") from None
        return Replacements(named, str(named))

    def parse(self, parameter: str, text: str) -> Replacements | None:
        if text.lower() == "none":
            return None
        if not text.startswith("{"):
            return self.check(parameter, text)
        try:
            return self.check(parameter, json.loads(text))
        except json.JSONDecodeError as error:
            raise ConfigError(parameter, self.rule, text[:60], f"It is no JSON: {error}.") from None

    def _of_dict(self, parameter: str, value: Mapping[Any, Any]) -> Replacements:
        table = {}
        for word, given in value.items():
            if not isinstance(word, str) or not word.strip():
                raise ConfigError(parameter, f"{self.rule}; the words of a dict texts", value)
            try:
                table[word] = _checked(given, "", DataError)
            except DataError:
                rule = f"{self.rule}; the replacements in a dict texts that are not empty"
                raise ConfigError(parameter, rule, value if len(value) < 5 else {word: given}) from None
        if not table:
            raise ConfigError(parameter, self.rule, value, "It has no words.")
        return Replacements(table, json.dumps(table, ensure_ascii=False))
