"""The tokens of an encoder's tokenizer, as techniques that act on rows of their numbers need to know them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

INSIDE = "##"
"""In front of a piece that goes on with a word, in vocabularies of WordPiece."""
SPACES = ("\u0120", "\u2581")
"""In front of a piece that begins a word, in vocabularies of bytes and of SentencePiece."""


@dataclass(frozen=True)
class TokenTable:
    """What the tokens of a vocabulary are, by their numbers.

    Attributes:
        words: each token without the marks of where it stands.
        begins: bool [tokens], a word, or what is none, begins with it.
        special: bool [tokens], marks of begin and end, padding, mask and unknown word.
        mask: the number of the token that stands for a word that is hidden.
    """

    words: tuple[str, ...]
    begins: Tensor = field(repr=False)
    special: Tensor = field(repr=False)
    mask: int


def token_table(tokenizer: Any) -> TokenTable:
    """Of a tokenizer of ``transformers``."""
    names: list[str] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    spaced = any(name.startswith(SPACES) for name in names)
    special = np.isin(np.arange(len(names)), list(tokenizer.all_special_ids))
    begins = [name.startswith(SPACES) if spaced else not name.startswith(INSIDE) for name in names]
    words = tuple(name.removeprefix(INSIDE).lstrip("".join(SPACES)) for name in names)
    first = [tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id, 0]
    mask = next(number for number in first if number is not None)
    return TokenTable(words, torch.tensor(np.array(begins) | special), torch.tensor(special), int(mask))
