"""Texts as a kind of data: rows of words and pieces for a network (:mod:`dashpot.texts.lexicon`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from dashpot.core.errors import DataError
from dashpot.texts.lexicon import MOST_TOKENS, Lexicon
from dashpot.texts.protecting import NONE
from dashpot.texts.tokens import PATTERNS, Tokenizer, splitter


@dataclass(frozen=True)
class TextPreprocessing:
    """Texts cut into tokens, and the lexicon of the training rows.

    Attributes:
        columns: their names; the tokens of a further column follow behind an edge.
        lexicon: words, pieces and grams.
        tokenizer: ``"words"``, ``"characters"``, or a function of a text that gives its tokens, or its name.
    """

    columns: tuple[str, ...]
    lexicon: Lexicon
    tokenizer: Any = "words"
    kind: str = "text"

    @staticmethod
    def fit(
        texts: np.ndarray,
        train: np.ndarray,
        *,
        scaling: str = "standard",
        weight: np.ndarray | None = None,
        columns: Sequence[str] = (),
        tokenizer: str | Tokenizer = "words",
        length: int = MOST_TOKENS,
    ) -> TextPreprocessing:
        """Learn from the rows ``train`` of ``texts``, objects [n, columns]; their targets take no part. ``scaling`` is
        for tables, and a text counts once, whatever its ``weight``.

        Raises:
            DataError: no training row has a token.
        """
        names = tuple(columns) or tuple(f"text {i}" for i in range(texts.shape[1]))
        tokens = tokens_of(texts[train], tokenizer)
        if not any(tokens):
            raise DataError(
                "texts must have a token in some training row, got none. Choose another column, or another tokenizer."
            )
        return TextPreprocessing(names, Lexicon.fit(tokens, length=length), tokenizer)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return (self.lexicon.length,)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """None: places of a row have no names."""
        return ()

    @property
    def stage(self) -> dict[str, list[float]]:
        """Empty: nothing is standardized."""
        return {}

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Of the lexicon, for a network's tables."""
        return self.lexicon.sizes

    def ready(self, network: nn.Module) -> None:
        """Give the tables of the lexicon to a network for texts."""
        read = getattr(network, "read", None)
        if callable(read):
            read(self.lexicon)

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        if not self.columns or (isinstance(self.tokenizer, str) and self.tokenizer not in PATTERNS):
            raise ValueError("texts must have columns and a tokenizer that is known")
        self.lexicon.check()

    def transform(self, texts: np.ndarray) -> np.ndarray:
        """Texts [n, columns] as rows, int32 [n, length].

        Raises:
            DataError: other columns, or a value that is no text.
        """
        if texts.ndim != 2 or texts.shape[1] != len(self.columns):
            raise DataError(
                f"texts must have {len(self.columns)} columns ({', '.join(self.columns)}), as in training, got shape"
                f" {list(texts.shape)}."
            )
        return self.lexicon.transform(tokens_of(texts, self.tokenizer))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "columns": list(self.columns),
            "lexicon": self.lexicon.to_dict(),
            "tokenizer": str(self.tokenizer),
            "kind": self.kind,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TextPreprocessing:
        """The inverse of :meth:`to_dict`."""
        return TextPreprocessing(
            tuple(data["columns"]), Lexicon.from_dict(data["lexicon"]), str(data["tokenizer"]), str(data["kind"])
        )


BETWEEN = "\x1f"
"""A token between the texts of two columns; a control character, which no tokenizer of ours leaves in a text."""


def tokens_of(texts: np.ndarray, tokenizer: str | Tokenizer) -> list[list[str]]:
    """The tokens of each row of ``texts`` [n, columns]; missing texts have none.

    Raises:
        DataError: a value that is neither a text nor missing.

    >>> tokens_of(np.array([["How are you?", None], ["我很好", "ok"]], dtype=object), "words")
    [['How', 'are', 'you', '?', '\\x1f'], ['我', '很', '好', '\\x1f', 'ok']]
    """
    split = splitter(tokenizer, NONE)
    found = []
    for place, row in enumerate(texts):
        tokens: list[str] = []
        for i, text in enumerate(row):
            if i:
                tokens.append(BETWEEN)
            if text is None or (isinstance(text, float) and np.isnan(text)):
                continue
            if not isinstance(text, str):
                raise DataError(f"row {place} must hold a text, got {text!r}. Name a column of texts.")
            tokens += split(text).tokens
        found.append(tokens)
    return found
