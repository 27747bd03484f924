"""Random swap: words change places."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.base import Edited
from dashpot.techniques.augment.text.on_ids import IdTechnique
from dashpot.techniques.augment.text.units import Change, firsts
from dashpot.texts.many import Many, Numbers
from dashpot.texts.tokens import Words


def swapped(tokens: Sequence[Any], places: Sequence[int], draws: Sequence[float], rate: float) -> list[Any]:
    """The tokens after swaps, from the left: the k-th of ``places`` with another of them, where its number is below
    ``rate``; which one, the second half of the numbers says.

    >>> swapped(["a", "b", "c"], [0, 1, 2], [0.05, 0.5, 0.5, 0.99, 0, 0], 0.1)
    ['c', 'b', 'a']
    """
    found, n = list(tokens), len(tokens)
    if len(places) > 1:
        for k, i in enumerate(places):
            if draws[i] < rate:
                other = int(draws[n + i] * (len(places) - 1))
                j = places[other + (other >= k)]
                found[i], found[j] = found[j], found[i]
    return found


def swaps(
    free: Bool[Tensor, "batch units"],
    draws: Float[Tensor, "batch units"],
    others: Float[Tensor, "batch units"],
    rate: float,
) -> Int[Tensor, "batch units"]:
    """Of a batch the old unit at each place after the swaps of :func:`swapped`."""
    n, width = free.shape
    count = free.sum(dim=1, keepdim=True)
    hit = free & (draws < rate) & (count > 1)
    rank, place = free.cumsum(dim=1) - 1, firsts(free)
    # Numbers of float32 times whole numbers are exact in float64, as in Python.
    other = (others.double() * (count - 1)).long()
    other = place.gather(1, (other + (other >= rank)).clamp_max(width - 1))
    turn = firsts(hit)
    number = hit.sum(dim=1, keepdim=True)
    order = torch.arange(width, device=free.device).expand(n, width).clone()
    for k in range(int(number.max())):
        # Texts whose swaps are done swap a unit with itself.
        left = turn[:, k : k + 1]
        right = torch.where(k < number, other.gather(1, left), left)
        one, two = order.gather(1, left), order.gather(1, right)
        order.scatter_(1, left, two).scatter_(1, right, one)
    return order


class RandomSwap(IdTechnique):
    r"""Swap each word with another one of its text, with probability rate.

    .. math:: (w_i, w_j) \leftarrow (w_j, w_i) \text{ where } u_i < \text{rate}, \quad j \ne i \text{ uniform}

    Swaps are done from the left, one after another. Marks of punctuation, spaces and what is protected keep their
    places. A text of one word stays as it is. In rows of networks for texts a word moves with its pieces.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.05 to 0.1 is usual.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.
        padding_id: see :class:`RandomDeletion`.
        protected_ids: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts, lists of tokens, or ids [batch, length].
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.RandomSwap(0.2), seed=0)
        >>> transform("this film was not a masterpiece, but fun", index=0)
        'masterpiece film was not a this, but fun'

    Paper: Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
    EMNLP 2019, arXiv 1901.11196.

    When not to use it: where order is meaning ("A beats B"); for a bag of words, which cannot see it.
    """

    summary = "swaps words at random"
    numbers = (2, 0)

    rate: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        return swapped(words.tokens, words.places, draws, self.rate), range(len(words.tokens))

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        places, starts = many.places()
        texts = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        sizes = np.diff(starts)[texts]
        chosen = np.flatnonzero((numbers.of_tokens(0, places) < self.rate) & (sizes > 1))
        first = starts[texts[chosen]]
        other = (numbers.of_tokens(1, places[chosen]) * (sizes[chosen] - 1)).astype(np.int64)
        other += other >= chosen - first
        found = many.tokens[places].tolist()
        for i, j in zip(chosen.tolist(), (first + other).tolist(), strict=True):
            found[i], found[j] = found[j], found[i]
        return many.with_tokens(places, np.array(found, dtype=np.int32))

    def change(self, free: Tensor, draws: Sequence[Tensor]) -> Change:
        return Change(order=swaps(free, draws[0], draws[1], self.rate))
