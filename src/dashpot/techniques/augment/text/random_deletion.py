"""Random deletion: words are left out."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any

from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.base import Edited
from dashpot.techniques.augment.text.on_ids import IdTechnique
from dashpot.techniques.augment.text.units import Change, chosen
from dashpot.texts.many import Many, Numbers, spared
from dashpot.texts.tokens import Words


def without_words(
    tokens: Sequence[Any], places: Sequence[int], draws: Sequence[float], rate: float
) -> tuple[list[Any], list[int]]:
    """The tokens without those among ``places`` whose number is below ``rate``; of these one always stays.

    >>> without_words(["a", "b", "c"], [0, 1, 2], [0.3, 0.05, 0.9], 0.1)
    (['a', 'c'], [0, 2])
    """
    gone = {i for i in places if draws[i] < rate}
    if len(gone) == len(places):
        gone.discard(max(places, key=draws.__getitem__))
    kept = [i for i in range(len(tokens)) if i not in gone]
    return [tokens[i] for i in kept], kept


class RandomDeletion(IdTechnique):
    r"""Leave out each word with probability rate, but never all.

    .. math:: \tilde w = (w_i : u_i \ge \text{rate}), \quad u_i \sim U[0, 1)

    Marks of punctuation and what is protected stay. Of the words that may go at least one stays, so no text becomes
    empty. Of ids the text becomes shorter, and ``padding_id`` fills its end. In rows of
    networks for texts a word goes with its pieces.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.1 is usual.
        tokenizer: ``"words"`` (by space and punctuation, and character by character in scripts without spaces, such as
            Chinese), ``"characters"``, or a function of a text that gives its tokens, such as ``jieba.lcut``,
            or its name: ``"jieba:lcut"`` (``pip install jieba``).
        protect: ``"none"``, or a regular expression of what stays as it is; ``numbers``, ``negations`` and
            ``placeholders`` may stand in it for built-in ones.
        padding_id: of ids, the one that fills short texts.
        protected_ids: ids that stay, such as those of the first and last token: ``(101, 102)``.

    Raises:
        UsageError: inputs that are no texts, lists of tokens, or ids [batch, length].
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.RandomDeletion(0.4), seed=0)
        >>> transform("this film was not a masterpiece, but fun", index=0)
        'this film was not a masterpiece,'

    Paper: Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
    EMNLP 2019, arXiv 1901.11196.

    When not to use it: where single words decide, as in questions of six words, or where the order of tokens is the
    target.
    """

    summary = "leaves out words at random"

    rate: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)

    def edit(self, words: Words, draws: Sequence[float]) -> Edited:
        return without_words(words.tokens, words.places, draws, self.rate)

    def edit_all(self, many: Many, numbers: Numbers) -> Many:
        u = numbers.of_tokens(0)
        return many.kept(~spared(many.free & (u < self.rate), u, many))

    def change(self, free: Tensor, draws: Sequence[Tensor]) -> Change:
        return Change(gone=chosen(free, draws[0], self.rate))
