"""One built-in network by the options that a user names, for a training without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot import nets
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.data import Preprocessing
from dashpot.data.kinds import Prepares
from dashpot.nets import TableNet
from dashpot.search.networks import (
    BINS,
    ENCODED,
    FEW_BINS,
    LARGE_BLOCK,
    MANY_ROWS,
    MONOTONE_OPTIONS,
    OPTIONS,
    TABLE_OPTIONS,
    chosen_networks,
)
from dashpot.search.space.distributions import Categorical
from dashpot.training.builtin import built_in

NET = "net"
NETWORKS: Mapping[str, Mapping[str, Sequence[str]]] = {
    **OPTIONS,
    "table": {"mlp": ("width", "depth", "norm"), "tablenet": TABLE_OPTIONS},
    "text": {"textconv": ("width", "filters", "pool", "heads"), "textbag": ("width", "scale")},
}
"""Options of each kind's networks, the default network first."""


def options_of_texts(
    texts: Sequence[str], kind: str | None, *, encoder: bool | None = None, monotone: bool = False
) -> dict[str, Any]:
    """Options from ``name=value``, as on the command line.

    Args:
        kind: of the data; None where the network is the user's own, which has any options.
        encoder: of texts, whether it stays as it is; None: there is none.
        monotone: as :func:`checked_options`.

    Raises:
        ConfigError: text that is no ``name=value``, several values, or an option twice.
        UnknownNameError: no such option.

    Example:
        >>> options_of_texts(["width=16", "se=true"], "image")
        {'net': 'convnet', 'width': 16, 'se': True}
    """
    chosen: dict[str, Any] = {}
    for text in texts:
        ((name, found),) = chosen_networks([text], None).items()
        if name in chosen:
            raise ConfigError(f"--net {name}", "said once", text)
        assert isinstance(found, Categorical), "options of networks are named values"
        if len(found.values) > 1:
            raise ConfigError("--net", "one value for each option", text, "`dashpot tune` searches several.")
        chosen[name] = found.values[0]
    return chosen if kind is None else checked_options(chosen, kind, "--net", encoder=encoder, monotone=monotone)


def checked_options(
    chosen: Mapping[str, Any],
    kind: str,
    where: str = NET,
    *,
    encoder: bool | None = None,
    monotone: bool = False,
) -> dict[str, Any]:
    """Options that one network of a kind of data has, that network's name among them: the one that ``net`` names, else
    the first that has them all. Their values are checked where the network is built.

    Args:
        where: how errors call them.
        encoder: of texts, whether it stays as it is; the network over its vectors, or itself, is then the default.
            None: there is none.
        monotone: whether columns of a table have directions, which one network alone keeps to.

    Raises:
        UnknownNameError: no such network or option.
        ConfigError: options of several networks.
    """
    networks = {"monotonenet": MONOTONE_OPTIONS} if monotone else {**ENCODED[encoder], **NETWORKS[kind]}
    for option, value in chosen.items():
        if not isinstance(value, bool | int | str):
            rule = "one whole number, text or boolean, where nothing is searched"
            raise ConfigError(f"{where} {option}", rule, value)
    every = list(dict.fromkeys(name for names in networks.values() for name in names if name != NET))
    given = {name: value for name, value in chosen.items() if name != NET}
    if NET in chosen:
        name = str(chosen[NET]).lower()
        if name not in networks:
            raise UnknownNameError(f"{where} {NET}" if where != NET else NET, str(chosen[NET]), networks)
        for option in given:
            if option not in networks[name]:
                raise UnknownNameError(f"{where} of {name}", option, [n for n in networks[name] if n != NET])
        return {NET: name, **given}
    for option in given:
        if option not in every:
            raise UnknownNameError(where, str(option), [NET, *every])
    fitting = [name for name, names in networks.items() if set(given) <= set(names)]
    if not fitting:
        known = "; ".join(f"{name}: {', '.join(n for n in names if n != NET)}" for name, names in networks.items())
        raise ConfigError(where, "options of one network", ", ".join(given), f"They are, of {known}.")
    return {NET: fitting[0], **given}


def fixed_network(
    how: Prepares, x: Tensor, rows: np.ndarray, outputs: int, options: Mapping[str, Any], *, classes: bool
) -> nets.Net:
    """A network with random weights.

    Args:
        how, x: how the data are prepared, and what they are then.
        rows: of the training; where a network for tables has piecewise embeddings, their bins are at the quantiles of
            these.
        options: as :func:`checked_options` gives them.
        classes: whether the task is classification.

    Raises:
        ConfigError: a value that the network does not allow.
    """
    if options.get(NET) != "tablenet":
        if getattr(how, "vectors", None) is not None and options.get(NET) == "textbag":
            raise ConfigError("vectors", "None where no network starts from them", "net=textbag", "Name net=textconv.")
        return built_in(how, x.shape[1:], outputs, **options)
    assert isinstance(how, Preprocessing)
    blocks = [(a, b) for a, b in how.layout().nominal if b - a > LARGE_BLOCK]
    own = {name: value for name, value in options.items() if name != NET}
    bins = FEW_BINS if classes and len(rows) < MANY_ROWS else BINS
    table = TableNet(x.shape[1], outputs, numeric=len(how.numeric), nominal=blocks, bins=bins, **own)
    return table.fit_bins(x[torch.as_tensor(rows)]) if own.get("embedding") == "piecewise" else table
