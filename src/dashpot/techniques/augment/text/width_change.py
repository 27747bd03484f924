"""Width change: ASCII characters as wide ones, and back."""

from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Range
from dashpot.techniques.augment.text.each_word import EachWord

_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_NARROW = {wide: code for code, wide in _WIDE.items()}
_EXCHANGED = _WIDE | _NARROW


def exchanged(word: str) -> str:
    """A word with its ASCII characters wide (U+FF01 to U+FF5E), and its wide ones narrow.

    >>> exchanged("GPT"), exchanged(exchanged("GPT")), exchanged("好")
    ('ＧＰＴ', 'GPT', '好')
    """
    return word.translate(_EXCHANGED)


class WidthChange(EachWord):
    r"""Write ASCII words in wide characters and wide words in ASCII, each with probability rate.

    .. math:: c \leftarrow c \pm \mathtt{FEE0}_{16} \text{ for the characters } c \text{ of } w_i \text{ where }
        u_i < \text{rate}

    Both stand side by side in Chinese, Japanese and Korean texts, and a model should read them alike.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.1 is usual.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`; without ``numbers`` in it digits are changed, too.

    Raises:
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.WidthChange(1.0), seed=0)
        >>> transform("我用Python写ＡＰＩ", index=0)
        '我用Ｐｙｔｈｏｎ写API'

    Paper: The Unicode Consortium, "East Asian Width", Unicode Standard Annex 11.

    When not to use it: where texts are normalized (NFKC) before the model sees them; for texts without wide characters.
    """

    summary = "writes words in wide or in ASCII characters"

    rate: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)

    def change(self, word: str, *draws: float) -> str:
        return exchanged(word)
