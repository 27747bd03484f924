"""How a token is written: its key in a lexicon, its pieces and its shape."""

from __future__ import annotations

DIGITS, MIXED, MARK = 1, 4, 5
"""Shapes: a number, a word with digits, and what has neither a letter nor a digit."""
PIECES = (3, 4, 5)
LONGEST = 100
"""Characters of a word that count: what has more is no word that anybody writes twice."""
FIELD = "\x1f"
"""Begins words that stand for a column (``colour=red``): they are kept as they are and have no pieces, and an unknown
one is left out. No text holds this control character, and it alone stands between the texts of two columns.
"""


def key_of(token: str) -> str:
    """A token as the lexicon has it.

    >>> key_of("Red"), len(key_of("ha" * 1000))
    ('red', 100)
    """
    return token if token.startswith(FIELD) else token[:LONGEST].lower()


def said_of(word: str) -> str:
    """A word of a lexicon, to read: of a column without its control character; what stands between columns is named.

    >>> said_of("moon"), said_of(FIELD + "colour=red"), said_of(FIELD)
    ('moon', 'colour=red', '<next>')
    """
    return word.lstrip(FIELD) or "<next>"


def pieces_of(word: str) -> list[str]:
    """All runs of 3 to 5 characters of a word between ``<`` and ``>``; none of a word for a column.

    >>> pieces_of("car")
    ['<ca', 'car', 'ar>', '<car', 'car>', '<car>']
    """
    if word.startswith(FIELD):
        return []
    marked = f"<{word}>"
    return [marked[i : i + n] for n in PIECES for i in range(len(marked) - n + 1)]


def shape_of(token: str) -> int:
    """How a token is written: 1 digits, 2 capitals, 3 a capital first, 4 digits within, 5 no letter or digit, 0 others.

    >>> [shape_of(token) for token in ("1999", "NASA", "Moon", "mp3", "?", "moon", "A")]
    [1, 2, 3, 4, 5, 0, 3]
    """
    if token.isdigit():
        return DIGITS
    if not any(character.isalnum() for character in token):
        return MARK
    if any(character.isdigit() for character in token):
        return MIXED
    if token.isupper() and len(token) > 1:
        return 2
    return 3 if token[:1].isupper() else 0
