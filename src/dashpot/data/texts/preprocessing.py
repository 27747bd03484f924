"""Texts as a kind of data: rows of words and pieces for a network (:mod:`dashpot.texts.lexicon`)."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dashpot.core.errors import ConfigError, DataError
from dashpot.data.tables.columnar import DataWarning
from dashpot.data.tables.formats import Format
from dashpot.data.texts.encoded import Encoded, whole_texts
from dashpot.data.texts.fields import Fields
from dashpot.data.texts.tokenized import Tokenized
from dashpot.data.texts.tokens import BETWEEN, Tokens, learned, tokens_of
from dashpot.texts.cutting import again, tokenizer_dict, tokenizer_from, tokenizer_of
from dashpot.texts.encoder import encoder_of
from dashpot.texts.lexicon import BLOCK, MOST_TOKENS, Lexicon
from dashpot.texts.neighbours import Neighbours
from dashpot.texts.tokens import PATTERNS
from dashpot.texts.vectors import WordVectors, vectors_of

RANDOM = "random"
"""In place of vectors: networks start with random ones."""


@dataclass(frozen=True)
class TextPreprocessing:
    """Texts cut into tokens, and the lexicon of the training rows.

    A row begins with the words for columns of names and of numbers (:class:`~dashpot.data.texts.fields.Fields`); the
    texts follow, with a token between them. Where a row has more tokens than the network takes, long texts are cut, all
    to the same length. A text that is empty or missing has no tokens, and a row of such texts is a row all the same.
    Nothing is taken out of a text: marks of HTML, emoji and marks of direction are tokens as others are.

    Attributes:
        columns: their names, in the order of the inputs.
        lexicon: words, pieces and grams.
        tokenizer: ``"words"``, ``"characters"``, a function or a file (:func:`dashpot.texts.cutting.tokenizer_of`); of
            a saved run the name of a function, until the user has named it again.
        fields: columns that hold no texts.
        vectors: of words of the lexicon, from a file, from which networks start; not saved, as networks are saved with
            theirs.
        own_vectors: those that are learned from the training rows in their place; None: they were not wanted.
        encoded: what an encoder says of each text, in front of its row, or its tokens where it is trained further.
    """

    columns: tuple[str, ...]
    lexicon: Lexicon
    tokenizer: Any = "words"
    kind: str = "text"
    fields: Fields = field(default_factory=Fields)
    vectors: WordVectors | None = field(default=None, repr=False, compare=False)
    own_vectors: WordVectors | None = field(default=None, repr=False, compare=False)
    encoded: Encoded | Tokenized | None = field(default=None, repr=False)

    @staticmethod
    def fit(
        texts: np.ndarray,
        train: np.ndarray,
        *,
        scaling: str = "standard",
        weight: np.ndarray | None = None,
        columns: Sequence[str] = (),
        tokenizer: Any = "words",
        length: int = MOST_TOKENS,
        names: Collection[str] = (),
        formats: Mapping[str, Format] | None = None,
        vectors: str | Path | None = None,
        encoder: Any = None,
    ) -> TextPreprocessing:
        """Learn from the rows ``train`` of ``texts``, objects [n, columns]; their targets take no part. ``scaling`` is
        for tables, and a text counts once, whatever its ``weight``.

        Args:
            columns: their names.
            tokenizer: see :func:`dashpot.texts.cutting.tokenizer_of`.
            length: of a row, at most.
            names, formats: see :meth:`dashpot.data.texts.fields.Fields.fit`.
            vectors: a file of vectors of words; see :func:`dashpot.texts.vectors.vectors_of`. None: they are learned
                from the training texts (:class:`dashpot.texts.neighbours.Neighbours`); ``"random"``: networks start
                without.
            encoder: a folder of a model; see :func:`dashpot.texts.encoder.encoder_of`.

        Raises:
            DataError: no training row has a token, or vectors that are of none of the words.
            ConfigError: an unknown tokenizer, or an encoder that is none.

        Warns:
            DataWarning: no two rows share a word, or one text in a hundred, or more, is cut.
        """
        known = tuple(columns) or tuple(f"text {i}" for i in range(texts.shape[1]))
        how, fields = tokenizer_of(tokenizer), Fields.fit(texts, train, known, names, formats)
        near = Neighbours(-(-len(train) // BLOCK)) if vectors is None else None
        lexicon = learned(Tokens(texts, train, how, known, fields, length - 2), length, near)
        if not set(lexicon.words) - {BETWEEN}:
            warnings.warn(
                f"no word is in two training rows of {', '.join(known[:8])}: they hold ids, or too few texts to learn"
                " from.",
                DataWarning,
                stacklevel=3,
            )
        found = None if vectors is None or vectors == RANDOM else vectors_of(vectors, lexicon.words)
        if found is not None and not found.words:
            raise DataError(
                f"vectors must be of words that the texts have, got none of {len(lexicon.words)} words in {vectors}."
                " Choose a file of the same language."
            )
        own = None if near is None else near.vectors(lexicon)
        made = TextPreprocessing(known, lexicon, how, fields=fields, vectors=found, own_vectors=own)
        if encoder is None:
            return made
        reader, whole = encoder_of(encoder), whole_texts(texts[train], known, fields)
        return replace(made, encoded=(Encoded if reader.frozen else Tokenized).fit(reader, whole))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return (self.before + self.lexicon.length,)

    @property
    def before(self) -> int:
        """Numbers of an encoder in front of a row."""
        return 0 if self.encoded is None else self.encoded.width

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
        """Of the lexicon, for a network's tables, ``before``, and the encoder that is trained further."""
        own = {} if self.encoded is None else {"before": self.before}
        return {**self.lexicon.sizes, **own, **(self.encoded.sizes if isinstance(self.encoded, Tokenized) else {})}

    def ready(self, network: nn.Module) -> None:
        """Give the tables of the lexicon, or an encoder's weights, to a network for texts."""
        read = getattr(network, "read", None)
        if callable(read):
            read(self.lexicon)
        if isinstance(self.encoded, Tokenized):
            self.encoded.ready(network)

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        known = not isinstance(self.tokenizer, str) or self.tokenizer in PATTERNS or ":" in self.tokenizer
        others = {*self.fields.names, *self.fields.limits} - set(self.columns)
        if not self.columns or not known or others:
            raise ValueError("texts must have columns and a tokenizer that is known")
        self.fields.check()
        self.lexicon.check()
        if self.encoded is not None:
            self.encoded.check()

    def transform(self, texts: np.ndarray) -> np.ndarray:
        """Texts [n, columns] as rows, int32 [n, before + length].

        Raises:
            DataError: other columns, or a value that is no text.
        """
        if texts.ndim != 2 or texts.shape[1] != len(self.columns):
            raise DataError(
                f"texts must have {len(self.columns)} columns ({', '.join(self.columns)}), as in training, got shape"
                f" {list(texts.shape)}."
            )
        room, rows = self.lexicon.length - 2, np.zeros((len(texts), self.lexicon.length), dtype=np.int32)
        for start in range(0, len(texts), BLOCK):
            some = texts[start : start + BLOCK]
            tokens = tokens_of(some, self.tokenizer, self.columns, self.fields, room, start)
            rows[start : start + len(some)] = self.lexicon.transform(tokens)
        if self.encoded is None:
            return rows
        return np.hstack([self.encoded.rows(whole_texts(texts, self.columns, self.fields)), rows])

    def named_again(self, tokenizer: Any, encoder: Any = None) -> TextPreprocessing:
        """What was saved, with the function that the user has named again; None where none is needed.

        Args:
            encoder: the folder of the run's encoder; None: where it was in training.

        Raises:
            ConfigError: one is needed, or is another one than that of the run.
            StorageError: the folder cannot be read.
        """
        if self.encoded is None and encoder is not None:
            raise ConfigError("encoder", "None for a run without one", str(encoder), "Leave it out.")
        encoded = None if self.encoded is None else self.encoded.at(encoder)
        return replace(self, tokenizer=again(self.tokenizer, tokenizer), encoded=encoded)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "columns": list(self.columns),
            "lexicon": self.lexicon.to_dict(),
            "tokenizer": tokenizer_dict(self.tokenizer),
            "kind": self.kind,
            "fields": self.fields.to_dict(),
            **({} if self.encoded is None else {_key(self.encoded): self.encoded.to_dict()}),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TextPreprocessing:
        """The inverse of :meth:`to_dict`."""
        return TextPreprocessing(
            tuple(data["columns"]),
            Lexicon.from_dict(data["lexicon"]),
            tokenizer_from(data["tokenizer"]),
            str(data["kind"]),
            Fields.from_dict(data.get("fields", {})),
            encoded=next((kind.from_dict(data[key]) for key, kind in ENCODED.items() if key in data), None),
        )


ENCODED: Mapping[str, type[Encoded] | type[Tokenized]] = {"encoded": Encoded, "tokenized": Tokenized}
"""What an encoder gives for a text, by its name in a file."""


def _key(encoded: Encoded | Tokenized) -> str:
    return next(key for key, kind in ENCODED.items() if isinstance(encoded, kind))
