"""What a network for texts reads: rows of whole numbers, one for each word, and the tables that they point into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dashpot.texts.counting import KeyCounts, texts_with_terms
from dashpot.texts.grams import SKIP, grams_of, texts_with
from dashpot.texts.spelling import FIELD, key_of, pieces_of, said_of, shape_of

NOTHING, UNKNOWN, EDGE = 0, 1, 2
"""Numbers that are no word: no token at all, a word that is not known, and the start and end of a text."""
SPECIAL = 3
SHAPES = 8
"""A number in a row is ``SHAPES * entry + shape``: capitals and digits tell, though words are kept in lower case."""
MOST_WORDS, MOST_PIECES, MOST_GRAMS, MOST_TOKENS = 50_000, 30_000, 50_000, 512
LEAST = 2
"""Texts that hold a word or a gram, and words that hold a piece, at least: what is there once teaches nothing."""
BLOCK = 4096
"""Texts whose tokens are rows at once: tokens take many times the memory of rows."""
SHORT = 64
"""Words of a text on average, at most, where pairs with words between are worth their price: in long texts they are
many, and tell little.
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
        grams: pairs, triples, and pairs with words between, of entries as whole numbers
            (:func:`dashpot.texts.grams.keys_of`), sorted.
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
        """Learn from the tokens of the training texts; see :func:`learn`."""
        return learn(texts, length=length, most=most)[0]

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
        every = ["", "<unknown>", "<edge>", *map(said_of, self.words), *(f"#{piece}" for piece in self.pieces)]
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


def learn(
    texts: Sequence[Sequence[str]],
    *,
    length: int = MOST_TOKENS,
    most: Mapping[str, int] | None = None,
    also: Callable[[np.ndarray, int], None] = lambda entries, first_piece: None,
) -> tuple[Lexicon, np.ndarray]:
    """The lexicon of texts, and how many of them need a row of each length, int64 [length + 1], those that are cut
    among the longest.

    The texts are read twice, a slice at a time: what cuts texts into tokens when a slice is asked for keeps none.
    Pairs with words between are learned where texts are short, of 64 words or fewer on average.

    Args:
        texts: their tokens.
        length: numbers of a row at most; longer texts are cut.
        most: words, pieces, grams and skips at most, under these names.
        also: called with each slice of the texts as rows without shapes, and the first piece.
    """
    most = {"words": MOST_WORDS, "pieces": MOST_PIECES, "grams": MOST_GRAMS, "skips": MOST_GRAMS, **(most or {})}
    total = 0

    def words_of(tokens: Sequence[str]) -> set[str]:
        nonlocal total
        total += len(tokens)
        return {key_of(token) for token in tokens}

    every = texts_with_terms(words_of(tokens) for block in _blocks(texts) for tokens in block)
    words = _first(every, most["words"])
    # Of each word once: a piece of one frequent word says no more than the word.
    pieces = _first(texts_with_terms(set(pieces_of(word)) for word in every), most["pieces"])
    bare = Lexicon(words, pieces, (), length)
    skips = total <= SHORT * len(texts)
    counted, lengths = KeyCounts(), np.zeros(length + 1, dtype=np.int64)
    counts = np.zeros(bare.entries, dtype=np.int64)
    for block in _blocks(texts):
        entries = bare.narrow_rows(block)
        entries //= SHAPES
        lengths += np.bincount((entries > 0).sum(axis=1), minlength=length + 1)
        counts += texts_with(entries, *bare.table, bare.entries)
        also(entries, bare.first_piece)
        for keys in grams_of(entries, bare.first_piece, skips=skips):
            counted.add(keys)
    keys, times = counted.result()
    kept = np.sort(np.concatenate([_most(keys, times, most["grams"], 0), _most(keys, times, most["skips"], SKIP)]))
    times = times[kept] if counted.exact else _times(texts, bare, keys[kept], skips)
    longest = int(np.flatnonzero(lengths).max(initial=1))
    every_count = (*counts.tolist(), *times.tolist())
    return Lexicon(words, pieces, tuple(keys[kept].tolist()), longest, len(texts), every_count), lengths


def _blocks(texts: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    for start in range(0, len(texts), BLOCK):
        yield texts[start : start + BLOCK]


def _most(keys: np.ndarray, times: np.ndarray, most: int, first: int) -> np.ndarray:
    """The places of the ``most`` keys from ``first`` on that are in most texts; ties fall by number, which is by the
    words' frequency.
    """
    kept = np.flatnonzero((times >= LEAST) & ((keys >= SKIP) == (first >= SKIP)))
    return kept[np.argsort(-times[kept], kind="stable")[:most]]


def _times(texts: Sequence[Sequence[str]], bare: Lexicon, keys: np.ndarray, skips: bool) -> np.ndarray:
    """How many texts hold each of some grams, sorted; read once more."""
    found = np.zeros(len(keys), dtype=np.int64)
    for block in _blocks(texts):
        for some in grams_of(bare.narrow_rows(block) // SHAPES, bare.first_piece, skips=skips):
            place = np.searchsorted(keys, some).clip(max=max(len(keys) - 1, 0))
            found += np.bincount(place[keys[place] == some] if len(keys) else [], minlength=len(keys))
    return found


def _first(counts: Counter[str], most: int) -> tuple[str, ...]:
    """The most frequent, ties by alphabet."""
    kept = [term for term, count in counts.items() if count >= LEAST]
    return tuple(sorted(kept, key=lambda term: (-counts[term], term))[:most])
