"""Vectors of an encoder in front of the rows of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.tables.columnar import is_missing
from dashpot.data.texts.fields import Fields
from dashpot.texts.encoder import Encoder
from dashpot.texts.spelling import FIELD


@dataclass(frozen=True)
class Encoded:
    """What an encoder says of each text, as whole numbers in front of a row: the bits of its vector, float32, less the
    mean and divided by the deviation over the training rows.

    Attributes:
        encoder: with the digest of its folder.
        mean, std: of each number of a vector, over the training rows; 1 where it does not vary.
    """

    encoder: Encoder
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def fit(encoder: Encoder, texts: Sequence[str]) -> Encoded:
        """Learn from the texts of the training rows."""
        found = encoder.features(texts).astype(np.float64)
        std = found.std(axis=0)
        return Encoded(encoder, tuple(found.mean(axis=0).tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist()))

    @property
    def width(self) -> int:
        """Numbers in front of a row."""
        return len(self.mean)

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """Int32 [texts, width]."""
        found = (self.encoder.features(texts) - np.array(self.mean)) / np.array(self.std)
        return np.ascontiguousarray(found, dtype=np.float32).view(np.int32)

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        numbers = np.array([self.mean, self.std])
        if numbers.shape != (2, self.encoder.width) or not np.isfinite(numbers).all() or (numbers[1] <= 0).any():
            raise ValueError("an encoder must have a finite mean and a deviation above 0 of each number of its vectors")

    def at(self, given: Any) -> Encoded:
        """With the encoder of a saved run at the place where it is now; see :meth:`Encoder.at`."""
        return replace(self, encoder=self.encoder.at(given))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"encoder": self.encoder.to_dict(), "mean": list(self.mean), "std": list(self.std)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Encoded:
        """The inverse of :meth:`to_dict`; nothing is read."""
        return Encoded(Encoder.from_dict(data["encoder"]), tuple(data["mean"]), tuple(data["std"]))


def whole_texts(texts: np.ndarray, columns: Sequence[str], fields: Fields) -> list[str]:
    """One text for each row of ``texts`` [n, columns]: its columns on a line each, with their names where they hold
    names or numbers; what is missing is left out.

    Raises:
        DataError: a value that is neither a text nor missing, in a column of texts.

    >>> rows = np.array([["a good film", "by me"], [None, "ok"]], dtype=object)
    >>> whole_texts(rows, ("text", "note"), Fields())
    ['a good film\\nby me', 'ok']
    >>> whole_texts(np.array([["a film", "red"]], dtype=object), ("text", "colour"), Fields(("colour",)))
    ['a film\\ncolour: red']
    """
    found = []
    for place, row in enumerate(texts):
        parts = []
        for name, value in zip(columns, row, strict=True):
            if is_missing(value):
                continue
            if name in fields:
                parts.append(f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {value}")
            elif isinstance(value, str):
                parts.append(value.replace(FIELD, " "))
            else:
                raise DataError(f"row {place} must hold a text, got {value!r}. Name a column of texts.")
        found.append("\n".join(parts))
    return found
