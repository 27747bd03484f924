"""The tokens of rows of texts, and the lexicon that they make."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.tables.columnar import DataWarning, is_missing
from dashpot.data.texts.fields import Fields
from dashpot.texts.cutting import cutter
from dashpot.texts.lexicon import Lexicon, learn
from dashpot.texts.neighbours import Neighbours
from dashpot.texts.spelling import FIELD

CELLS, LEAST_LENGTH = 1 << 28, 64
"""Rows are int32 and as wide as the longest text: so many numbers are 1 GiB, and no fewer than 64 are of a row."""
CUT_SHARE = 0.01
"""So many of the texts may be cut without a word."""
BETWEEN = FIELD
"""A token between the texts of two columns."""


class Tokens(Sequence[list[str]]):
    """The tokens of some rows, made anew whenever a slice of them is asked for: those of all rows would take many times
    the memory of the texts.
    """

    def __init__(
        self, texts: np.ndarray, rows: np.ndarray, tokenizer: Any, columns: Sequence[str], fields: Fields, room: int
    ) -> None:
        self.texts, self.rows, self.how = texts, rows, (tokenizer, columns, fields, room)
        self.some = False
        """Whether any has been seen that is more than what stands between texts."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> Any:
        found = tokens_of(self.texts[self.rows[which]], *self.how)
        self.some = self.some or any(set(row) - {BETWEEN} for row in found)
        return found


def tokens_of(
    texts: np.ndarray,
    tokenizer: Any,
    columns: Sequence[str] = (),
    fields: Fields | None = None,
    room: int | None = None,
    first_row: int = 0,
) -> list[list[str]]:
    """The tokens of each row of ``texts`` [n, columns]; missing texts have none.

    Args:
        tokenizer: as :func:`dashpot.texts.cutting.tokenizer_of` gives it.
        columns, fields: the names of the columns, and which of them hold no texts.
        room: tokens of a row at most.
        first_row: the number of the first one, for errors.

    Raises:
        DataError: a value that is neither a text nor missing.

    >>> tokens_of(np.array([["How are you?", None], ["我很好", "ok"]], dtype=object), "words")
    [['How', 'are', 'you', '?', '\\x1f'], ['我', '很', '好', '\\x1f', 'ok']]
    """
    cut, fields = cutter(tokenizer), fields or Fields()
    first: list[list[str]] = [[] for _ in texts]
    parts: list[list[list[str]]] = [[] for _ in texts]
    for i in range(texts.shape[1]):
        name = columns[i] if columns else ""
        if name in fields:
            for row, words in zip(first, fields.words(name, texts[:, i]), strict=True):
                row += words
            continue
        for place, text in enumerate(texts[:, i]):
            if not isinstance(text, str) and not is_missing(text):
                raise DataError(f"row {first_row + place} must hold a text, got {text!r}. Name a column of texts.")
            parts[place].append(cut(text.replace(FIELD, " ")) if isinstance(text, str) else [])
    return [_joined(words, own, room) for words, own in zip(first, parts, strict=True)]


def _joined(words: list[str], parts: list[list[str]], room: int | None) -> list[str]:
    """Words for columns, then texts; of long ones as many tokens as there is room for."""
    between = len(parts) - 1 + bool(words and parts)
    if room is not None and len(words) + between + sum(map(len, parts)) > room:
        left, order = max(room - len(words) - between, 0), sorted(range(len(parts)), key=lambda i: len(parts[i]))
        for done, i in enumerate(order):
            parts[i] = parts[i][: left // (len(parts) - done)]
            left -= len(parts[i])
    out = list(words)
    for i, tokens in enumerate(parts):
        out += [BETWEEN, *tokens] if i or words else tokens
    return out


def learned(tokens: Tokens, length: int, near: Neighbours | None = None) -> Lexicon:
    """The lexicon, with rows as long as memory allows.

    Args:
        near: counts which words stand beside which.

    Raises:
        DataError: no row has a token.

    Warns:
        DataWarning: one text in a hundred, or more, is cut.
    """
    lexicon, lengths = learn(tokens, length=length) if near is None else learn(tokens, length=length, also=near.add)
    if not tokens.some:
        raise DataError(
            "texts must have a token in some training row, got none. Choose another column, or another tokenizer."
        )
    room = max(LEAST_LENGTH, CELLS // max(len(tokens), 1))
    if lexicon.length > room:
        lexicon = replace(lexicon, length=room)
    cut = int(lengths[lexicon.length if lexicon.length == length else lexicon.length + 1 :].sum())
    if cut >= CUT_SHARE * len(tokens):
        why = "so that rows stay within 1 GiB" if lexicon.length == room else "which is as far as texts are read"
        warnings.warn(
            f"of {cut:,} of {len(tokens):,} training texts only the first {lexicon.length - 2} words and marks are"
            f" read, {why}. Split longer texts into rows, or put what tells most first.",
            DataWarning,
            stacklevel=4,
        )
    return lexicon
