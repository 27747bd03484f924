"""An ensemble of networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The weighted mean of the predictions of several networks: of probabilities for classes, of values otherwise.

    Args:
        networks: with the same inputs and outputs.
        weights: of each, positive; made to sum to 1.
        classes: whether outputs are logits; the ensemble's are then log probabilities.

    Example:
        >>> both = Ensemble([nn.Linear(4, 3), nn.Linear(4, 3)], [1.0, 3.0], classes=True)
        >>> p = both(torch.randn(5, 4)).exp()
        >>> p.shape, bool((p.sum(1) - 1).abs().max() < 1e-6)
        (torch.Size([5, 3]), True)
    """

    def __init__(self, networks: Sequence[nn.Module], weights: Sequence[float], *, classes: bool) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        total = float(sum(weights))
        self.weights, self.classes = [float(w) / total for w in weights], bool(classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ...] to [batch, outputs]."""
        outputs = [network(x) for network in self.networks]
        if not self.classes:
            return torch.stack([w * out for w, out in zip(self.weights, outputs, strict=True)]).sum(0)
        shares = torch.tensor(self.weights, device=outputs[0].device).log()
        logs = torch.stack([out.log_softmax(dim=1) + share for share, out in zip(shares, outputs, strict=True)])
        return logs.logsumexp(dim=0)
