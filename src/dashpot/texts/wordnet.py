"""Synonyms of the package ``wn``, which holds wordnets of many languages in a database of the user's."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import ConfigError

PREFIX = "wordnet"
_FETCH = "Fetch one, once: python -m wn download oewn:2024 (English; the package's index names others)."


@dataclass(frozen=True)
class WordNet:
    """The other words of all meanings of a word; called with one.

    Args:
        lexicon: as the package names them, such as ``oewn:2024``, ``omw-cmn``; ``""``: all that are there.
    """

    lexicon: str = ""

    @staticmethod
    def read(parameter: str, text: str) -> WordNet | None:
        """Of ``"wordnet"`` or ``"wordnet:LEXICON"``; None: the text is neither.

        Raises:
            ConfigError: the package is not installed, or it has no such lexicon.
        """
        name, _, lexicon = text.partition(":")
        if name != PREFIX:
            return None
        try:
            _opened(lexicon)
        except ImportError:
            rule = "a source of synonyms that is installed"
            raise ConfigError(parameter, rule, text, "Install the package: pip install wn.") from None
        except LookupError as error:
            raise ConfigError(parameter, f"{PREFIX}:LEXICON of a lexicon that is there", text, f"{error}") from None
        return WordNet(lexicon)

    def __call__(self, word: str) -> tuple[str, ...]:
        # The package finds words of any case by small letters; who asks writes the answers in the word's own case.
        if word != word.lower():
            return ()
        found = (lemma for synset in _opened(self.lexicon).synsets(word) for lemma in synset.lemmas())
        return tuple(dict.fromkeys(lemma for lemma in found if lemma.strip() and lemma.lower() != word.lower()))

    def __str__(self) -> str:
        return f"{PREFIX}:{self.lexicon}" if self.lexicon else PREFIX


@functools.cache
def _opened(lexicon: str) -> Any:
    """The package's object for a lexicon.

    Raises:
        LookupError: there is none.
    """
    import wn

    try:
        if wn.lexicons(lexicon=lexicon or "*"):
            return wn.Wordnet(lexicon=lexicon or None)
        raise LookupError(_FETCH)
    except wn.Error as error:
        raise LookupError(f"{error}. {_FETCH}") from None
