"""Numbers of an encoder's tokens in front of the rows of texts, for an encoder that is trained further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from dashpot.texts import transformer
from dashpot.texts.encoder import Encoder

SAMPLED = 1024
"""Texts by which the mean and the deviation of the vectors are known."""


@dataclass(frozen=True)
class Tokenized:
    """The tokens of each text in front of a row: the number of a token and 1, and 0 behind a text.

    Attributes:
        encoder: with the digest of its folder; texts are cut to the longest of the training rows.
        mean, std: of each number of the vectors that the encoder had of training rows before it was trained further;
            a network starts from these.
    """

    encoder: Encoder
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def fit(encoder: Encoder, texts: Sequence[str]) -> Tokenized:
        """Learn from the texts of the training rows."""
        longest = max(map(len, encoder.tokens(texts)), default=2)
        drawn = np.sort(np.random.default_rng(0).permutation(len(texts))[:SAMPLED])
        found = encoder.features([texts[i] for i in drawn]).astype(np.float64)
        std = found.std(axis=0)
        mean, std = found.mean(axis=0), np.where(std > 1e-6, std, 1.0)
        return Tokenized(replace(encoder, length=max(longest, 2)), tuple(mean.tolist()), tuple(std.tolist()))

    @property
    def width(self) -> int:
        """Numbers in front of a row."""
        return self.encoder.most

    @property
    def sizes(self) -> dict[str, Any]:
        """What a network is built with beside its own options."""
        config = transformer.plain_config(transformer.config_at(self.encoder.path, self.encoder.digest))
        return {"encoder": {"config": config, "pool": self.encoder.pool}}

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """Int32 [texts, width]."""
        found = np.zeros((len(texts), self.width), dtype=np.int32)
        for row, tokens in zip(found, self.encoder.tokens(texts), strict=True):
            row[: len(tokens)] = tokens + 1
        return found

    def ready(self, network: nn.Module) -> None:
        """Give the encoder's weights and tokens to a network that trains it further."""
        read = getattr(network, "read_encoder", None)
        if callable(read):
            self.encoder.demand_same()
            read(transformer.parts_at(self.encoder.path, self.encoder.digest), self.mean, self.std)

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        numbers = np.array([self.mean, self.std])
        if numbers.shape != (2, self.encoder.width) or not np.isfinite(numbers).all() or (numbers[1] <= 0).any():
            raise ValueError("an encoder must have a finite mean and a deviation above 0 of each number of its vectors")

    def at(self, given: Any) -> Tokenized:
        """With the encoder of a saved run at the place where it is now; see :meth:`Encoder.at`."""
        return replace(self, encoder=self.encoder.at(given))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"encoder": self.encoder.to_dict(), "mean": list(self.mean), "std": list(self.std)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Tokenized:
        """The inverse of :meth:`to_dict`; nothing is read."""
        return Tokenized(Encoder.from_dict(data["encoder"]), tuple(data["mean"]), tuple(data["std"]))
