"""Back-translation: texts are translated into another language and back."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import Name, Range
from dashpot.techniques.augment.text.base import TextTechnique
from dashpot.texts.functions import Function
from dashpot.texts.protecting import Protect, protecting
from dashpot.texts.rows import uniform_rows
from dashpot.texts.translations import Translations, store

Translator = Any
"""A function of a list of texts that gives as many."""


def translated(texts: Sequence[str], translator: Translator, what: str) -> list[str]:
    """The texts as a translator gives them.

    Raises:
        DataError: it gives no list of as many texts.

    Example:
        >>> translated(["a", "b"], lambda texts: [text.upper() for text in texts], "forward")
        ['A', 'B']
    """
    found = translator(list(texts))
    whole = isinstance(found, list | tuple) and len(found) == len(texts) and all(isinstance(t, str) for t in found)
    if not whole:
        got = f"{len(found)} of {type(found).__name__}" if hasattr(found, "__len__") else repr(found)
        raise DataError(
            f"BackTranslation.{what} must give a list of {len(texts)} texts for as many, got {got}. Wrap it in a"
            " function of a list of texts."
        )
    return list(found)


def faithful(old: str, new: str, protect: str) -> bool:
    """Whether a translation has words, and all that is protected in the text as often as the text has it.

    >>> faithful("7 cats", "seven cats", "numbers"), faithful("7 cats", "kitties: 7", "numbers")
    (False, True)
    """
    pattern = protecting(protect)
    if not new.strip() or pattern is None:
        return bool(new.strip())
    return sorted(pattern.findall(old.lower())) == sorted(pattern.findall(new.lower()))


class BackTranslation(TextTechnique):
    r"""Translate a text into another language and back, with probability p.

    .. math:: \tilde t = \text{backward}(\text{forward}(t)) \text{ where } u < p

    Any two functions of a list of texts serve: models of the package ``transformers``, a server, a paid service. Each
    text is translated once (``variants`` times where translators sample) and remembered: in the file ``cache``, from
    which an interrupted run goes on, or in memory. A translation that is empty, or in which something protected is
    missing, is not used: the text stays as it is.

    Args:
        p: probability of each text, in [0, 1]; 0 is off. 0.5 is usual.
        forward: into the other language: a function of a list of texts that gives as many, or its name
            ``module:function``. There is none by default.
        backward: the way back.
        variants: different translations of a text, >= 1, one of which is drawn each time; more than 1 makes sense where
            translators sample, at some temperature.
        batch_size: texts in a call, >= 1.
        cache: a file for translations (SQLite), one for each pair of translators; ``"memory"``: none.
        protect: see :class:`RandomDeletion`; by default numbers and placeholders, since translators reword negations.

    Raises:
        ConfigError: without ``forward`` and ``backward``, before work begins.
        UsageError: inputs that are no texts.
        DataError: a text that is none, such as None; a translator that gives anything but as many texts.
        StorageError: the cache cannot be read or written.

    Example:
        >>> import dashpot
        >>> there = lambda texts: [text.replace("film", "Film").replace("good", "gut") for text in texts]
        >>> back = lambda texts: [text.replace("Film", "movie").replace("gut", "fine") for text in texts]
        >>> technique = dashpot.augment.text.BackTranslation(1.0, forward=there, backward=back)
        >>> dashpot.augment.text.TextTransform(technique, seed=0)("a good film", index=0)
        'a fine movie'

    Paper: Sennrich, Haddow and Birch, "Improving Neural Machine Translation Models with Monolingual Data", ACL 2016,
    arXiv 1511.06709; for classification: Xie et al., "Unsupervised Data Augmentation", arXiv 1904.12848.

    When not to use it: where the exact words are the label, as in style or spam; inside of training without a cache
    that was filled before, since translators are slow: ``dashpot augment-text`` fills it.
    """

    summary = "translates texts into another language and back"

    p: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.8), off=0.0)] = field(default=0.5, kw_only=False)
    forward: Annotated[Any, Function("a function of a list of texts", optional=True)] = None
    backward: Annotated[Any, Function("a function of a list of texts", optional=True)] = None
    variants: Annotated[int, Range(1, float("inf"), integer=True)] = 1
    batch_size: Annotated[int, Range(1, float("inf"), integer=True)] = 32
    cache: Annotated[str, Name()] = "memory"
    protect: Annotated[str, Protect()] = "numbers|placeholders"

    def demand(self) -> None:
        for name in ("forward", "backward"):
            if getattr(self, name) is None and not self.silent():
                raise ConfigError(
                    f"BackTranslation.{name}",
                    "a function of a list of texts that gives as many",
                    None,
                    "Give one, or its name module:function.",
                )

    def texts(self, texts: Sequence[str], keys: np.ndarray) -> list[str]:
        if self.silent():
            return list(texts)
        self.demand()
        drawn = [
            int(which * self.variants) if u < self.p and text.strip() else None
            for text, (u, which) in zip(texts, uniform_rows(keys, [2] * len(texts)), strict=True)
        ]
        asked = dict.fromkeys((text, v) for text, v in zip(texts, drawn, strict=True) if v is not None)
        known = store(self.cache, f"{self.forward}\n{self.backward}")
        found = known.of(list(asked))
        missing = [pair for pair in asked if pair not in found]
        for start in range(0, len(missing), self.batch_size):
            found |= self._translate(missing[start : start + self.batch_size], known)
        return [
            text if v is None or not faithful(text, found[text, v], self.protect) else found[text, v]
            for text, v in zip(texts, drawn, strict=True)
        ]

    def _translate(self, pairs: Sequence[tuple[str, int]], known: Translations) -> dict[tuple[str, int], str]:
        there = translated([text for text, _ in pairs], self.forward, "forward")
        made = dict(zip(pairs, translated(there, self.backward, "backward"), strict=True))
        known.add(made)
        return made
