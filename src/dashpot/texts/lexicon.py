"""What a network for texts reads: rows of whole numbers, one for each word, and the tables that they point into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dashpot.texts.grams import frequent_grams, texts_with

NOTHING, UNKNOWN, EDGE = 0, 1, 2
"""Numbers that are no word: no token at all, a word that is not known, and the start and end of a text."""
SPECIAL = 3
SHAPES = 8
"""A number in a row is ``SHAPES * entry + shape``: capitals and digits tell, though words are kept in lower case."""
DIGITS, MIXED, MARK = 1, 4, 5
"""Shapes: a number, a word with digits, and what has neither a letter nor a digit."""
MOST_WORDS, MOST_PIECES, MOST_GRAMS, MOST_TOKENS = 50_000, 30_000, 50_000, 512
LEAST = 2
"""Texts that hold a word or a gram, and words that hold a piece, at least: what is there once teaches nothing."""
BLOCK = 4096
"""Texts whose tokens are rows at once: tokens take many times the memory of rows."""
PIECES = (3, 4, 5)
LONGEST = 100
"""Characters of a word that count: what has more is no word that anybody writes twice."""
FIELD = "\x1f"
"""Begins words that stand for a column (``colour=red``): they are kept as they are and have no pieces, and an unknown
one is left out. No text holds this control character, and it alone stands between the texts of two columns.
"""


@dataclass(frozen=True)
class Lexicon:
    """Words, pieces of words, and pairs and triples of words, by their frequency in the training texts.

    A row is ``EDGE, word, word, ..., EDGE`` and then zeros. A word that is not known is ``UNKNOWN`` with the pieces of
    it that are known behind it, so that a network sees it as it sees the pieces of a known word, which it has in a
    table. Nothing is as wide as the vocabulary: memory is 4 bytes for each token of the longest text, ``length`` at
    most.

    Attributes:
        words: in lower case, the most frequent first; entry ``SPECIAL + i`` is ``words[i]``.
        pieces: of 3 to 5 characters of ``<word>``; their entries follow those of the words.
        grams: pairs and triples of entries as whole numbers (:func:`dashpot.texts.grams.gram_keys`), sorted.
        length: numbers of a row.
        texts: how many it was learned from; 0: not known.
        counts: how many of them hold each entry, words first, then pieces, then grams; empty where not known.

    Example:
        >>> lexicon = Lexicon.fit([["A", "red", "car"], ["a", "red", "cart"], ["the", "car"]])
        >>> lexicon.words, lexicon.names(lexicon.transform([["Red", "cars"]])[0])
        (('a', 'car', 'red'), ['<edge>', 'red', '<unknown>', '#<ca', '#car', '#<car', '<edge>'])
    """

    words: tuple[str, ...]
    pieces: tuple[str, ...]
    grams: tuple[int, ...]
    length: int
    texts: int = 0
    counts: tuple[int, ...] = ()

    @staticmethod
    def fit(
        texts: Sequence[Sequence[str]], *, length: int = MOST_TOKENS, most: Mapping[str, int] | None = None
    ) -> Lexicon:
        """Learn from the tokens of the training texts.

        Args:
            length: numbers of a row at most; longer texts are cut.
            most: words, pieces and grams at most, under these names.
        """
        most = {"words": MOST_WORDS, "pieces": MOST_PIECES, "grams": MOST_GRAMS, **(most or {})}
        # The words in lower case are not kept: they would take several times the memory of the texts.
        every = Counter(word for tokens in texts for word in {key_of(token) for token in tokens})
        words = _first(every, most["words"])
        # Of each word once: a piece of one frequent word says no more than the word.
        pieces = _first(Counter(piece for word in every for piece in set(pieces_of(word))), most["pieces"])
        bare = Lexicon(words, pieces, (), length)
        entries = bare.narrow_rows(texts)
        entries //= SHAPES
        longest = int((entries > 0).sum(axis=1).max(initial=1))
        grams, grams_with = frequent_grams(entries, bare.first_piece, most["grams"], LEAST)
        counts = (*texts_with(entries, *bare.table, bare.entries).tolist(), *grams_with.tolist())
        return Lexicon(words, pieces, tuple(grams.tolist()), longest, len(texts), counts)

    @property
    def first_piece(self) -> int:
        """The entry of the first piece: those below are words and marks."""
        return SPECIAL + len(self.words)

    @property
    def entries(self) -> int:
        """Words and pieces, and the numbers that are no word."""
        return self.first_piece + len(self.pieces)

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """Words (and what is no word), pieces, grams, and links from words to pieces."""
        links = sum(len(self.pieces_in(word)) for word in self.words)
        return {"words": self.first_piece, "pieces": len(self.pieces), "grams": len(self.grams), "links": links}

    @cached_property
    def frequencies(self) -> np.ndarray:
        """``log((1 + texts) / (1 + texts with it)) + 1`` of each entry and gram, float32: high for what is rare."""
        if not self.counts:
            return np.ones(self.entries + len(self.grams), dtype=np.float32)
        return (np.log((1 + self.texts) / (1 + np.array(self.counts))) + 1).astype(np.float32)

    @cached_property
    def _entry(self) -> dict[str, int]:
        return {word: SPECIAL + i for i, word in enumerate(self.words)}

    @cached_property
    def _piece(self) -> dict[str, int]:
        return {piece: self.first_piece + i for i, piece in enumerate(self.pieces)}

    def pieces_in(self, word: str) -> list[int]:
        """The entries of the known pieces of a word in lower case."""
        known = self._piece
        return [known[piece] for piece in dict.fromkeys(pieces_of(word)) if piece in known]

    @cached_property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """The pieces of each entry that is a word or none: their entries int64 [links], and int64
        [first_piece + 1] where those of each entry start.
        """
        found: list[list[int]] = [[]] * SPECIAL + [self.pieces_in(word) for word in self.words]
        starts = np.concatenate([[0], np.cumsum([len(pieces) for pieces in found])])
        return np.array([entry for pieces in found for entry in pieces], dtype=np.int64), starts.astype(np.int64)

    def transform(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """Tokens as rows, int32 [texts, length]."""
        out = np.zeros((len(texts), self.length), dtype=np.int32)
        memory: dict[str, list[int]] = {}
        for row, tokens in zip(out, texts, strict=True):
            numbers = [SHAPES * EDGE]
            for token in tokens:
                if len(numbers) >= self.length:
                    break
                if token not in memory:
                    memory[token] = self._numbers(token)
                numbers += memory[token]
            numbers = [*numbers[: self.length - 1], SHAPES * EDGE]
            row[: len(numbers)] = numbers
        return out

    def narrow_rows(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """:meth:`transform`, as wide as the longest of these texts needs: int32 [texts, at most length]."""
        parts = []
        for start in range(0, len(texts), BLOCK):
            rows = self.transform(texts[start : start + BLOCK])
            parts.append(rows[:, : int((rows > 0).sum(axis=1).max(initial=1))].copy())
        out = np.zeros((len(texts), max((part.shape[1] for part in parts), default=1)), dtype=np.int32)
        for i, part in enumerate(parts):
            out[BLOCK * i : BLOCK * i + len(part), : part.shape[1]] = part
        return out

    def _numbers(self, token: str) -> list[int]:
        lowered = key_of(token)
        entry = self._entry.get(lowered)
        if entry is not None:
            return [SHAPES * entry + shape_of(token)]
        if token.startswith(FIELD):
            return []
        return [SHAPES * UNKNOWN + shape_of(token), *(SHAPES * piece for piece in self.pieces_in(lowered))]

    def names(self, row: Iterable[int]) -> list[str]:
        """The entries of a row, to read; pieces begin with ``#``."""
        words = (word.lstrip(FIELD) or "<next>" for word in self.words)
        every = ["", "<unknown>", "<edge>", *words, *(f"#{piece}" for piece in self.pieces)]
        return [every[number // SHAPES] for number in row if number]

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        ordered = all(a < b for a, b in zip(self.grams, self.grams[1:], strict=False))
        distinct = len(set(self.words)) == len(self.words) and len(set(self.pieces)) == len(self.pieces)
        if self.length < 2 or not ordered or not distinct:
            raise ValueError("texts must have distinct words and pieces, grams in order and a length of 2 or more")
        if self.counts and len(self.counts) != self.entries + len(self.grams):
            raise ValueError("texts must have a count for each word, piece and gram")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Lexicon:
        """The inverse of :meth:`to_dict`."""
        return Lexicon(
            tuple(data["words"]),
            tuple(data["pieces"]),
            tuple(data["grams"]),
            int(data["length"]),
            int(data["texts"]),
            tuple(data["counts"]),
        )


def key_of(token: str) -> str:
    """A token as the lexicon has it.

    >>> key_of("Red"), len(key_of("ha" * 1000))
    ('red', 100)
    """
    return token if token.startswith(FIELD) else token[:LONGEST].lower()


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


def _first(counts: Counter[str], most: int) -> tuple[str, ...]:
    """The most frequent, ties by alphabet."""
    kept = [term for term, count in counts.items() if count >= LEAST]
    return tuple(sorted(kept, key=lambda term: (-counts[term], term))[:most])
