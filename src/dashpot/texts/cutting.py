"""Tokenizers of a model: a built-in pattern, a function, or a file of Hugging Face's ``tokenizers``.

A technique that writes texts needs tokens that are pieces of the text (:mod:`dashpot.texts.tokens`); a model only reads
them, so that a tokenizer of its own may change them: lower case, stems, pieces with a mark.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dashpot.core.errors import ConfigError, DashpotError, DataError, StorageError
from dashpot.texts.functions import Named
from dashpot.texts.protecting import NONE
from dashpot.texts.tokens import PATTERNS, splitter

RULE = (
    f"{', '.join(PATTERNS)}, a function of a text that gives its tokens or its name module:function, or a"
    " tokenizer.json of Hugging Face's tokenizers"
)


@dataclass(frozen=True)
class Subwords:
    """A tokenizer of Hugging Face's ``tokenizers``, as the text of its file. Its marks of beginning and end, its
    padding and its own cut to a length are left out.

    >>> str(Subwords('{"model": {"type": "WordPiece"}}'))
    'WordPiece'
    """

    text: str

    def __str__(self) -> str:
        return str(json.loads(self.text).get("model", {}).get("type", "tokenizers"))

    @staticmethod
    def read(path: Path) -> Subwords:
        """From a file.

        Raises:
            StorageError: it cannot be read.
            ConfigError: it is no such file, or the package is missing.
        """
        try:
            made = Subwords(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StorageError(f"tokenizer {path} cannot be read: {error.strerror}. Check the path.") from error
        except UnicodeDecodeError:
            raise ConfigError("tokenizer", RULE, str(path), "The file is no text in UTF-8.") from None
        made.check(str(path))
        return made

    def check(self, name: str) -> None:
        """Raise ConfigError where the text is no tokenizer, or the package is missing."""
        if self._made is None:
            way = "Save it with the function save of tokenizers.Tokenizer."
            raise ConfigError("tokenizer", RULE, name, f"The file is no tokenizer that the package reads. {way}")

    @cached_property
    def _made(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ConfigError(
                "tokenizer", RULE, "a tokenizer.json", "That needs a package: pip install tokenizers."
            ) from None
        try:
            made = Tokenizer.from_str(self.text)
        except Exception:  # the package raises Exception itself for whatever is wrong
            return None
        made.no_padding()
        made.no_truncation()
        return made

    def __call__(self, text: str) -> list[str]:
        return list(self._made.encode(text, add_special_tokens=False).tokens)

    def __getstate__(self) -> dict[str, str]:
        return {"text": self.text}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)


def tokenizer_of(given: Any) -> Any:
    """What a caller gives, checked: ``"words"``, ``"characters"``, a :class:`Named` function or :class:`Subwords`.

    Raises:
        ConfigError: something else, a function that is not found, or a file that is no tokenizer.
        StorageError: a file that cannot be read.

    >>> tokenizer_of("characters"), str(tokenizer_of("builtins:str.split"))
    ('characters', 'builtins:str.split')
    """
    if isinstance(given, Named | Subwords) or (isinstance(given, str) and given in PATTERNS):
        return given
    if hasattr(given, "to_str") and hasattr(given, "encode"):  # a tokenizers.Tokenizer
        return Subwords(str(given.to_str()))
    if isinstance(given, Path) or (isinstance(given, str) and given.endswith(".json")):
        return Subwords.read(Path(given))
    if isinstance(given, str):
        return Named(_imported(given))
    if not callable(given):
        raise ConfigError("tokenizer", RULE, given)
    return Named(given)


def _imported(name: str) -> Callable[..., Any]:
    """The function ``module:function``; modules of the present folder are found."""
    module, _, path = name.partition(":")
    if not module or not path:
        raise ConfigError("tokenizer", RULE, name)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module of the user's own may raise anything
        problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ConfigError("tokenizer", RULE, name, f"Importing it gave {problem}.") from error
    if not callable(found):
        raise ConfigError("tokenizer", RULE, name, f"It is {type(found).__name__}.")
    made: Callable[..., Any] = found
    return made


def cutter(tokenizer: Any) -> Callable[[str], list[str]]:
    """A function from a text to its tokens.

    Args:
        tokenizer: as :func:`tokenizer_of` gives it.

    Raises:
        ConfigError: the name of a function, of a saved run: it has to be named again.

    >>> cutter("words")("I paid 3.50, 很好!")
    ['I', 'paid', '3', '.', '50', ',', '很', '好', '!']
    """
    if isinstance(tokenizer, str):
        if tokenizer not in PATTERNS:
            way = "No code is run because a folder says so: pass tokenizer= (--tokenizer)."
            raise ConfigError("tokenizer", f"named again for a run with one of your own: {tokenizer}", None, way)
        split = splitter(tokenizer, NONE)
        return lambda text: split(text).tokens
    return lambda text: _given(tokenizer, text)


def _given(tokenizer: Callable[[str], Any], text: str) -> list[str]:
    """The tokens of the user's function.

    Raises:
        DataError: it fails, or gives no list of texts.
    """
    try:
        tokens = tokenizer(text)
        found = None if isinstance(tokens, str | bytes) else list(tokens)
    except DashpotError:
        raise
    except Exception as error:  # a function of the user's own may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise DataError(f"tokenizer {tokenizer} failed for {_short(text)}: {problem}. Correct it.") from error
    odd = tokens if found is None else next((token for token in found if not isinstance(token, str)), found)
    if odd is not found:
        raise DataError(f"tokenizer {tokenizer} must give a list of texts, got {odd!r} for {_short(text)}.")
    return [token for token in found or [] if token.strip()]


def tokenizer_dict(tokenizer: Any) -> Any:
    """As plain JSON: a pattern, the name of a function, or the content of a file."""
    return {"tokenizers": json.loads(tokenizer.text)} if isinstance(tokenizer, Subwords) else str(tokenizer)


def tokenizer_from(data: Any) -> Any:
    """The inverse of :func:`tokenizer_dict`, which imports nothing: a function stays its name."""
    return Subwords(json.dumps(data["tokenizers"], ensure_ascii=False)) if isinstance(data, dict) else str(data)


def again(saved: Any, given: Any) -> Any:
    """The tokenizer of a saved run, for which the user may have named a function again.

    Raises:
        ConfigError: none is named and one is needed, or another one is.
    """
    if given is None:
        cutter(saved)
        return saved
    found = tokenizer_of(given)
    if str(found) != str(saved):
        raise ConfigError("tokenizer", f"that of the run, {saved}", str(found), "Leave it out unless it is a function.")
    return found if isinstance(saved, str) else saved


def _short(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")
