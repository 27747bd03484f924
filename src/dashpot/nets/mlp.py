"""The default network for tables."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Module):
    """A multilayer perceptron: Linear, ReLU and Dropout (at rate 0 until a recipe sets it), ``depth`` times, then
    Linear.

    Args:
        inputs, outputs: numbers of features and of logits (1 for regression).
        width: units per hidden layer.
        depth: hidden layers.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.options = {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth}
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(inputs if i == 0 else width, width), nn.ReLU(), nn.Dropout(0.0)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width if depth else inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs] to [batch, outputs]."""
        result: Tensor = self.head(self.body(x))
        return result
