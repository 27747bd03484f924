"""Convolutions over words and their pieces, pooled by the strongest or by attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import check_whole
from dashpot.nets.text_rows import UNTRACED, LexiconTables, Words
from dashpot.nets.text_sums import WeightedSums
from dashpot.texts.lexicon import SHAPES, Lexicon

POOLS = ("max", "attention")
SHAPE_WIDTH = 8
STEP, SHARE = 128, 5
"""A row of many texts is as long as a multiple of 128, or of a 16th to a 32nd of its length where that is more: for
each new length the convolutions are compiled, which takes time and memory.
"""
START = 0.1
"""The standard deviation of vectors before training."""


class TextConv(nn.Module):
    r"""A convolutional network for texts.

    A word is the sum of its own vector and of its pieces' vectors over the square root of their number, beside a short
    vector for how it is written. Convolutions of several widths, a ReLU, pooling over the text, Dropout and a linear
    head follow. Dropout before the head is at rate 0 until a recipe sets it; for vectors of words there are
    ``Dropout(on="vectors_of_words")``, ``EmbeddingDropout`` and ``AdversarialEmbeddings``. With ``pool="attention"``
    each of ``heads`` heads weighs the places of a text by a softmax of a linear score.

    Args:
        words: entries of a lexicon below its pieces.
        outputs: logits.
        pieces, grams, links: how many the lexicon has of each; grams are not used.
        width: of the vectors.
        filters: of each convolution.
        kernels: words that a convolution sees, one number for each.
        pool: max or attention.
        heads: of the attention.
        before: numbers in front of a row that are not looked at.

    Example:
        >>> import torch
        >>> lexicon = Lexicon.fit([["a", "red", "car"], ["a", "red", "house"], ["the", "car"]])
        >>> net = TextConv.of(lexicon, outputs=2, width=8, filters=4)
        >>> net(torch.from_numpy(lexicon.transform([["red", "cars"], []]))).shape
        torch.Size([2, 2])

    Paper: Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014.
    """

    mixes_at = (("dropout",),)
    embeds_at = ("vectors_of_words",)

    untraced = UNTRACED

    def __init__(
        self,
        words: int,
        outputs: int,
        *,
        pieces: int,
        grams: int,
        links: int,
        width: int = 64,
        filters: int = 48,
        kernels: Sequence[int] = (1, 2, 3, 4),
        pool: str = "max",
        heads: int = 4,
        before: int = 0,
    ) -> None:
        super().__init__()
        words, outputs, pieces, grams, links, width, filters, heads, before = (
            check_whole(name, value, low=low)
            for name, value, low in (
                ("words", words, 3),
                ("outputs", outputs, 1),
                ("pieces", pieces, 0),
                ("grams", grams, 0),
                ("links", links, 0),
                ("width", width, 1),
                ("filters", filters, 1),
                ("heads", heads, 1),
                ("before", before, 0),
            )
        )
        kernels = [check_whole("kernels", kernel) for kernel in kernels]
        if not kernels:
            raise ConfigError("kernels", "one number or more", kernels)
        if pool not in POOLS:
            raise UnknownNameError("pool", str(pool), POOLS)
        self.options: dict[str, Any] = {
            "words": words,
            "outputs": outputs,
            "pieces": pieces,
            "grams": grams,
            "links": links,
            "width": width,
            "filters": filters,
            "kernels": kernels,
            "pool": pool,
            "heads": heads,
            **({"before": before} if before else {}),
        }
        self.tables = LexiconTables(words, links, grams, before)
        self.word = nn.Embedding(words, width)
        self.piece = WeightedSums(max(pieces, 1), width)
        self.shape = nn.Embedding(SHAPES, SHAPE_WIDTH)
        for layer in (self.word, self.piece, self.shape):
            nn.init.normal_(layer.weight, std=START)
        self.vectors_of_words = nn.Identity()
        self.kernels = kernels
        self.convolutions = nn.ModuleList(nn.Conv1d(width + SHAPE_WIDTH, filters, kernel) for kernel in kernels)
        wide = filters * len(kernels)
        self.score = nn.Linear(wide, heads) if pool == "attention" else None
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(wide * (heads if self.score else 1), outputs)

    @staticmethod
    def of(lexicon: Lexicon, outputs: int, **options: Any) -> TextConv:
        """A network with the tables of a lexicon."""
        net = TextConv(outputs=outputs, **lexicon.sizes, **options)
        net.read(lexicon)
        return net

    def read(self, lexicon: Lexicon) -> None:
        """Take the tables of a lexicon; raise DataError where it has other sizes."""
        self.tables.read(lexicon)

    def forward(self, x: Tensor) -> Tensor:
        """Rows [batch, length] to [batch, outputs]."""
        words = self.tables.words(self.tables.rows(x))
        there = words.entries > 0
        found = self._maps(self.vectors_of_words(self.vectors(words)), there)
        if self.score is None:
            # Above 0, so that no ReLU is needed. Without zeros up to the longest text this takes a fifth of the time.
            lengths = there.sum(dim=1)
            pooled = torch.segment_reduce(found, "max", lengths=lengths, initial=0.0) if len(x) else found[:0]
        else:
            wide = found.new_zeros(*there.shape, found.shape[1])
            wide[there] = functional.relu(found)
            scores = self.score(wide).masked_fill(~there[..., None], -1e9).softmax(dim=1)
            pooled = torch.einsum("blf,blh->bhf", wide, scores).flatten(1)
        result: Tensor = self.head(self.dropout(pooled))
        return result

    def _maps(self, vectors: Tensor, there: Tensor) -> Tensor:
        """What the convolutions find at each word: [batch, words, width] to [all words, filters].

        All texts are one row, with zeros around each as for a text alone: a batch as wide as its longest text has two
        to three times as many places.
        """
        gap = max(self.kernels) // 2
        length = there.sum(dim=1)
        begin = (length + gap).cumsum(0) - length
        place = (begin[:, None] + torch.arange(there.shape[1], device=there.device))[there]
        places = int(length.sum()) + gap * (len(there) + 1)
        row = vectors.new_zeros(_rounded(places), vectors.shape[-1])
        over_time = row.index_copy(0, place, vectors[there]).t()[None]
        maps = [
            layer(functional.pad(over_time, (size // 2, size - 1 - size // 2)))
            for size, layer in zip(self.kernels, self.convolutions, strict=True)
        ]
        return torch.cat(maps, dim=1)[0].t()[place]

    def vectors(self, words: Words) -> Tensor:
        """[batch, words, width + 8]; zeros where there is no word."""
        distinct, where = torch.unique(words.entries, return_inverse=True)
        links, count = self.tables.pieces_of(distinct)
        at, unknown = torch.unique_consecutive(words.at, return_counts=True)
        # Pieces of both kinds at once: each look into the table costs a gradient as large as the table.
        means = self._mean(torch.cat([links, words.piece]), torch.cat([count, unknown]))
        own = (self.word(distinct) + means[: len(distinct)]) * (distinct > 0)[:, None]
        out = own.index_select(0, where.flatten()).index_add(0, at, means[len(distinct) :])
        shapes = self.shape(words.shapes) * (words.entries > 0)[..., None]
        return torch.cat([out.view(*where.shape, self.word.embedding_dim), shapes], dim=-1)

    def _mean(self, entries: Tensor, count: Tensor) -> Tensor:
        """The sum of pieces' vectors over the square root of their number, for each word."""
        starts = count.cumsum(0) - count
        summed: Tensor = self.piece(entries - self.tables.first_piece, starts)
        return summed / count.clamp_min(1).to(summed.dtype).sqrt()[:, None]


def _rounded(places: int) -> int:
    step = max(STEP, 1 << max(places.bit_length() - SHARE, 0))
    return -(-places // step) * step
