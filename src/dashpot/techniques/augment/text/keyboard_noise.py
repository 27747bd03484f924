"""Keyboard noise: the key beside the right one."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Choice, Range
from dashpot.techniques.augment.text.each_word import EachWord

LAYOUTS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
    "jcuken": ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
}
_SHIFTS = (0.0, 0.25, 0.75)  # how far a row starts to the right of the first one


@functools.cache
def neighbours(layout: str) -> Mapping[str, str]:
    """For each letter of a layout the letters whose keys touch its own.

    >>> neighbours("qwerty")["g"], neighbours("qwerty")["p"]
    ('tyfhvb', 'ol')
    """
    keys = [(letter, x + _SHIFTS[y], y) for y, row in enumerate(LAYOUTS[layout]) for x, letter in enumerate(row)]
    return {
        letter: "".join(
            other
            for other, u, v in keys
            if other != letter and (abs(u - x) <= 1 if v == y else abs(v - y) == 1 and abs(u - x) < 1)
        )
        for letter, x, y in keys
    }


def mistyped(word: str, draws: Sequence[float], layout: str) -> str:
    """A word with one letter replaced by a neighbour on the keyboard; itself where it has no letter of the layout.

    >>> mistyped("Go", [0.0, 0.99], "qwerty"), mistyped("好", [0.0, 0.0], "qwerty")
    ('Bo', '好')
    """
    keys = neighbours(layout)
    places = [i for i, letter in enumerate(word) if letter.lower() in keys]
    if not places:
        return word
    i = places[int(draws[0] * len(places))]
    near = keys[word[i].lower()]
    new = near[int(draws[1] * len(near))]
    return word[:i] + (new.upper() if word[i].isupper() else new) + word[i + 1 :]


class KeyboardNoise(EachWord):
    r"""Replace one letter of each word by a neighbour on the keyboard, with probability rate.

    .. math:: w_i \leftarrow \text{slip}(w_i) \text{ where } u_i < \text{rate}

    Capitals stay capitals. Words without a letter of the keyboard stay as they are.

    Args:
        rate: probability of each word, in [0, 1]; 0 is off. 0.05 is usual.
        layout: ``"qwerty"``, ``"qwertz"`` (German), ``"azerty"`` (French) or ``"jcuken"`` (Russian).
        tokenizer: see :class:`RandomDeletion`.
        protect: see :class:`RandomDeletion`.

    Raises:
        UsageError: inputs that are no texts or lists of tokens.
        DataError: a text that is none, such as None.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform(dashpot.augment.text.KeyboardNoise(0.5), seed=0)
        >>> transform("this film was not a masterpiece, but fun", index=0)
        'yhis fiom aas not a jasterpiece, but fun'

    Paper: Pruthi, Dhingra and Lipton, "Combating Adversarial Misspellings with Robust Word Recognition", ACL 2019,
    arXiv 1905.11268.

    When not to use it: for texts that nobody typed; with a vocabulary of whole words.
    """

    summary = "replaces letters by neighbours on the keyboard"
    numbers = (3, 0)

    rate: Annotated[float, Range(0.0, 1.0, search=(0.01, 0.2), off=0.0)] = field(default=0.05, kw_only=False)
    layout: Annotated[str, Choice(tuple(LAYOUTS))] = "qwerty"

    def change(self, word: str, *draws: float) -> str:
        return mistyped(word, draws, self.layout)
