"""The default network for tables, and one for signals."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import check_whole

NORMS = ("none", "batch")


class MLP(nn.Module):
    """A multilayer perceptron: Linear, ReLU and Dropout (at rate 0 until a recipe sets it), ``depth`` times, then
    Linear.

    Args:
        inputs, outputs: numbers of features and of logits (1 for regression).
        width: units per hidden layer.
        depth: hidden layers.
        norm: ``"batch"`` normalization in front of each ReLU, or ``"none"``.
        flatten: samples have several axes, such as the channels and steps of a signal: ``inputs`` numbers in all.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 256,
        depth: int = 3,
        norm: str = "none",
        flatten: bool = False,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise UnknownNameError("norm", str(norm), NORMS)
        if flatten not in (True, False):
            raise ConfigError("flatten", "True or False", flatten)
        width, depth = check_whole("width", width), check_whole("depth", depth, low=0)
        self.options: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth}
        self.options |= {"norm": norm} if norm != "none" else {}
        self.options |= {"flatten": True} if flatten else {}
        layers: list[nn.Module] = [nn.Flatten()] if flatten else []
        for i in range(depth):
            layers.append(nn.Linear(inputs if i == 0 else width, width, bias=norm == "none"))
            layers += [nn.BatchNorm1d(width)] if norm == "batch" else []
            layers += [nn.ReLU(), nn.Dropout(0.0)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width if depth else inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs] to [batch, outputs]."""
        result: Tensor = self.head(self.body(x))
        return result
