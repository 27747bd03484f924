"""The built-in networks of the estimators and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.nets.convnet import ConvNet
from dashpot.nets.convnet1d import SHORTEST, ConvNet1d
from dashpot.nets.ensemble import Ensemble
from dashpot.nets.memory import ChannelsLast
from dashpot.nets.mlp import MLP
from dashpot.nets.monotone import MonotoneNet
from dashpot.nets.resnet import ResNet
from dashpot.nets.standardize import Standardize, standardized
from dashpot.nets.table import TableNet
from dashpot.nets.text_bag import TextBag
from dashpot.nets.text_conv import TextConv
from dashpot.nets.text_encoder import TextEncoder
from dashpot.nets.text_features import TextFeatures

__all__ = [
    "MLP",
    "ChannelsLast",
    "ConvNet",
    "ConvNet1d",
    "Ensemble",
    "MonotoneNet",
    "Net",
    "ResNet",
    "Standardize",
    "TableNet",
    "TextBag",
    "TextConv",
    "TextEncoder",
    "TextFeatures",
    "build",
    "describe",
    "from_description",
    "standardized",
]

Net = (
    MLP
    | MonotoneNet
    | ConvNet
    | ConvNet1d
    | ResNet
    | TableNet
    | TextBag
    | TextConv
    | TextFeatures
    | TextEncoder
    | Ensemble
)
NETWORKS: dict[str, dict[str, Any]] = {
    "table": {"MLP": MLP, "TableNet": TableNet, "MonotoneNet": MonotoneNet},
    "image": {"ConvNet": ConvNet, "ResNet": ResNet},
    "signal": {"ConvNet1d": ConvNet1d, "MLP": MLP},
    "text": {"TextConv": TextConv, "TextBag": TextBag, "TextFeatures": TextFeatures, "TextEncoder": TextEncoder},
}
"""For each kind of data its networks by name, the default first. Each takes the first size of a row's shape, the
outputs, and options.
"""
OF_LEXICON = ("words", "pieces", "grams", "links")
"""Sizes of networks for texts that look at words."""
OF_ENCODER = {"TextFeatures": ("before",), "TextEncoder": ("before", "encoder")}
"""Networks for texts that an encoder has read, with what they need."""
SMALLEST = 8
"""Pixels that an image has at least on each side."""


def build(kind: str, shape: Sequence[int], outputs: int, **options: Any) -> Net:
    """A network for a kind of data.

    Args:
        kind: ``"table"``, ``"image"``, ``"signal"`` or ``"text"``.
        shape: of one sample: [features], [channels, height, width] or [channels, steps].
        outputs: classes, or 1.
        options: of the network, such as ``width``. ``net`` names it: for tables ``"MLP"`` (the default) or
            ``"TableNet"``, or ``"MonotoneNet"`` with the ``signs`` of columns; for images ``"ConvNet"`` (the default,
            of the family member for this size) or ``"ResNet"``;
            for texts ``"TextConv"`` (the default), ``"TextBag"``, ``"TextFeatures"`` (where an encoder's vectors
            stand ``before`` the words) or ``"TextEncoder"`` (where its tokens do), with the sizes of a lexicon among
            the options;
            for signals ``"ConvNet1d"`` (the default) or ``"MLP"`` on all numbers, with batch normalization.

    Raises:
        UnknownNameError: an unknown kind or network.
        ConfigError: a value that the network does not allow, images below 8 x 8, or signals below 8 steps.
    """
    if kind not in NETWORKS:
        raise UnknownNameError("kind", kind, NETWORKS)
    known = NETWORKS[kind]
    asked = str(options.pop("net", next(iter(known))))
    name = {one.lower(): one for one in known}.get(asked.lower(), asked)
    trained = name == TextFeatures.__name__ and "encoder" in options  # then there are no vectors
    if name not in known or trained or not set(OF_ENCODER.get(name, ())) <= set(options):
        raise UnknownNameError("net", asked, [one for one in known if one not in OF_ENCODER])
    if kind == "text":  # whose rows are numbers of words: what counts is the sizes of the lexicon
        others = OF_LEXICON if name in OF_ENCODER else ()
        if name != TextEncoder.__name__:
            others = (*others, "encoder")
        made: Net = known[name](outputs=outputs, **{k: value for k, value in options.items() if k not in others})
        return made
    if kind == "signal":
        if shape[1] < SHORTEST:
            raise ConfigError("steps", f"at least {SHORTEST}", shape[1], "Pass shorter signals as a table.")
        if name == "MLP":
            return MLP(math.prod(shape), outputs, **{"norm": "batch", **options}, flatten=True)
        return ConvNet1d(shape[0], outputs, steps=shape[1], **options)
    if min(shape[1:], default=SMALLEST) < SMALLEST:
        raise ConfigError(
            "image size", "at least 8 x 8", tuple(shape[1:]), "Resize the images, or pass them as a table of pixels."
        )
    if name == "ConvNet":
        options = {"size": min(shape[1:]), **options}
    network: Net = known[name](shape[0], outputs, **options)
    return network


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
    if name == "ConvNet" and "size" not in options:
        name = "ResNet"  # a run from when this was the default, by the other's name
    every = {name: cls for known in NETWORKS.values() for name, cls in known.items()}
    if name not in every:
        raise UnknownNameError("net", str(name), every)
    net: Net = every[name](**options)
    return net
