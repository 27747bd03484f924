"""Texts as tokens with the space between them, and back: what no technique changes comes back bit for bit."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dashpot.core.errors import DataError
from dashpot.texts.protecting import NAMED, NONE, protecting
from dashpot.texts.scripts import SPACELESS, SPACELESS_MARKS, SYMBOL, WORD, spaceless

Tokenizer = Callable[[str], Iterable[str]]
_WORDS = rf"{WORD}+(?:['’\-]{WORD}+)*|[{SPACELESS}][{SPACELESS_MARKS}]*|{SYMBOL}"
_CHARACTERS = rf"{WORD}[\u0300-\u036f]*|[{SPACELESS}][{SPACELESS_MARKS}]*|{SYMBOL}"
PATTERNS = {"words": _WORDS, "characters": _CHARACTERS}
_LETTERS = re.compile(r"\w")
_MOST_KNOWN, _LONGEST_KNOWN = 100_000, 40  # pieces of text that are remembered: some tens of megabytes


class Words:
    """A text in tokens.

    Attributes:
        tokens: words, marks of punctuation, and whole what is protected; or the ids of such.
        places: of the tokens that a technique may change: words that are not protected.
        gaps: the space before each token, and what follows the last; empty where the tokens came as a list or as ids.
    """

    __slots__ = ("gaps", "places", "tokens")

    def __init__(self, tokens: list[Any], places: Sequence[int], gaps: list[str]) -> None:
        self.tokens, self.places, self.gaps = tokens, places, gaps


class Splitter:
    """Texts and lists of tokens to :class:`Words`.

    Args:
        tokenizer: ``"words"`` (by space and punctuation; single characters in scripts without spaces),
            ``"characters"``, or a function of a text that gives its tokens.
        protect: see :func:`dashpot.texts.protecting.protecting`; what it matches is one token.

    Example:
        >>> words = Splitter("words", "numbers")("I paid 3.50, 很好!")
        >>> words.tokens, words.places
        (['I', 'paid', '3.50', ',', '很', '好', '!'], [0, 1, 4, 5])
        >>> joined(words.tokens, range(7), words.gaps)
        'I paid 3.50, 很好!'
    """

    def __init__(self, tokenizer: str | Tokenizer, protect: str) -> None:
        self._protected = protecting(protect)
        self._known: dict[str, bool] = {}
        self._chunks: dict[str, Words] = {}
        self._own = None if isinstance(tokenizer, str) else tokenizer
        self._pattern: re.Pattern[str] | None = None
        if isinstance(tokenizer, str):
            kept = "" if self._protected is None else f"{self._protected.pattern}|"
            self._pattern = re.compile(f"({kept}{PATTERNS[tokenizer]})", re.IGNORECASE)
        # Of the built-in patterns only tags and braces may lie across a space.
        self._splits_at_spaces = self._own is None and set(protect.split("|")) <= {*NAMED, NONE}

    def __call__(self, text: str) -> Words:
        return self._by_chunks(text) if self.at_spaces(text) else self.whole(text)

    def at_spaces(self, text: str) -> bool:
        """Whether the pieces between the spaces of a text may be split one by one."""
        return self._splits_at_spaces and "<" not in text and "{" not in text

    def whole(self, text: str) -> Words:
        """A text in tokens, or a piece of one."""
        if self._pattern is not None:
            parts = self._pattern.split(text)
            tokens, gaps = parts[1::2], parts[::2]
        else:
            tokens, gaps = self._by_function(text)
        return Words(tokens, self._places(tokens), gaps)

    def _by_chunks(self, text: str) -> Words:
        """:meth:`whole`, from pieces between spaces, of which most were seen before: several times as fast."""
        tokens: list[str] = []
        gaps: list[str] = []
        places: list[int] = []
        known, gap = self._chunks, ""
        for chunk in text.split(" "):
            words = known.get(chunk) or self._chunk(chunk)
            if words.tokens:
                start = len(tokens)
                gaps.append(gap + words.gaps[0])
                gaps += words.gaps[1:-1]
                tokens += words.tokens
                places += [start + i for i in words.places] if start else words.places
                gap = words.gaps[-1] + " "
            else:
                gap += words.gaps[0] + " "
        return Words(tokens, places, [*gaps, gap[:-1]])

    def _chunk(self, chunk: str) -> Words:
        words = self.whole(chunk)
        if len(chunk) <= _LONGEST_KNOWN:
            if len(self._chunks) > _MOST_KNOWN:
                self._chunks.clear()
            self._chunks[chunk] = words
        return words

    def listed(self, tokens: Sequence[str]) -> Words:
        """Tokens that somebody else has made."""
        return Words(list(tokens), self._places(tokens), [])

    def _places(self, tokens: Sequence[str]) -> list[int]:
        known = self._known
        try:
            return [i for i, token in enumerate(tokens) if known[token]]
        except KeyError:
            if len(known) > _MOST_KNOWN:
                known.clear()
            for token in tokens:
                known[token] = self.may_change(token)
            return [i for i, token in enumerate(tokens) if known[token]]

    def may_change(self, token: str) -> bool:
        """Whether a token is a word that is not protected."""
        protected = self._protected is not None and self._protected.search(token) is not None
        return not protected and _LETTERS.search(token) is not None

    def _by_function(self, text: str) -> tuple[list[str], list[str]]:
        """The tokens of the user's function, joined where something protected lies across them."""
        spans = _placed(text, self._own(text)) if self._own is not None and text.strip() else []
        if self._protected is not None:
            spans += [match.span() for match in self._protected.finditer(text)]
        merged: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        ends = [0, *(end for _, end in merged)]
        gaps = [text[end:start] for end, start in zip(ends, [*(start for start, _ in merged), len(text)], strict=True)]
        return [text[start:end] for start, end in merged], gaps


def _placed(text: str, tokens: Iterable[Any]) -> list[tuple[int, int]]:
    """Where the tokens stand in the text.

    Raises:
        DataError: one is no text, or no piece of what is left of this one.
    """
    spans, place = [], 0
    for token in tokens:
        if not isinstance(token, str):
            raise DataError(f"tokenizer must give texts, got {token!r} for {_short(text)}.")
        if not (bare := token.strip()):
            continue
        found = text.find(bare, place)
        if found < 0:
            raise DataError(
                f"tokenizer must give pieces of the text in their order, but {token!r} is not in what is left of"
                f" {_short(text)}. Use one that neither changes nor adds characters."
            )
        place = found + len(bare)
        spans.append((found, place))
    return spans


@functools.lru_cache(maxsize=64)
def splitter(tokenizer: str | Tokenizer, protect: str) -> Splitter:
    """The same splitter for the same arguments, since it remembers tokens."""
    return Splitter(tokenizer, protect)


def joined(tokens: Sequence[str], origins: Sequence[int], gaps: Sequence[str]) -> str:
    """The text of tokens, with the space that was there.

    Args:
        tokens: of the new text.
        origins: for each the place in the old text whose space it takes, or -1 for one that was put in: it stands
            after a space, except beside a script without them.
        gaps: of the old text, one more than it had tokens.

    Example:
        >>> joined(["b", "new", "c"], [1, -1, 2], ["", " ", " ", "\\n"])
        'b new c\\n'
    """
    if not tokens:
        return "".join(gaps)
    parts = [gaps[0], tokens[0]]
    for i in range(1, len(tokens)):
        token, origin = tokens[i], origins[i]
        if origin >= 0:
            parts += gaps[origin], token
        elif spaceless(token) or spaceless(tokens[i - 1][-1:]):
            parts.append(token)
        else:
            parts += " ", token
    parts.append(gaps[-1])
    return "".join(parts)


def _short(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")
