"""A small network, or a linear model, over the vectors that an encoder made of texts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.fields.domains import check_whole


class TextFeatures(nn.Module):
    r"""A network over vectors of an encoder: :math:`W_2\,\mathrm{ReLU}(W_1 v + b_1) + b_2`.

    A row begins with the bits of a vector (:class:`dashpot.data.texts.encoded.Encoded`); the words behind it are not
    looked at. Dropout before the head is at rate 0 until a recipe sets it.

    Args:
        outputs: logits.
        before: numbers of a vector.
        width: of the hidden layer; 0 is a linear model.

    Example:
        >>> import torch
        >>> net = TextFeatures(outputs=2, before=3, width=4)
        >>> vectors = torch.randn(5, 3)
        >>> net(torch.cat([vectors.view(torch.int32), torch.zeros(5, 7, dtype=torch.int32)], dim=1)).shape
        torch.Size([5, 2])

    When not to use it: for techniques that change words, since the vectors are of the texts as they were.
    """

    mixes_at = (("dropout",),)
    wordless = "vectors of whole texts, which an encoder made before"
    """Why techniques on words cannot act on it."""

    def __init__(self, outputs: int, *, before: int, width: int = 128) -> None:
        super().__init__()
        outputs, before = check_whole("outputs", outputs), check_whole("before", before)
        width = check_whole("width", width, low=0)
        self.options: dict[str, Any] = {"outputs": outputs, "before": before, "width": width}
        self.before = before
        self.hidden = nn.Linear(before, width) if width else None
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(width or before, outputs)

    def vectors(self, x: Tensor) -> Tensor:
        """Of rows those in front, [batch, before]."""
        bits = x[:, : self.before].to(torch.int32).contiguous()
        return bits.view(torch.float32).to(self.head.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Rows [batch, length] to [batch, outputs]."""
        vectors = self.vectors(x)
        if self.hidden is not None:
            vectors = functional.relu(self.hidden(vectors))
        out: Tensor = self.head(self.dropout(vectors))
        return out
