"""Trackers by name: ``"tensorboard:runs"``, ``"mlflow:http://host:5000,experiment=digits"``."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.tracking.mlflow import MLflow
from dashpot.tracking.tensorboard import TensorBoard
from dashpot.tracking.wandb import Trackio, WandB

KNOWN: dict[str, tuple[Any, str]] = {
    "tensorboard": (TensorBoard, "pip install 'dashpot[tensorboard]'"),
    "mlflow": (MLflow, "pip install 'dashpot[mlflow]'"),
    "wandb": (WandB, "pip install 'dashpot[wandb]'"),
    "trackio": (Trackio, "pip install trackio"),
}
METHODS = "begin", "epoch", "end"


def trackers_of(log: Any) -> list[Any]:
    """The trackers that ``log`` names.

    Args:
        log: a name (``"tensorboard"``, ``"mlflow"``, ``"wandb"``, ``"trackio"``), a name with a place and options
            (``"tensorboard:runs"``, ``"mlflow:http://host:5000,experiment=digits"``, ``"wandb:digits,run=first"``), a
            :class:`Tracker` or what has its three methods, a list of these, or None.

    Raises:
        ConfigError: no tracker, one that is not installed, or an option that it does not have.

    Example:
        >>> import dashpot
        >>> [tracker.place for tracker in dashpot.tracking.trackers_of(["tensorboard:logs"])]
        ['logs']
        >>> dashpot.tracking.trackers_of(["tensorboard:logs", dashpot.tracking.Tracker()])[1].name
        'tracker'
    """
    if log is None:
        return []
    if isinstance(log, str):
        return [_named(log)]
    if isinstance(log, list | tuple):
        return [tracker for part in log for tracker in trackers_of(part)]
    if isinstance(log, type) or not all(callable(getattr(log, method, None)) for method in METHODS):
        way = "Give a name such as 'tensorboard', or an object with the methods begin, epoch and end."
        raise ConfigError("log", "a tracker's name, a tracker, or a list of these", log, way)
    return [log]


def _named(text: str) -> Any:
    name, _, rest = text.partition(":")
    name = name.strip().lower()
    if name not in KNOWN:
        raise UnknownNameError("log", name, KNOWN)
    made, install = KNOWN[name]
    if find_spec(made.module) is None:
        raise ConfigError("log", "a tracker that is installed", name, f"Install it: {install}")
    options: dict[str, str] = {}
    parts = rest.split(",") if rest else []
    for k, part in enumerate(parts):
        option = re.match(r"([a-z_]+)=(.*)$", part.strip())
        if option is None and k:
            raise ConfigError("log", f"{name}:PLACE,option=value", text)
        key, value = ("place", part.strip()) if option is None else option.groups()
        if key != "place" and key not in made.options:
            raise UnknownNameError(f"log, an option of {name},", key, made.options)
        options[key] = value
    return made(**{key: value for key, value in options.items() if value})
