"""Many texts to tokens at once, from pieces between spaces, of which most were seen before."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import chain

import numpy as np

from dashpot.texts.many import EMPTY, SPACE, Many, bounds_of, new_strings
from dashpot.texts.tokens import Splitter, Tokenizer, splitter

_MOST_KNOWN, _MOST_CHARACTERS = 200_000, 4_000_000  # what is remembered: some tens of megabytes


class Chunks:
    """What a :class:`~dashpot.texts.tokens.Splitter` makes of texts, for many at once.

    Args:
        split: the splitter.

    Example:
        >>> many = Chunks(Splitter("words", "numbers"))(["I paid 3.50,  very", "much"])
        >>> many.lists(), many.free.tolist()
        ([['I', 'paid', '3.50', ',', 'very'], ['much']], [True, True, False, False, True, True])
        >>> many.texts()
        ['I paid 3.50,  very', 'much']
    """

    def __init__(self, split: Splitter) -> None:
        self._split = split
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, int] = {}
        self._characters = 0
        self._strings = new_strings()
        self._counts = np.empty(0, dtype=np.int32)  # of each chunk: how many tokens, where they start, and
        self._firsts = np.empty(0, dtype=np.int64)
        self._plain = np.empty(0, dtype=bool)  # whether it has some, and no space around them
        self._tails = np.empty(0, dtype=np.int32)  # the space behind the last
        self._tokens = np.empty(0, dtype=np.int32)  # of all chunks
        self._gaps = np.empty(0, dtype=np.int32)  # before each

    def __call__(self, texts: Sequence[str]) -> Many:
        """The texts in tokens."""
        self._forget_many()
        chunks, sizes = self._pieces(texts)
        try:
            found = [self._known[chunk] for chunk in chunks]
        except KeyError:
            self._learn([chunk for chunk in dict.fromkeys(chunks) if chunk not in self._known])
            found = [self._known[chunk] for chunk in chunks]
        which = np.array(found, dtype=np.int64)
        counts = self._counts[which]
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        index = np.arange(total) + np.repeat(self._firsts[which] - ends + counts, counts)
        tokens, gaps = self._tokens[index], self._gaps[index]
        bounds = bounds_of(sizes)
        follows = np.ones(len(which), dtype=bool)
        follows[bounds[:-1]] = False
        gaps[(ends - counts)[follows & (counts > 0)]] = SPACE
        last = np.full(len(texts), EMPTY, dtype=np.int32)
        plain = self._plain[which]
        if not plain.all():
            odd = np.unique(np.searchsorted(bounds, np.flatnonzero(~plain), side="right") - 1)
            self._space(odd.tolist(), bounds, which, ends - counts, gaps, last)
        starts = np.concatenate([[0], ends])[bounds]
        return Many(self._strings, tokens, starts, self._free(tokens), gaps, last)

    def listed(self, lists: Sequence[Sequence[str]]) -> Many:
        """Tokens that somebody else has made."""
        self._forget_many()
        tokens = self._strings.numbers(list(chain.from_iterable(lists)))
        return Many(self._strings, tokens, bounds_of([len(tokens) for tokens in lists]), self._free(tokens))

    def _free(self, tokens: np.ndarray) -> np.ndarray:
        return self._strings.ask(self._split.may_change, tokens).astype(bool)

    def _pieces(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """All pieces, and how many each text has."""
        whole = " ".join(texts)
        if texts and self._split.at_spaces(whole):
            return whole.split(" "), [text.count(" ") + 1 for text in texts]
        pieces = [text.split(" ") if self._split.at_spaces(text) else [text] for text in texts]
        return list(chain.from_iterable(pieces)), [len(some) for some in pieces]

    def _learn(self, chunks: Sequence[str]) -> None:
        words = [self._split.whole(chunk) for chunk in chunks]
        self._characters += sum(map(len, chunks))
        for chunk in chunks:
            self._known[chunk] = len(self._known)
        counts = np.array([len(one.tokens) for one in words], dtype=np.int32)
        firsts = len(self._tokens) + np.cumsum(counts) - counts
        numbers = self._strings.numbers
        tokens = numbers([token for one in words for token in one.tokens])
        gaps = numbers([gap for one in words for gap in one.gaps[:-1]])
        plain = [bool(one.tokens) and not one.gaps[0] and not one.gaps[-1] for one in words]
        self._counts = np.concatenate([self._counts, counts])
        self._firsts = np.concatenate([self._firsts, firsts])
        self._plain = np.concatenate([self._plain, np.array(plain, dtype=bool)])
        self._tails = np.concatenate([self._tails, numbers([one.gaps[-1] for one in words])])
        self._tokens = np.concatenate([self._tokens, tokens])
        self._gaps = np.concatenate([self._gaps, gaps])

    def _space(
        self,
        texts: Sequence[int],
        bounds: np.ndarray,
        which: np.ndarray,
        places: np.ndarray,
        gaps: np.ndarray,
        last: np.ndarray,
    ) -> None:
        """Write the space of texts with other space than single spaces between words."""
        for text in texts:
            gap, own = "", slice(bounds[text], bounds[text + 1])
            tails = self._strings.of(self._tails[which[own]])
            for chunk, place, tail in zip(which[own].tolist(), places[own].tolist(), tails, strict=True):
                if self._counts[chunk]:
                    head = self._strings.of(self._gaps[self._firsts[chunk]][None])[0]
                    gaps[place] = self._strings.numbers([gap + head])[0]
                    gap = tail + " "
                else:
                    gap += tail + " "
            last[text] = self._strings.numbers([gap[:-1]])[0]

    def _forget_many(self) -> None:
        # Of what is remembered numbers are kept until all is forgotten: between two calls.
        if max(len(self._known), len(self._strings)) > _MOST_KNOWN or self._characters > _MOST_CHARACTERS:
            self._forget()


@functools.lru_cache(maxsize=64)
def chunks(tokenizer: str | Tokenizer, protect: str) -> Chunks:
    """The same for the same arguments, since it remembers."""
    return Chunks(splitter(tokenizer, protect))
