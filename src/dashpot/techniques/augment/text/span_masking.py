"""Span masking: runs of words are replaced by masks."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from dashpot.core.fields.domains import Flag, Name, Range
from dashpot.techniques.augment.text.base import Edited
from dashpot.techniques.augment.text.on_ids import IdTechnique
from dashpot.techniques.augment.text.units import Change, one_left
from dashpot.texts.many import Many, Numbers, spared
from dashpot.texts.tokens import Words


def masked_spans(
    tokens: Sequence[Any], places: Sequence[int], draws: Sequence[float], rate: float, span: int, mask: Any, one: bool
) -> tuple[list[Any], list[int]]:
    """The tokens with ``mask`` for spans of ``span`` words. A span starts at a word with the probability at which a
    word has a probability of ``rate`` to be in one. Of ``places`` one always stays.

    Args:
        places: the words that may be masked; between two that are no neighbours a span ends.
        one: one mask for all tokens that are masked side by side.

    Example:
        >>> masked_spans(list("abcde"), range(5), [0.9, 0.0, 0.9, 0.9, 0.9], 0.2, 2, "_", True)
        (['a', '_', 'd', 'e'], [0, 1, 3, 4])
    """
    start = 1 - (1 - rate) ** (1 / span)
    free, gone = set(places), set[int]()
    for i in places:
        if draws[i] < start:
            for j in range(i, i + span):
                if j not in free:
                    break
                gone.add(j)
    if len(gone) == len(free):
        gone.discard(max(places, key=draws.__getitem__))
    kept = [i for i in range(len(tokens)) if not (one and i in gone and i - 1 in gone)]
    return [mask if i in gone else tokens[i] for i in kept], kept


def spans(
    free: Bool[Tensor, "batch units"], draws: Float[Tensor, "batch units"], rate: float, span: int
) -> tuple[Bool[Tensor, "batch units"], Bool[Tensor, "batch units"]]:
    """Of a batch which units are masked as in :func:`masked_spans`, and which of them have such a one before them."""
    begun = free & (draws < 1 - (1 - rate) ** (1 / span))
    masked = begun
    for _ in range(min(span, free.shape[1]) - 1):
        begun = functional.pad(begun[:, :-1], (1, 0)) & free
        masked = masked | begun
    masked = one_left(free, masked, draws)
    return masked, masked & functional.pad(masked[:, :-1], (1, 0))


class SpanMasking(IdTechnique):
    r"""Replace runs of words by masks, but never all words.

    .. math:: P(\text{a span starts at } w_i) = 1 - (1 - \text{rate})^{1/\text{span}}

    so that a word inside of a long text is masked with probability rate. A span ends at a mark of punctuation and at
    what is protected.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.15 is usual.
        span: words of a span, >= 1.
        merge: one mask for each span, not for each word; texts become shorter.
        mask: what stands for a word in strings and lists of tokens.
        mask_id: what stands for it in ids; in rows of networks for texts an unknown word does.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.
        padding_id: see :class:`RandomDeletion`.
        protected_ids: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts, lists of tokens, or ids [batch, length].
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.SpanMasking(0.4, span=2), seed=0)
        >>> transform("this film was not a masterpiece, but fun", index=0)
        'this film was not [MASK] [MASK], but [MASK]'

    Paper: Joshi et al., "SpanBERT: Improving Pre-training by Representing and Predicting Spans", TACL 2020,
    arXiv 1907.10529.

    When not to use it: as :class:`WordMasking`; for texts that are not much longer than a span.
    """

    summary = "replaces runs of words by masks"

    rate: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.3), off=0.0)] = field(default=0.15, kw_only=False)
    span: Annotated[int, Range(1, float("inf"), search=(2, 5), integer=True)] = 3
    merge: Annotated[bool, Flag()] = False
    mask: Annotated[str, Name()] = "[MASK]"
    mask_id: Annotated[int, Range(0, float("inf"), integer=True)] = 1

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        mask = self.mask if isinstance(words.tokens[0], str) else self.mask_id
        return masked_spans(words.tokens, words.places, draws, self.rate, self.span, mask, self.merge)

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        u = numbers.of_tokens(0)
        inner = np.ones(len(u), dtype=bool)  # tokens with another one of their text before them
        inner[many.starts[:-1][many.sizes > 0]] = False
        reached = many.free & (u < 1 - (1 - self.rate) ** (1 / self.span))
        gone = reached.copy()
        for _ in range(min(self.span, int(many.sizes.max(initial=1))) - 1):
            reached[1:] = reached[:-1] & (many.free & inner)[1:]
            reached[:1] = False
            gone |= reached
        gone = spared(gone, u, many)
        found = many.with_tokens(np.flatnonzero(gone), many.strings.numbers([self.mask]))
        if not self.merge:
            return found
        first = gone & ~(inner & np.concatenate([[False], gone[:-1]]))
        return found.kept(first | ~gone)

    def change(self, free: Tensor, draws: Sequence[Tensor]) -> Change:
        masked, behind = spans(free, draws[0], self.rate, self.span)
        return Change(masked=masked, gone=behind if self.merge else None)
