"""Many texts at once as arrays of numbers of strings: what changes them is numpy over all their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from dashpot.core.draws import hashed_each
from dashpot.texts.scripts import spaceless
from dashpot.texts.strings import Strings

EMPTY, SPACE = 0, 1
"""Numbers of the empty string and of a space."""


def new_strings() -> Strings:
    """A table in which these two have their numbers."""
    strings = Strings()
    strings.numbers(["", " "])
    return strings


def bounds_of(sizes: Sequence[int]) -> np.ndarray:
    """Where each of some runs starts, and the end; int64 [n + 1].

    >>> bounds_of([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))])


@dataclass(frozen=True, eq=False)
class Many:
    """Texts in tokens, one after another.

    Attributes:
        strings: all strings that the numbers stand for.
        tokens: numbers of strings, int32 [m]; not to be written to, like all arrays here.
        starts: where each text's tokens start, and the end, int64 [n + 1].
        free: which tokens may change, bool [m].
        gaps: the space before each token, int32 [m]; None where the tokens came as lists.
        ends: the space after each text's last token, int32 [n]; None with ``gaps``.

    Example:
        >>> strings = new_strings()
        >>> tokens = strings.numbers(["to", "be", "or", "not"])
        >>> many = Many(strings, tokens, np.array([0, 2, 4]), np.ones(4, dtype=bool))
        >>> many.kept(np.array([False, True, True, True])).lists()
        [['be'], ['or', 'not']]
        >>> many.with_inserted(np.array([0]), strings.numbers(["x"])).lists()
        [['to', 'x', 'be'], ['or', 'not']]
    """

    strings: Strings
    tokens: np.ndarray
    starts: np.ndarray
    free: np.ndarray
    gaps: np.ndarray | None = None
    ends: np.ndarray | None = None

    @property
    def sizes(self) -> np.ndarray:
        """How many tokens each text has, int64 [n]."""
        return np.diff(self.starts)

    def texts_of(self) -> np.ndarray:
        """The text of each token, int64 [m]."""
        return np.repeat(np.arange(len(self.starts) - 1), self.sizes)

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that may change, and where those of each text start among them, int64 [n + 1]."""
        return np.flatnonzero(self.free), self.before(self.free)

    def before(self, chosen: np.ndarray) -> np.ndarray:
        """How many of the chosen tokens (bool [m]) are in the texts before each text, and in all; int64 [n + 1]."""
        found: np.ndarray = np.concatenate([[0], np.cumsum(chosen)])[self.starts]
        return found

    def kept(self, chosen: np.ndarray) -> Many:
        """Only the chosen tokens, bool [m]; a text starts after the space that it started after."""
        gaps = self.gaps
        starts = self.before(chosen)
        if gaps is not None:
            first = self.starts[:-1][np.diff(starts) > 0]
            leading = gaps[first]
            gaps = gaps[chosen]
            gaps[starts[:-1][np.diff(starts) > 0]] = leading
        return replace(self, tokens=self.tokens[chosen], starts=starts, free=self.free[chosen], gaps=gaps)

    def with_tokens(self, where: np.ndarray, tokens: np.ndarray) -> Many:
        """Other tokens at some places."""
        changed = self.tokens.copy()
        changed[where] = tokens
        return replace(self, tokens=changed)

    def with_inserted(self, where: np.ndarray, tokens: np.ndarray) -> Many:
        """Tokens put in, each after the token at its place; places in increasing order. A space stands before each,
        except beside a script without spaces.
        """
        gaps = self.gaps
        if gaps is not None:
            closed = self.strings.ask(ends_spaceless, self.tokens[where])
            closed |= self.strings.ask(spaceless, tokens)
            gaps = np.insert(gaps, where + 1, np.where(closed, EMPTY, SPACE))
        shifts = np.searchsorted(where, self.starts, side="left")
        return replace(
            self,
            tokens=np.insert(self.tokens, where + 1, tokens),
            starts=self.starts + shifts,
            free=np.insert(self.free, where + 1, False),
            gaps=gaps,
        )

    def lists(self) -> list[list[str]]:
        """The tokens of each text."""
        flat, places = self.strings.of(self.tokens), self.starts.tolist()
        return [flat[start:end] for start, end in pairwise(places)]

    def texts(self) -> list[str]:
        """The texts, put together with the space that was there."""
        assert self.gaps is not None
        assert self.ends is not None
        m, n = len(self.tokens), len(self.ends)
        where = 2 * np.arange(m) + self.texts_of()
        parts = np.empty(2 * m + n, dtype=np.int32)
        parts[where] = self.gaps
        parts[where + 1] = self.tokens
        bounds = 2 * self.starts + np.arange(n + 1)
        parts[bounds[1:] - 1] = self.ends
        flat, places = self.strings.of(parts), bounds.tolist()
        return ["".join(flat[start:end]) for start, end in pairwise(places)]


class Numbers:
    """The random numbers of the tokens and texts of a :class:`Many`: those that
    :func:`dashpot.texts.rows.uniform_rows` gives one text after another.

    Args:
        keys: of the texts, uint64 [n].
        many: the texts.
    """

    def __init__(self, keys: np.ndarray, many: Many) -> None:
        self._keys, self._starts, self._sizes, self._texts = keys, many.starts, many.sizes, many.texts_of()

    def of_tokens(self, turn: int, where: np.ndarray | None = None) -> np.ndarray:
        """The first (``turn`` 0), second, ... number of each token, or of those at some places; float64 in [0, 1)."""
        where = np.arange(len(self._texts)) if where is None else where
        texts = self._texts[where]
        return self._at(texts, turn * self._sizes[texts] + where - self._starts[texts])

    def of_texts(self, turns: int) -> np.ndarray:
        """The number of each text that follows ``turns`` numbers of each of its tokens; float64 [n] in [0, 1)."""
        return self._at(np.arange(len(self._sizes)), turns * self._sizes)

    def _at(self, texts: np.ndarray, index: np.ndarray) -> np.ndarray:
        # Compared and multiplied as Python's floats are.
        return hashed_each(self._keys[texts], index).astype(np.float64)


def spared(chosen: np.ndarray, numbers: np.ndarray, many: Many) -> np.ndarray:
    """The chosen tokens, bool [m], without one of each text of which all that may change are chosen: the one with the
    greatest number.

    Args:
        chosen: some of the tokens that may change.
        numbers: of the tokens, [m].
    """
    where, starts = many.places()
    sizes = np.diff(starts)
    whole = np.flatnonzero((np.diff(many.before(chosen)) == sizes) & (sizes > 0))
    if not len(whole):
        return chosen
    found = chosen.copy()
    for text in whole.tolist():
        own = where[starts[text] : starts[text + 1]]
        found[own[np.argmax(numbers[own])]] = False
    return found


def replaced(many: Many, where: np.ndarray, change: Callable[..., str], *numbers: np.ndarray) -> Many:
    """The texts with what a function makes of some tokens: of each and its numbers."""
    words: Sequence[str] = many.strings.of(many.tokens[where])
    new = [change(*one) for one in zip(words, *(row.tolist() for row in numbers), strict=True)]
    return many.with_tokens(where, many.strings.numbers(new))


def ends_spaceless(string: str) -> bool:
    """Whether the last character of a string is of a script without spaces, or of its punctuation."""
    return spaceless(string[-1:])
