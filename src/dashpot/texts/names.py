"""What the features of a bag of words are called."""

from __future__ import annotations

from dashpot.texts.grams import SKIP, entries_of
from dashpot.texts.lexicon import Lexicon
from dashpot.texts.spelling import said_of


def feature_names(lexicon: Lexicon) -> list[str]:
    """Of each feature, in the order of a bag's weights: words, pieces with ``#`` before them, and pairs and triples of
    words with spaces between; pairs with other words between have a ``…``.

    Example:
        >>> lexicon = Lexicon.fit([["a", "red", "car"], ["a", "red", "cart"], ["the", "car"]])
        >>> names = feature_names(lexicon)
        >>> names[3:6], names[lexicon.first_piece], [name for name in names if " " in name][:2]
        (['a', 'car', 'red'], '#<ca', ['<edge> a', 'a red'])
    """
    entries = [
        "<nothing>",
        "<unknown>",
        "<edge>",
        *map(said_of, lexicon.words),
        *(f"#{piece}" for piece in lexicon.pieces),
    ]
    between = {True: " … ", False: " "}
    return [*entries, *(between[key >= SKIP].join(entries[part] for part in entries_of(key)) for key in lexicon.grams)]
