"""Sentence shuffle: the sentences of a text in another order."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.base import Edited, WordTechnique
from dashpot.texts.tokens import Words

_ENDS, _WIDE_ENDS = frozenset(".!?…؟।"), frozenset("。！？")
_CLOSING = frozenset("\"'”’)]»」』）")


def sentences(tokens: Sequence[str], gaps: Sequence[str]) -> list[range]:
    """The sentences of a text: each ends behind a mark that ends one, with quotes and brackets that close there, where
    a space follows (none is needed behind wide marks), and at a line's end.

    >>> sentences(["Hi", "!", "It", "is", "3", ".", "5"], ["", "", " ", " ", " ", "", "", ""])
    [range(0, 2), range(2, 7)]
    """
    found, start, n = [], 0, len(tokens)
    for i in range(1, n):
        last = i - 1
        while last > start and tokens[last] in _CLOSING:
            last -= 1
        gap = gaps[i] if gaps else " "
        ended = (tokens[last] in _ENDS and gap) or tokens[last] in _WIDE_ENDS
        goes_on = tokens[i] in _ENDS or tokens[i] in _WIDE_ENDS or (tokens[i] in _CLOSING and not gap)
        if (ended and not goes_on) or "\n" in gap:
            found.append(range(start, i))
            start = i
    return [*found, range(start, n)]


class SentenceShuffle(WordTechnique):
    r"""Put the sentences of a text into another order, with probability p.

    .. math:: (s_1, \dots, s_k) \to (s_{\pi(1)}, \dots, s_{\pi(k)}), \quad \pi \text{ uniform}

    The space between sentences, lines among it, stays where it is. A sentence ends at a mark that ends one and at a
    line's end. All words stay, and what is protected moves with its sentence. A text of one sentence stays as it is.

    Args:
        p: probability of each text, in [0, 1]; 0 is off. 0.5 is usual.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.SentenceShuffle(1.0), seed=0)
        >>> transform("Good plot. Bad end! Why?", index=0), transform("天气好。去公园吗？", index=1)
        ('Good plot. Why? Bad end!', '去公园吗？天气好。')

    Paper: Yan et al., "Data Augmentation for Deep Learning of Judgment Documents", IScIDE 2019.

    When not to use it: where a text is a story or an argument whose order is its meaning.
    """

    summary = "shuffles the sentences of a text"
    numbers = (1, 1)

    p: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.8), off=0.0)] = field(default=0.5, kw_only=False)

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        n = len(words.tokens)
        if draws[n] >= self.p:
            return words.tokens, range(n)
        parts = sentences(words.tokens, words.gaps)
        order = sorted(parts, key=lambda part: draws[part.start])
        # The first token of a sentence takes the space of the sentence that stood there.
        origins = [i for there, part in zip(parts, order, strict=True) for i in (there.start, *part[1:])]
        return [words.tokens[i] for part in order for i in part], origins
