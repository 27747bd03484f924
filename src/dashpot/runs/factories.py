"""Networks of the user's own in a run: the function that makes them is named by the user each time, so that a folder
never decides what code is run.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dashpot import nets
from dashpot.core.errors import ConfigError

OWN, MADE = "own", "_made_with"
RULE = "MODULE:FUNCTION or FILE.py:FUNCTION, a function that returns a fresh nn.Module"


def load_factory(text: str, option: str = "--model") -> Callable[..., nn.Module]:
    """The function that ``module:function`` or ``file.py:function`` names; modules of the present folder are found.

    Raises:
        ConfigError: it cannot be imported, or is none.

    Example:
        >>> load_factory("torch.nn:Identity")
        <class 'torch.nn.modules.linear.Identity'>
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise ConfigError(option, RULE, text)
    try:
        found: Any = _module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module of the user's own may raise anything
        problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ConfigError(option, RULE, text, f"Importing it gave {problem}.") from error
    if isinstance(found, nn.Module) or not callable(found):
        raise ConfigError(option, RULE, text, f"It is {type(found).__name__}.")
    made: Callable[..., nn.Module] = found
    return made


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        if os.getcwd() not in sys.path and "" not in sys.path:
            sys.path.insert(0, os.getcwd())
        return importlib.import_module(place)
    path = Path(place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is no file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that what it defines can be pickled
    spec.loader.exec_module(module)
    return module


def made_with(network: nn.Module, options: Mapping[str, Any]) -> nn.Module:
    """``network`` itself, which from now on knows the options that a function of the user's own made it with."""
    network.__dict__[MADE] = dict(options)
    return network


def is_own(network: nn.Module) -> bool:
    """Whether a run can hold it as a network of the user's own: :func:`made_with` knows its options."""
    return MADE in network.__dict__


def describe(network: nn.Module) -> dict[str, Any]:
    """As :func:`dashpot.nets.describe`; of the user's own networks the options."""
    if isinstance(network, nets.Ensemble):
        return {
            "net": "Ensemble",
            "weights": network.weights,
            "classes": network.classes,
            "networks": [describe(one) for one in network.networks],
        }
    return {"net": OWN, "options": network.__dict__[MADE]} if is_own(network) else nets.describe(network)


def holds_own(description: Mapping[str, Any]) -> bool:
    """Whether a network of the user's own is in a description."""
    return description.get("net") == OWN or any(holds_own(one) for one in description.get("networks", ()))


def from_description(
    description: Mapping[str, Any], make: Callable[..., nn.Module] | None, stage: Mapping[str, Any]
) -> nn.Module:
    """The inverse of :func:`describe`.

    Args:
        make: the user's function; None where no network is the user's.
        stage: what such a network standardizes first; empty where nothing.
    """
    if description["net"] == "Ensemble" and holds_own(description):
        networks = [from_description(one, make, stage) for one in description["networks"]]
        return nets.Ensemble(networks, description["weights"], classes=description["classes"])
    if description["net"] != OWN:
        return nets.from_description(description)
    assert make is not None
    options = dict(description["options"])
    network = made_with(make(**options), options)
    return nets.standardized(network, **stage) if stage else network
