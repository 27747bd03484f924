"""Case change: capitals and small letters."""

from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Choice, Range
from dashpot.techniques.augment.text.each_word import EachWord

STYLES = {
    "lower": str.lower,
    "upper": str.upper,
    "title": str.capitalize,
}


def recased(word: str, to: str, draw: float) -> str:
    """A word in lower, upper or title case; ``"any"``: in that one of those which the number says.

    >>> recased("Film", "upper", 0.0), recased("Film", "any", 0.0)
    ('FILM', 'film')
    """
    return STYLES[to if to != "any" else tuple(STYLES)[int(draw * len(STYLES))]](word)


class CaseChange(EachWord):
    r"""Write each word in another case with probability rate.

    .. math:: w_i \leftarrow \text{case}(w_i) \text{ where } u_i < \text{rate}

    Scripts without cases, such as Chinese and Arabic, stay as they are.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.1 is usual.
        to: ``"lower"``, ``"upper"``, ``"title"`` (a capital first), or ``"any"``: one of them is drawn for each word.
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.CaseChange(0.5, to="upper"), seed=0)
        >>> transform("this film was not a masterpiece, but fun", index=0)
        'this film WAS not A MASTERPIECE, but fun'

    Paper: Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL 2020,
    arXiv 2005.04118.

    When not to use it: where texts are made lower case before the model sees them, or names tell the class.
    """

    summary = "writes words in another case"
    numbers = (2, 0)

    rate: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)
    to: Annotated[str, Choice((*STYLES, "any"))] = "any"

    def change(self, word: str, *draws: float) -> str:
        return recased(word, self.to, draws[0])
