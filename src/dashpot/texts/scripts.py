"""Classes of characters, as the inside of a regular expression's brackets."""

from __future__ import annotations

import re
import unicodedata

# Thai, Lao, Burmese, Khmer, Japanese, Chinese: no space stands between their words.
SPACELESS = (
    r"\u0e00-\u0e4e\u0e80-\u0ece\u1000-\u1049\u1050-\u109d\u1780-\u17d3\u17d7\u17dc-\u17dd\u3005-\u3007\u3040-\u30fa"
    r"\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
)
# What stands above, below or after a letter of theirs and belongs to it.
SPACELESS_MARKS = (
    r"\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u105e-\u1060"
    r"\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u108f\u109a-\u109d\u17b4-\u17d3\u17dd\u3099-\u309a"
    r"\ufe00-\ufe0f\U000e0100-\U000e01ef"
)
# Marks of all other scripts: Python's \w lacks them, so Hindi words would fall apart. Letters between two of these
# ranges are inside of them too, where they do no harm; joiners of Persian and of Indian scripts are the last two.
MARKS = (
    r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1-\u05c2\u05c4-\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    r"\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0711-\u07f3\u07fd\u0816-\u082d\u0859-\u085b\u0898-\u08e1\u08e3-\u0963"
    r"\u0981-\u09e3\u09fe-\u0a75\u0a81-\u0ae3\u0afa-\u0b63\u0b82-\u0bd7\u0c00-\u0c63\u0c81-\u0c83\u0cbc-\u0d4d"
    r"\u0d57-\u0d63\u0d81-\u0df3\u0f18-\u0f19\u0f35\u0f37\u0f39\u0f3e-\u0f84\u0f86-\u0fbc\u0fc6\u135d-\u135f"
    r"\u1712-\u1734\u1752-\u1773\u180b-\u180d\u180f-\u193b\u1a17-\u1a1b\u1a55-\u1a7f\u1ab0-\u1b44\u1b6b-\u1b73"
    r"\u1b80-\u1bf3\u1c24-\u1c37\u1cd0-\u1cd2\u1cd4-\u1dff\u20d0-\u20f0\u2cef-\u2cf1\u2d7f-\u2dff\ua66f-\ua672"
    r"\ua674-\ua67d\ua69e-\ua6f1\ua802-\ua827\ua82c\ua880-\ua8c5\ua8e0-\ua8f1\ua8ff-\ua92d\ua947-\ua953\ua980-\ua9c0"
    r"\ua9e5-\uaa4d\uaa7b-\uaac1\uaaeb-\uaaef\uaaf5-\uaaf6\uabe3-\uabea\uabec-\uabed\ufb1e\ufe20-\ufe2f\u200c\u200d"
)
WORD = rf"(?:[^\W{SPACELESS}]|(?<=[\w{MARKS}])[{MARKS}])"
"""One character of a word in a script with spaces."""

SYMBOL = (
    r"[\U0001f1e6-\U0001f1ff]{2}|"  # flags are pairs
    r"[^\w\s](?:[\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|\u200d[^\w\s])*"
)
"""A mark of punctuation, or an emoji with all that belongs to it."""

_FIRST_SPACELESS = re.compile(f"[{SPACELESS}\u3000-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff1f]")


def spaceless(character: str) -> bool:
    """Whether a character is of a script without spaces between words, or of its punctuation.

    >>> spaceless("好"), spaceless("。"), spaceless("a")
    (True, True, False)
    """
    return _FIRST_SPACELESS.match(character) is not None


def clusters(word: str) -> list[str]:
    """The characters of a word, each with the marks that belong to it.

    >>> clusters("cafe\\u0301") == ["c", "a", "f", "e\\u0301"]
    True
    """
    found: list[str] = []
    for character in word:
        if found and (unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"):
            found[-1] += character
        else:
            found.append(character)
    return found
