"""Punctuation insertion: marks are put between words (AEDA)."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.base import Edited, WordTechnique
from dashpot.texts.many import Many, Numbers, ends_spaceless
from dashpot.texts.scripts import spaceless
from dashpot.texts.tokens import Words

MARKS = ".;?:!,"
WIDE_MARKS = "。；？：！，"


def with_marks(tokens: Sequence[str], draws: Sequence[float], rate: float) -> tuple[list[str], list[int]]:
    """The tokens with marks behind some of them: 1 to ``rate`` of their number, as the last of the numbers says; where,
    the smallest of the first ones; which, the second ones.

    >>> with_marks(["a", "b", "c"], [0.5, 0.1, 0.9, 0, 0.99, 0, 0.0], 0.5)
    (['a', 'b', ',', 'c'], [0, 1, -1, 2])
    """
    n = len(tokens)
    count = 1 + int(draws[2 * n] * max(1, int(rate * n)))
    chosen = set(sorted(range(n), key=draws.__getitem__)[:count])
    found: list[str] = []
    origins: list[int] = []
    for i, token in enumerate(tokens):
        found.append(token)
        origins.append(i)
        if i in chosen:
            marks = WIDE_MARKS if spaceless(token[-1:]) else MARKS
            found.append(marks[int(draws[n + i] * len(marks))])
            origins.append(-1)
    return found, origins


class PunctuationInsertion(WordTechnique):
    r"""Put marks of punctuation (. ; ? : ! ,) behind some tokens: all words stay, in their order (AEDA).

    .. math:: k \sim U\{1, \dots, \max(1, \lfloor \text{rate} \cdot n \rfloor)\} \text{ marks behind } k \text{ of } n
        \text{ tokens}

    Behind characters of Chinese or Japanese their wide forms (。；？：！，) are put, without spaces.
    Inside of what is protected nothing is put.

    Args:
        rate: the greatest share of tokens that get a mark, in [0, 1]; 0 is off. 1/3 is the paper's.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.PunctuationInsertion(), seed=0)
        >>> transform("a sad, superior human comedy", index=0), transform("天气很好", index=1)
        ('a ? sad, ! superior human comedy', '天气：很好')

    Paper: Karimi, Rossi and Prati, "AEDA: An Easier Data Augmentation Technique for Text Classification", Findings of
    EMNLP 2021, arXiv 2108.13230.

    When not to use it: where punctuation tells the class (questions), or is dropped before the model sees it.
    """

    summary = "puts marks of punctuation between words (AEDA)"
    numbers = (2, 1)

    rate: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.4), off=0.0)] = field(default=1 / 3, kw_only=False)

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        return with_marks(words.tokens, draws, self.rate)

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        sizes, texts = many.sizes, many.texts_of()
        greatest = np.maximum(1, (self.rate * sizes).astype(np.int64))
        counts = 1 + (numbers.of_texts(2) * greatest).astype(np.int64)
        counts[np.diff(many.before(many.free)) == 0] = 0
        order = np.lexsort((numbers.of_tokens(0), texts))  # by text, and by number within it
        rank = np.arange(len(order)) - many.starts[texts]
        where = np.sort(order[rank < counts[texts]])
        which = (numbers.of_tokens(1, where) * len(MARKS)).astype(np.int64)
        wide = many.strings.ask(ends_spaceless, many.tokens[where])
        return many.with_inserted(where, many.strings.numbers([*MARKS, *WIDE_MARKS])[which + len(MARKS) * wide])
