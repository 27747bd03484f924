"""Word masking: words are replaced by one token that says nothing."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from dashpot.core.fields.domains import Name, Range
from dashpot.techniques.augment.text.base import Edited
from dashpot.techniques.augment.text.on_ids import IdTechnique
from dashpot.techniques.augment.text.units import Change, chosen
from dashpot.texts.many import Many, Numbers, spared
from dashpot.texts.tokens import Words


def masked(tokens: Sequence[Any], places: Sequence[int], draws: Sequence[float], rate: float, mask: Any) -> list[Any]:
    """The tokens with ``mask`` for those of ``places`` whose number is below ``rate``; of these one always stays.

    >>> masked(["a", "b", "c"], [0, 1, 2], [0.3, 0.05, 0.9], 0.1, "[MASK]")
    ['a', '[MASK]', 'c']
    """
    found, gone = list(tokens), [i for i in places if draws[i] < rate]
    spared = max(places, key=draws.__getitem__) if len(gone) == len(places) else -1
    for i in gone:
        if i != spared:
            found[i] = mask
    return found


class WordMasking(IdTechnique):
    r"""Replace each word by a mask with probability rate, but never all.

    .. math:: w_i \leftarrow \text{mask} \text{ where } u_i < \text{rate}, \quad u_i \sim U[0, 1)

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.1 to 0.15 is usual.
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
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.WordMasking(0.4), seed=0)
        >>> transform("this film was not a masterpiece, but fun", index=0)
        '[MASK] film [MASK] not [MASK] [MASK], [MASK] [MASK]'

    Paper: Xie et al., "Data Noising as Smoothing in Neural Network Language Models", ICLR 2017, arXiv 1703.02573.

    When not to use it: with a tokenizer that takes the mask apart; for texts of few words, of which each matters.
    """

    summary = "replaces words by a mask"

    rate: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)
    mask: Annotated[str, Name()] = "[MASK]"
    mask_id: Annotated[int, Range(0, float("inf"), integer=True)] = 1

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        mask = self.mask if isinstance(words.tokens[0], str) else self.mask_id
        return masked(words.tokens, words.places, draws, self.rate, mask), range(len(words.tokens))

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        u = numbers.of_tokens(0)
        gone = np.flatnonzero(spared(many.free & (u < self.rate), u, many))
        return many.with_tokens(gone, many.strings.numbers([self.mask]))

    def change(self, free: Tensor, draws: Sequence[Tensor]) -> Change:
        return Change(masked=chosen(free, draws[0], self.rate))
