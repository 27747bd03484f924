"""Character noise: typing errors of every script."""

from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.each_word import EachWord
from dashpot.texts.scripts import clusters


def mistyped(word: str, place: float, kind: float) -> str:
    """A word of two characters or more with one error: two neighbours exchanged, one left out, or one doubled.

    Args:
        place: where, in [0, 1); two numbers of a word, each uniform.
        kind: which error, in [0, 1): a third each.

    Example:
        >>> mistyped("word", 0.4, 0.1), mistyped("word", 0.4, 0.5), mistyped("word", 0.4, 0.9), mistyped("a", 0, 0)
        ('wrod', 'wrd', 'woord', 'a')
    """
    letters = clusters(word)
    if len(letters) < 2:
        return word
    if kind < 1 / 3:
        i = int(place * (len(letters) - 1))
        letters[i], letters[i + 1] = letters[i + 1], letters[i]
        return "".join(letters)
    i = int(place * len(letters))
    letters[i : i + 1] = [] if kind < 2 / 3 else [letters[i]] * 2
    return "".join(letters)


class CharacterNoise(EachWord):
    r"""Make one typing error in each word with probability rate.

    .. math:: w_i \leftarrow \text{error}(w_i) \text{ where } u_i < \text{rate}

    An error exchanges two neighbouring characters, leaves one out, or doubles one, each with probability 1/3. Only
    characters of the word itself are used, so it serves every script; a character keeps its accents and vowel signs.
    Words of one character stay, and with them Chinese, for which :class:`SynonymReplacement` takes a table of similar
    characters.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.05 to 0.1 is usual.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.CharacterNoise(0.5), seed=0)
        >>> transform("this film was not a masterpiece, but fun", index=0)
        'this fiml wwas not a masterpiece, but fnu'

    Paper: Belinkov and Bisk, "Synthetic and Natural Noise Both Break Neural Machine Translation", ICLR 2018,
    arXiv 1711.02173.

    When not to use it: with a vocabulary of whole words, in which a word with an error is not found; there it is
    deletion.
    """

    summary = "makes typing errors in words"
    numbers = (3, 0)

    rate: Annotated[float, Range(0.0, 1.0, search=(0.01, 0.2), off=0.0)] = field(default=0.05, kw_only=False)

    def change(self, word: str, *draws: float) -> str:
        return mistyped(word, *draws)
