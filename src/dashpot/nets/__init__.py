"""The built-in networks of the estimators and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.nets.convnet import ConvNet
from dashpot.nets.mlp import MLP

__all__ = ["MLP", "ConvNet", "build", "describe", "from_description"]

_NETS: dict[str, Any] = {"MLP": MLP, "ConvNet": ConvNet}


def build(kind: str, shape: Sequence[int], outputs: int, **options: Any) -> MLP | ConvNet:
    """The default network for a kind of data.

    Args:
        kind: ``"table"`` or ``"image"``.
        shape: of one sample: [features] or [channels, height, width].
        outputs: classes, or 1.
        options: of the network, such as ``width``.
    """
    if kind == "table":
        return MLP(shape[0], outputs, **options)
    if min(shape[1:]) < 8:
        raise ConfigError("image size", "at least 8 x 8", tuple(shape[1:]), "Resize the images, or pass them as a table of pixels.")
    return ConvNet(shape[0], outputs, **options)


def describe(net: nn.Module) -> dict[str, Any]:
    """Plain JSON from which :func:`from_description` builds the same architecture."""
    return {"net": type(net).__name__, **net.options}  # type: ignore[dict-item]  # every built-in network has options


def from_description(data: Mapping[str, Any]) -> MLP | ConvNet:
    """The inverse of :func:`describe`; only built-in networks can be named, so a description never runs foreign code."""
    options = dict(data)
    name = options.pop("net", None)
    if name not in _NETS:
        raise UnknownNameError("net", str(name), _NETS)
    net: MLP | ConvNet = _NETS[name](**options)
    return net
