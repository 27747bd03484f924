"""The bag of words, pieces and grams: a linear model and a network side by side, on sparse counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import check_whole
from dashpot.nets.text_memory import Bags, Memory
from dashpot.nets.text_rows import UNTRACED, LexiconTables
from dashpot.nets.text_sums import LinearSums, WeightedSums
from dashpot.texts.grams import SKIP, keys_of
from dashpot.texts.lexicon import Lexicon

SHARES = (1.0, 1.0, 0.5, 1.0)
"""How long the weights of a text's words, pairs, triples and pairs with words between are to each other, each kind by
itself: together, what is rare in a text would be drowned by what is frequent. All together are of length 1.
"""
PIECES_WEIGHT = 0.5
"""The length of the weights of its pieces."""
PIECE, KINDS = 1, 5
"""The place of pieces among the kinds of features, and how many kinds there are."""
GAIN = 5.0
"""Of all logits. A bag learns best at five times the learning rate of a convolutional network; AdamW moves a parameter
by the rate whatever the gradient, so parameters that count five times learn well at the rate of the others."""
_CHUNK = 512


class TextBag(nn.Module):
    r"""Texts as bags of words, pieces of words, pairs and triples: :math:`5 (s \sum_f w_f L_f + b + \mathrm{head}(h(s
    \sum_f w_f E_f)))`.

    The weight of a feature is ``(1 + log count) * (log((1 + rows) / (1 + rows with the feature)) + 1)``; the weights of
    a text's words, pieces, pairs, triples, and pairs with up to three words between, are brought to lengths of their
    own, which are 1 together, and 1/2 for pieces. ``L`` is a linear model, which may start from naive Bayes
    (:meth:`begin`); ``E`` are vectors of ``width`` numbers, whose sum passes layer normalization, a ReLU, Dropout (at
    rate 0 until a recipe sets it) and a linear head that starts at 0. The factor 5 makes one learning rate of AdamW,
    about 2e-3 in batches of 64, right for bags and for convolutions. No array is as wide as the vocabulary for each
    text.

    ``L`` are weights of a linear layer to techniques, ``E`` embeddings: ``L1()`` selects features, and
    ``GroupLasso()`` those of all outputs together (a row of the table is a feature).

    Args:
        words: entries of a lexicon below its pieces.
        pieces, grams, links: how many the lexicon has of each.
        outputs: logits.
        width: of the vectors; 0 is the linear model alone.
        scale: factor of both sums: weights of length 1 make small logits.
        before: numbers in front of a row that are not looked at.

    Example:
        >>> import torch
        >>> lexicon = Lexicon.fit([["a", "red", "car"], ["a", "red", "house"], ["the", "car"]])
        >>> net = TextBag.of(lexicon, outputs=2, width=4)
        >>> x = torch.from_numpy(lexicon.transform([["red", "cars"], []]))
        >>> net(x).shape
        torch.Size([2, 2])

    Papers: Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017; Wang and Manning, "Baselines
    and Bigrams: Simple, Good Sentiment and Topic Classification", ACL 2012.
    """

    frequency: Tensor
    mixes_at = (("linear", "embedding"),)

    untraced = UNTRACED

    def __init__(
        self,
        words: int,
        outputs: int,
        *,
        pieces: int,
        grams: int,
        links: int,
        width: int = 32,
        scale: int = 4,
        before: int = 0,
    ) -> None:
        super().__init__()
        words, outputs = check_whole("words", words, low=3), check_whole("outputs", outputs)
        pieces, grams, links, width, scale, before = (
            check_whole(name, value, low=low)
            for name, value, low in (
                ("pieces", pieces, 0),
                ("grams", grams, 0),
                ("links", links, 0),
                ("width", width, 0),
                ("scale", scale, 1),
                ("before", before, 0),
            )
        )
        self.options: dict[str, Any] = {
            "words": words,
            "outputs": outputs,
            "pieces": pieces,
            "grams": grams,
            "links": links,
            "width": width,
            "scale": scale,
            **({"before": before} if before else {}),
        }
        self.features, self.width, self.scale = words + pieces + grams, width, float(scale)
        self.tables = LexiconTables(words, links, grams, before)
        self.register_buffer("frequency", torch.ones(self.features))
        self.linear = LinearSums(self.features, outputs)
        nn.init.zeros_(self.linear.weight)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._memory = Memory()
        self.keep = nn.Dropout(0.0)
        if width:
            self.embedding = WeightedSums(self.features, width)
            nn.init.normal_(self.embedding.weight, std=0.1 / GAIN)  # the norm makes their scale that of their steps
            self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(0.0)
            self.head = nn.Linear(width, outputs)
            nn.init.zeros_(self.head.weight)

    @staticmethod
    def of(lexicon: Lexicon, outputs: int, **options: Any) -> TextBag:
        """A network with the tables of a lexicon."""
        net = TextBag(outputs=outputs, **lexicon.sizes, **options)
        net.read(lexicon)
        return net

    def read(self, lexicon: Lexicon) -> None:
        """Take the tables and frequencies of a lexicon; raise DataError where it has other sizes."""
        self.tables.read(lexicon)
        with torch.no_grad():
            self.frequency.copy_(torch.from_numpy(lexicon.frequencies))

    def forward(self, x: Tensor) -> Tensor:
        """Rows [batch, length] to [batch, outputs]."""
        ids, starts, weights = self.bags(x)
        weights = self.keep(weights) * self.scale
        out: Tensor = self.linear(ids, starts, weights) + self.bias
        if self.width:
            hidden = functional.relu(self.norm(self.embedding(ids, starts, weights)))
            out = out + self.head(self.dropout(hidden))
        return GAIN * out

    def bags(self, x: Tensor) -> Bags:
        """The features of each text: their numbers, sorted, int64 [k]; where those of each text start, int64 [batch];
        and their weights, float32 [k]. On the CPU the features of a row are remembered.
        """
        x = self.tables.rows(x)
        tables = (self.tables.links, self.tables.starts, self.tables.grams, self.frequency)
        remembered = self._memory.of(tables) if len(x) and x.device.type == "cpu" else None
        return self._bags(x) if remembered is None else remembered.bags(x, self._bags)

    def _bags(self, x: Tensor) -> Bags:
        keys, counts = self._counted(x)
        row = torch.div(keys, self.features, rounding_mode="floor")
        ids = keys - row * self.features
        weights = (1 + counts.to(self.frequency.dtype).log()) * self.frequency[ids]
        part = KINDS * row + torch.bucketize(ids, self.tables.kinds(self.features), right=True)
        square = weights.new_zeros(KINDS * len(x)).index_add_(0, part, weights * weights)
        share = weights.new_tensor((SHARES[0], 0.0, *SHARES[PIECE:])) * (square.view(-1, KINDS) > 0)
        share /= share.square().sum(dim=1, keepdim=True).sqrt()
        share[:, PIECE] = PIECES_WEIGHT
        weights = weights * (share.flatten() / square.sqrt())[part]
        starts = torch.searchsorted(row, torch.arange(len(x), device=x.device))
        return ids, starts, weights

    @torch.no_grad()
    def set_linear(self, weight: Tensor, bias: Tensor) -> TextBag:
        """Take a linear model that was fitted elsewhere: ``out = sum_f w_f weight[f] + bias``, with the weights ``w``
        of :meth:`bags`, to which the network adds that of its vectors, if it has any.

        Args:
            weight: [features, outputs], in these units, whatever those of the parameters.
            bias: [outputs].

        Returns:
            Itself.

        Raises:
            ConfigError: another shape.
        """
        for name, own, its in (("weight", self.linear.weight, weight), ("bias", self.bias, bias)):
            if own.shape != its.shape:
                raise ConfigError(f"TextBag.set_linear {name}", f"of shape {list(own.shape)}", list(its.shape))
        self.linear.weight.copy_(weight / (GAIN * self.scale))
        self.bias.copy_(bias / GAIN)
        return self

    def linear_weight(self) -> Tensor:
        """Of the linear part: [features, outputs], in the units of :meth:`set_linear`."""
        return GAIN * self.scale * self.linear.weight.detach()

    def _counted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``text * features + feature`` of all that is there, sorted, and how often it is."""
        words = self.tables.words(x)
        entries = words.entries
        n, length = entries.shape
        row = torch.arange(n, device=x.device)[:, None].expand(n, length)
        there = entries > 0
        flat = entries[there]
        links, count = self.tables.pieces_of(flat)
        parts = [flat, links, words.piece]
        rows = [
            row[there],
            torch.repeat_interleave(row[there], count),
            torch.div(words.at, length, rounding_mode="floor"),
        ]
        grams = self.tables.grams
        for keys in keys_of(entries, bool(grams[-1] >= SKIP)) if len(grams) else ():
            known = keys > 0
            whole = keys[known]
            place = torch.searchsorted(grams, whole).clamp_max(len(grams) - 1)
            found = grams[place] == whole
            parts.append(place[found] + self.features - len(grams))
            rows.append(row[:, length - keys.shape[1] :][known][found])
        keys, counts = torch.unique(torch.cat(rows) * self.features + torch.cat(parts), return_counts=True)
        return keys, counts

    @torch.no_grad()
    def begin(self, x: Tensor, y: Tensor, *, bayes: float = 0.0, smoothing: float = 1.0) -> TextBag:
        """Learn the frequencies of features from training rows, and start the linear model from naive Bayes.

        Each class has ``log p(feature | class)``, of texts that have the feature and with ``smoothing`` added to
        their count, less the mean over classes; times ``bayes``, 0 for none.

        Args:
            x: rows [n, length].
            y: classes int64 [n]; of values only the frequencies are learned.

        Returns:
            Itself.

        Raises:
            DataError: no rows.
        """
        if not len(x):
            raise DataError("a bag of words needs training rows to begin with, got none.")
        classes = self.linear.embedding_dim if not y.is_floating_point() else 1
        there = torch.zeros(self.features, classes, dtype=torch.float64)
        label = y.long() if classes > 1 else torch.zeros(len(x), dtype=torch.int64)
        for start in range(0, len(x), _CHUNK):
            keys, _ = self._counted(self.tables.rows(x[start : start + _CHUNK]))
            row = torch.div(keys, self.features, rounding_mode="floor")
            which = (keys - row * self.features) * classes + label[start : start + _CHUNK][row]
            there.view(-1).index_add_(0, which.cpu(), torch.ones(len(which), dtype=torch.float64))
        total = there.sum(dim=1)
        self.frequency.copy_(torch.log((1 + len(x)) / (1 + total)) + 1)
        if classes > 1 and bayes:
            share = torch.log((there + smoothing) / (there + smoothing).sum(dim=0))
            self.linear.weight.copy_(bayes / GAIN * (share - share.mean(dim=1, keepdim=True)))
        return self
