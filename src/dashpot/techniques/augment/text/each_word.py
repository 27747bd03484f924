"""Techniques that make another word of single words, whatever stands beside them."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.base import Edited, WordTechnique
from dashpot.texts.many import Many, Numbers, replaced
from dashpot.texts.tokens import Words


class EachWord(WordTechnique):
    """The base class of techniques that change each word with probability ``rate``: where its first number is below.

    A subclass says in :meth:`change` what becomes of a word, and in ``numbers`` how many numbers of a token it takes:
    one more than it is given.

    Example:
        >>> import dashpot
        >>> from dashpot.techniques.augment.text.each_word import EachWord
        >>> class Shout(EachWord):
        ...     def change(self, word):
        ...         return word.upper()
        >>> dashpot.augment.text.TextTransform(Shout(0.5), seed=1)("it was a dark,  dark night", index=0)
        'IT was a dark,  DARK night'
    """

    rate: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)

    def change(self, word: str, *draws: float) -> str:
        """What becomes of a word.

        Args:
            draws: the second and later ones of its numbers, in [0, 1).
        """
        raise NotImplementedError  # each technique defines it

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        n, found = len(words.tokens), list(words.tokens)
        for i in words.places:
            if draws[i] < self.rate:
                found[i] = self.change(found[i], *draws[n + i : self.numbers[0] * n : n])
        return found, range(n)

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        where = np.flatnonzero(many.free & (numbers.of_tokens(0) < self.rate))
        more = [numbers.of_tokens(turn, where) for turn in range(1, self.numbers[0])]
        return replaced(many, where, self.change, *more)
