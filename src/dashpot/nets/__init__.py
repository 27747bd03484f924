"""The built-in networks of the estimators and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.nets.convnet import ConvNet
from dashpot.nets.ensemble import Ensemble
from dashpot.nets.mlp import MLP
from dashpot.nets.standardize import Standardize
from dashpot.nets.table import TableNet

__all__ = ["MLP", "ConvNet", "Ensemble", "Net", "Standardize", "TableNet", "build", "describe", "from_description"]

Net = MLP | ConvNet | TableNet | Ensemble
_TABLE_NETS: dict[str, Any] = {"MLP": MLP, "TableNet": TableNet}
_NETS: dict[str, Any] = {**_TABLE_NETS, "ConvNet": ConvNet}


def build(kind: str, shape: Sequence[int], outputs: int, **options: Any) -> Net:
    """A network for a kind of data.

    Args:
        kind: ``"table"`` or ``"image"``.
        shape: of one sample: [features] or [channels, height, width].
        outputs: classes, or 1.
        options: of the network, such as ``width``. For tables, ``net`` names it: ``"MLP"`` (the default) or
            ``"TableNet"``.

    Raises:
        ConfigError: an unknown network, a value that it does not allow, or images below 8 x 8.
    """
    if kind == "table":
        name = options.pop("net", "MLP")
        if name not in _TABLE_NETS:
            raise UnknownNameError("net", str(name), _TABLE_NETS)
        table: Net = _TABLE_NETS[name](shape[0], outputs, **options)
        return table
    if min(shape[1:]) < 8:
        raise ConfigError(
            "image size", "at least 8 x 8", tuple(shape[1:]), "Resize the images, or pass them as a table of pixels."
        )
    return ConvNet(shape[0], outputs, **options)


def describe(net: nn.Module) -> dict[str, Any]:
    """Plain JSON from which :func:`from_description` builds the same architecture."""
    if isinstance(net, Ensemble):
        return {
            "net": "Ensemble",
            "weights": net.weights,
            "classes": net.classes,
            "networks": [describe(one) for one in net.networks],
        }
    return {"net": type(net).__name__, **net.options}  # type: ignore[dict-item]  # every built-in network has options


def from_description(data: Mapping[str, Any]) -> Net:
    """The inverse of :func:`describe`; only built-in networks can be named, so a description never runs
    foreign code.
    """
    options = dict(data)
    name = options.pop("net", None)
    if name == "Ensemble":
        return Ensemble(
            [from_description(one) for one in options["networks"]], options["weights"], classes=options["classes"]
        )
    if name not in _NETS:
        raise UnknownNameError("net", str(name), _NETS)
    net: Net = _NETS[name](**options)
    return net
