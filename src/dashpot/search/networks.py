"""The network of a search: options to search or to fix, and the factory that builds it from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot import nets
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.data import Prepared, Preprocessing, Problem
from dashpot.nets import TableNet
from dashpot.search.space.distributions import Categorical, Distribution, clipped
from dashpot.texts.encoder import encoder_of
from dashpot.training.builtin import built_in

MONOTONE_OPTIONS = ("width", "depth")
"""Of the network for tables some of whose columns have directions."""
TABLE_OPTIONS = ("width", "depth", "embedding", "embedding_size", "activation", "norm", "skip", "scaling", "members")
OPTIONS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "image": {"convnet": ("net", "width", "depth", "residual", "se", "activation"), "resnet": ("net", "width")},
    "signal": {
        "convnet1d": ("net", "width", "depth", "kernel", "activation"),
        "mlp": ("net", "width", "depth", "norm"),
    },
    "text": {"textbag": ("net", "width"), "textconv": ("net", "width", "filters", "pool")},
}
"""Of each network for images, signals and texts, the default network first."""
WIDTHS: Mapping[str, Sequence[int]] = {
    "mlp": (256, 512),
    "textconv": (64, 128),
    "textbag": (32, 64),
    "textfeatures": (128, 0),
}
ENCODED: Mapping[bool | None, Mapping[str, Sequence[str]]] = {
    None: {},
    True: {"textfeatures": ("net", "width")},
    False: {"textencoder": ("net",)},
}
"""Beside those for texts, by whether an encoder stays as it is; None: there is none."""
CONVOLUTIONS = (RACED := 16, 32)
"""Widths of the others. The narrow one is that of a race whose final network is trained apart."""
LARGE_BLOCK = 9
"""One-hot blocks with more levels are embedded (Holzmüller et al. 2024)."""
FEW_BINS, BINS, MANY_ROWS = 16, 48, 5000
"""Of the piecewise embedding, for classes with fewer rows, and otherwise: targets that are values carry
more information, and classes with few rows are overfitted soon.
"""


def frozen_of(given: Any) -> bool | None:
    """Whether an encoder that a user gives stays as it is; None where there is none."""
    return None if given is None else encoder_of(given).frozen


def chosen_networks(texts: Sequence[str], known: Sequence[str] | None) -> dict[str, Distribution]:
    """Options of the network from ``name=value,value``; of a network of the user's own, any (``known`` is None).

    Raises:
        UnknownNameError: no such option.
        ConfigError: text that is no ``name=value``.

    >>> chosen_networks(["skip=true,false", "width=64"], ("skip", "width"))
    {'skip': Categorical(values=(True, False)), 'width': Categorical(values=(64,))}
    """
    found: dict[str, Distribution] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ConfigError("--net", "written name=value or name=value,value", text)
        if known is not None and name not in known:
            raise UnknownNameError("--net", name, known)
        found[name] = Categorical(tuple(_read(value.strip()) for value in values.split(",")))
    return found


def network_space(
    kind: str,
    shape: Sequence[int],
    outputs: int,
    texts: Sequence[str],
    sizes: Mapping[str, Any] | None = None,
    vectors: int | None = None,
) -> tuple[dict[str, Distribution], dict[str, Any]]:
    """What of a network for images, signals or texts is searched, and its default.

    Args:
        kind: ``"image"``, ``"signal"`` or ``"text"``.
        shape: of a sample: [channels, height, width], [channels, steps] or [length].
        texts: options as on the command line, such as ``"net=mlp"`` or ``"width=16,32"``. What is not named is the
            network's own default, except the width, of which two are searched. For texts, where nothing is named, the
            networks are what is searched, each as it is by default: the mean of several kinds is better than one.
        sizes: what a network is built with beside its options.
        vectors: how wide vectors of words are, from which convolutions over words start; None where there are none.

    Raises:
        ConfigError: two networks at once, or a value that the network does not allow.
        UnknownNameError: no such option.
    """
    frozen = "encoder" not in (sizes or {}) if (sizes or {}).get("before") else None
    options = {**OPTIONS[kind], **ENCODED[frozen]}
    named = [text for text in texts if text.partition("=")[0] == "net"]
    networks = _values(chosen_networks(named, ("net",)).get("net")) or (next(iter(options)),)
    if kind == "text" and len(named) == len(texts) and (len(networks) > 1 or not named):
        # An encoder that is trained further takes far more time than the others: it stands beside their race.
        usual = tuple(OPTIONS[kind]) if frozen is False else tuple(options)
        names = tuple(str(network).lower() for network in networks) if named else usual
        if unknown := set(names) - set(options):
            raise UnknownNameError("--net net", unknown.pop(), options)
        return {"net": Categorical(names)}, {"net": names[0]}
    if len(networks) > 1:
        raise ConfigError("--net net", "one network, as the options of several differ", ",".join(map(str, networks)))
    name = str(networks[0]).lower()
    if vectors is not None and name != "textconv":
        raise ConfigError("vectors", "None where no network starts from them", f"net={name}", "Name net=textconv.")
    if options.get(name) == ("net",):  # which has no option of its own
        chosen_networks(texts, ("net",))
        return {"net": Categorical((name,))}, {"net": name}
    widths = WIDTHS.get(name, CONVOLUTIONS) if vectors is None else (vectors,)
    space: dict[str, Distribution] = {"width": Categorical(tuple(widths))}
    space |= chosen_networks(texts, options.get(name, next(iter(options.values()))))
    default = {option: clipped(_values(found)[0], found) for option, found in space.items()}
    for option, found in space.items():
        if vectors is not None and option == "width" and set(_values(found)) != {vectors}:
            raise ConfigError(
                "--net width", f"{vectors}, as the vectors of words are wide", str(found), "Leave it out."
            )
        for value in _values(found):  # each must be one that the network allows: refused now, not during a race
            nets.build(kind, shape, outputs, **{**(sizes or {}), **default, option: value})
    return space, default


def _values(found: Distribution | None) -> tuple[Any, ...]:
    if found is None:
        return ()
    assert isinstance(found, Categorical), "options of networks are named values"
    return found.values


def named(texts: Sequence[str]) -> set[str]:
    """The options that ``name=value,value`` says something of."""
    return {text.partition("=")[0] for text in texts}


def _read(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.lstrip("-").isdigit() else text


def layout(prepared: Prepared) -> tuple[int, list[tuple[int, int]]]:
    """How many columns are numbers, and the one-hot blocks that are large."""
    assert isinstance(prepared.preprocessing, Preprocessing)
    found = prepared.preprocessing.layout()
    return len(prepared.preprocessing.numeric), [(a, b) for a, b in found.nominal if b - a > LARGE_BLOCK]


def directed(how: Any) -> bool:
    """Whether columns of a table have directions, which the network must keep to."""
    return bool(getattr(how, "monotone", None))


def factory(problem: Problem, prepared: Prepared, rows: np.ndarray) -> Callable[[Mapping[str, Any]], nn.Module]:
    """From options to a network for these data; bins of an embedding are at the quantiles of ``rows``."""
    outputs = max(len(problem.classes), 1)
    bins: dict[Any, dict[str, Tensor]] = {}
    count = FEW_BINS if problem.task == "classification" and len(rows) < MANY_ROWS else BINS

    def make(options: Mapping[str, Any]) -> nn.Module:
        if problem.kind != "table" or directed(prepared.preprocessing):
            return built_in(prepared.preprocessing, prepared.x.shape[1:], outputs, **options)
        numbers, blocks = layout(prepared)
        net = TableNet(prepared.x.shape[1], outputs, numeric=numbers, nominal=blocks, **{"bins": count, **options})
        if options.get("embedding") == "piecewise":
            key = tuple(sorted((k, str(v)) for k, v in options.items()))
            if key not in bins:
                net.fit_bins(prepared.x[torch.as_tensor(rows)])
                bins[key] = {name: b.clone() for name, b in net.named_buffers()}
            for name, b in net.named_buffers():
                b.copy_(bins[key][name])
        return net

    return make
