"""A network for texts that starts from vectors of words: from a file, or learned from the training texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dashpot.core.errors import ConfigError, DataError
from dashpot.nets.text_conv import START, TextConv
from dashpot.texts.lexicon import SPECIAL, Lexicon
from dashpot.texts.vectors import WordVectors

RANDOM = 0.5
"""The share of the length of learned vectors that is random."""


@torch.no_grad()
def start_from(net: TextConv, lexicon: Lexicon, vectors: WordVectors, *, frozen: bool = False) -> float:
    """Give the words of a lexicon that are known the vectors from a file, or those that were learned from the texts.

    All vectors are multiplied by one number, so that theirs have the root mean square of those that the network starts
    with, and its learning rate suits them.

    Args:
        net: whose width is that of the vectors; of learned ones a narrower network takes the first numbers, and a wider
            one keeps random ones beside them. A part of learned ones is random, too: words that the texts use alike
            would start as one.
        lexicon: the network's.
        vectors: of :func:`dashpot.texts.vectors.read_vectors`.
        frozen: the vectors of words stay as they are; words that the file does not know start at 0 and are told by
            their pieces, which are trained. Otherwise all are trained, from where they start.

    Returns:
        The share of the lexicon's words that the file knows.

    Raises:
        ConfigError: the network is of another width.
        DataError: the lexicon is of other sizes than the network, or the file knows none of its words.

    Example:
        >>> lexicon = Lexicon.fit([["a", "red", "car"], ["a", "red", "house"], ["the", "car"]])
        >>> vectors = WordVectors(("red", "car"), np.eye(2, 4, dtype=np.float32), 4)
        >>> net = TextConv.of(lexicon, outputs=2, width=4)
        >>> round(start_from(net, lexicon, vectors), 3)
        0.667

    Paper: Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014 ("static" and "non-static").
    """
    weight = net.word.weight
    if weight.shape[1] != vectors.width and not vectors.learned:
        raise ConfigError(
            "width", f"{vectors.width}, as the vectors of words are wide", weight.shape[1], "Set width to that number."
        )
    if len(weight) != lexicon.first_piece:
        raise DataError(f"a lexicon must have the {len(weight)} entries of the network, got {lexicon.first_piece}.")
    known, found = _learned(vectors, weight.shape[1]) if vectors.learned else vectors.of(lexicon.words)
    if not known.any() and not vectors.learned:
        raise DataError(
            f"vectors must be of words that the texts have, got none of {len(known)} words. Choose a file of the same"
            " language."
        )
    size = float(np.sqrt(np.square(found, dtype=np.float64).mean())) if len(found) else 0.0
    if frozen:
        weight[SPECIAL:] = 0
    place = SPECIAL + torch.from_numpy(np.flatnonzero(known))
    given = torch.from_numpy(found * (START / size if size else 1.0)).to(weight)
    own = weight[place, : found.shape[1]]
    weight[place, : found.shape[1]] = RANDOM * own + (1 - RANDOM**2) ** 0.5 * given if vectors.learned else given
    weight.requires_grad_(not frozen)
    return float(known.mean())


def _learned(vectors: WordVectors, width: int) -> tuple[np.ndarray, np.ndarray]:
    """As :meth:`WordVectors.of`, of words in the order of the lexicon: known is what has neighbours."""
    known: np.ndarray = np.abs(vectors.table).sum(axis=1) > 0
    return known, vectors.table[known, :width]


def with_vectors(
    lexicon: Lexicon, outputs: int, vectors: WordVectors, *, frozen: bool = False, **options: Any
) -> TextConv:
    """A network of the width of the vectors, with the tables of a lexicon; see :func:`start_from`."""
    net = TextConv.of(lexicon, outputs, **{"width": vectors.width, **options})
    start_from(net, lexicon, vectors, frozen=frozen)
    return net
