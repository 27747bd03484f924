"""What networks for texts share: rows of numbers (:mod:`dashpot.texts.lexicon`) taken apart into words and pieces."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dashpot.core.errors import DataError
from dashpot.texts.grams import SKIP, TRIPLE
from dashpot.texts.lexicon import NOTHING, SHAPES, Lexicon

UNTRACED = (
    "what it computes depends on how many words the texts have, which torch.export cannot follow. Most of its weights"
    " are vectors of words: train a smaller one by width (--net width=16)."
)


class Words(NamedTuple):
    """The words of a batch of texts, moved together.

    Attributes:
        entries: int64 [batch, words], 0 where a text has ended.
        shapes: int64 [batch, words].
        piece: entries of the pieces that stand behind unknown words, int64 [k]; ``at``: the word that each belongs to,
            as a place in the flattened ``entries``.
    """

    entries: Tensor
    shapes: Tensor
    piece: Tensor
    at: Tensor


class LexiconTables(nn.Module):
    """The tables of a lexicon as buffers of a network, so that they are saved and moved with it.

    Args:
        first_piece: entries of words and of what is no word.
        links: of words to pieces, all together.
        grams: pairs and triples of words.
        before: numbers in front of each row that are no words, such as those of an encoder.

    Attributes:
        vocabulary: the words of the lexicon that was read, by which techniques know what is protected; not saved.
    """

    links: Tensor
    starts: Tensor
    grams: Tensor

    def __init__(self, first_piece: int, links: int, grams: int, before: int = 0) -> None:
        super().__init__()
        self.first_piece, self.before = first_piece, before
        self.vocabulary: tuple[str, ...] = ()
        self.register_buffer("links", torch.zeros(links, dtype=torch.int64))
        self.register_buffer("starts", torch.zeros(first_piece + 1, dtype=torch.int64))
        self.register_buffer("grams", torch.zeros(grams, dtype=torch.int64))

    @torch.no_grad()
    def read(self, lexicon: Lexicon) -> None:
        """Take the tables of a lexicon.

        Raises:
            DataError: it has other sizes.
        """
        links, starts = map(torch.from_numpy, lexicon.table)
        grams = torch.tensor(lexicon.grams, dtype=torch.int64)
        for own, its in ((self.links, links), (self.starts, starts), (self.grams, grams)):
            if own.shape != its.shape:
                raise DataError(f"a lexicon must have the sizes of the network, got {len(its)} instead of {len(own)}.")
            own.copy_(its)
        self.vocabulary = lexicon.words

    def kinds(self, features: int) -> Tensor:
        """The first piece, pair, triple and pair with words between among so many features, int64 [4]: words, pieces
        and grams follow each other, and the numbers of grams are sorted by kind.
        """
        first = torch.tensor([0, TRIPLE, SKIP], device=self.grams.device)
        begin = torch.searchsorted(self.grams, first) + (features - len(self.grams))
        return torch.cat([begin.new_tensor([self.first_piece]), begin])

    def pieces_of(self, entries: Tensor) -> tuple[Tensor, Tensor]:
        """The pieces of each word in a table, int64 [k], and how many each has, as many as there are ``entries``."""
        first = self.starts[entries]
        count = self.starts[entries + 1] - first
        ends = count.cumsum(0)
        place = torch.arange(int(ends[-1]) if len(ends) else 0, device=entries.device)
        return self.links[place + torch.repeat_interleave(first - (ends - count), count)], count

    def rows(self, x: Tensor) -> Tensor:
        """Rows without what stands in front of them."""
        return x[:, self.before :] if self.before else x

    def words(self, x: Tensor) -> Words:
        """Rows [batch, length] as words."""
        return _words(x.long(), self.first_piece)


def _words(x: Tensor, first_piece: int) -> Words:
    number, shape = torch.div(x, SHAPES, rounding_mode="floor"), x % SHAPES
    word = (number != NOTHING) & (number < first_piece)
    place = word.cumsum(dim=1) - 1
    most = max(1, int(place[:, -1].amax()) + 1) if x.numel() else 1
    row = torch.arange(len(x), device=x.device)[:, None] * most
    flat = (row + place.clamp_min(0))[word]
    entries, shapes = x.new_zeros(len(x) * most), x.new_zeros(len(x) * most)
    entries[flat], shapes[flat] = number[word], shape[word]
    piece = number >= first_piece
    return Words(
        entries.view(len(x), most), shapes.view(len(x), most), number[piece], (row + place.clamp_min(0))[piece]
    )
