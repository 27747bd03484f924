"""Networks and combinations that are tried first on signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashpot import nets
from dashpot.core.errors import ConfigError
from dashpot.search.networks import chosen_networks
from dashpot.search.space.distributions import Categorical, Distribution, clipped

Fields = Mapping[str, Mapping[str, Any]]
OPTIONS = {"convnet1d": ("net", "width", "depth", "kernel", "activation"), "mlp": ("net", "width", "depth", "norm")}
"""Of each network for signals."""
WIDTHS = {"convnet1d": (16, 32), "mlp": (256, 512)}

DECAY: Fields = {"weight-decay": {"strength": 0.05}}
SMOOTH: Fields = {"label-smoothing": {"smoothing": 0.1}}
EMA: Fields = {"ema": {"decay": 0.98}}
SHIFT: Fields = {"time-shift": {"fraction": 0.1, "border": "replicate"}}
ROLL: Fields = {"time-shift": {"fraction": 1.0, "border": "wrap"}}
BENT: Fields = {"amplitude-scale": {"strength": 0.2}, "drift": {"strength": 0.4}}
NOISE: Fields = {"input-noise": {"std": 0.05}}
COMBINATIONS: Mapping[str, tuple[Fields, Mapping[str, Any]]] = {
    "rolled, bent, noisy, smoothed": ({**ROLL, **BENT, **NOISE, **DECAY, **SMOOTH}, {"lr": 6e-3}),
    "shifted, noisy": ({**SHIFT, **NOISE, **DECAY}, {}),
    "shifted, stretched, scaled, smoothed": (
        {**SHIFT, "time-stretch": {"scale": 0.15}, "amplitude-scale": {"strength": 0.2}, **DECAY, **SMOOTH},
        {"lr": 5e-3},
    ),
    "rolled, bent, noisy, averaged": ({**ROLL, **BENT, **NOISE, **DECAY, **EMA}, {"lr": 4e-3}),
    "shifted, mixed": ({**SHIFT, **DECAY, "mixup": {"alpha": 0.2}, **EMA}, {}),
    "shifted, masked, smoothed": ({**SHIFT, "time-mask": {"fraction": 0.2}, **DECAY, **SMOOTH}, {"lr": 5e-3}),
}
"""As :data:`dashpot.search.space.defaults.COMBINATIONS`: for signals whose beginning means nothing, such as periods,
and for those that were cut out by an event.
"""


def network_space(
    shape: Sequence[int], outputs: int, texts: Sequence[str]
) -> tuple[dict[str, Distribution], dict[str, Any]]:
    """What of the network is searched, and its default.

    Args:
        shape: of a signal, [channels, steps].
        texts: options as on the command line, such as ``"net=mlp"`` or ``"width=16,32"``.

    Raises:
        ConfigError: two networks at once, or a value that the network does not allow.
        UnknownNameError: no such option.
    """
    named = [text for text in texts if text.partition("=")[0] == "net"]
    networks = _values(chosen_networks(named, ("net",)).get("net")) or ("convnet1d",)
    if len(networks) > 1:
        raise ConfigError("--net net", "one network, as the widths of several differ", ",".join(map(str, networks)))
    name = str(networks[0]).lower()
    space: dict[str, Distribution] = {"width": Categorical(WIDTHS.get(name, WIDTHS["convnet1d"]))}
    space |= chosen_networks(texts, OPTIONS.get(name, OPTIONS["convnet1d"]))
    default = {option: clipped(_values(found)[0], found) for option, found in space.items()}
    for option, found in space.items():
        for value in _values(found):  # each must be one that the network allows: refused now, not during a race
            nets.build("signal", shape, outputs, **{**default, option: value})
    return space, default


def _values(found: Distribution | None) -> tuple[Any, ...]:
    if found is None:
        return ()
    assert isinstance(found, Categorical), "options of networks are named values"
    return found.values
