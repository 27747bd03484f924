"""What a resumed training must share with the one that was saved."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError

OPTION = "optimizer's "
_SPEED = ("params", "lr", "initial_lr", "foreach", "fused", "capturable", "differentiable", "penalized", "penalty_step")


def options_of(optimizer: Optimizer) -> dict[str, Any]:
    """The learning rate to begin with and the options of an optimizer, one value or one for each group. What changes
    its speed only is left out.
    """
    names = dict.fromkeys(name for group in optimizer.param_groups for name in group if name not in _SPEED)
    rates = {"lr": [float(group.get("initial_lr", group.get("lr", 0.0))) for group in optimizer.param_groups]}
    found = rates | {OPTION + name: [_plain(g.get(name)) for g in optimizer.param_groups] for name in names}
    return {name: values[0] if all(v == values[0] for v in values) else values for name, values in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Tensor):
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def loss_in_words(criterion: Any) -> str:
    """A loss in words that change when it does: its name, with what a function of one's own refers to, or with the
    options of a module.

    >>> loss_in_words(nn.CrossEntropyLoss(label_smoothing=0.1)) == loss_in_words(nn.CrossEntropyLoss())
    False
    """
    if isinstance(criterion, nn.Module):
        parts = {k: _part(v) for k, v in vars(criterion).items() if not k.startswith("_") and k != "training"}
        tensors = {k: _part(v) for k, v in criterion.state_dict().items()}
        return f"{type(criterion).__name__}({', '.join(f'{k}={v}' for k, v in sorted({**parts, **tensors}.items()))})"
    if isinstance(criterion, functools.partial):
        options = [*map(_part, criterion.args), *(f"{k}={_part(v)}" for k, v in sorted(criterion.keywords.items()))]
        return f"{loss_in_words(criterion.func)}({', '.join(options)})"
    name = getattr(criterion, "__qualname__", type(criterion).__name__)
    code = getattr(inspect.unwrap(criterion) if callable(criterion) else criterion, "__code__", None)
    if code is None or (getattr(criterion, "__module__", None) or "").split(".")[0] in ("torch", "dashpot"):
        return str(name)
    cells = [cell.cell_contents for cell in getattr(criterion, "__closure__", None) or ()]
    defaults = [*(criterion.__defaults__ or ()), *sorted((criterion.__kwdefaults__ or {}).items())]
    own = [*_refers(code), *map(_part, cells), *map(_part, defaults)]
    return f"{name} #{hashlib.blake2b(repr(own).encode(), digest_size=4).hexdigest()}"


def _refers(code: Any) -> list[str]:
    """The names and constants of a function, those of the functions in it included, without its docstring."""
    found = [*code.co_names, *code.co_freevars]
    for number, constant in enumerate(code.co_consts):
        if hasattr(constant, "co_names"):
            found += _refers(constant)
        elif not (number == 0 and isinstance(constant, str)):
            found.append(repr(constant))
    return found


def _part(value: Any) -> str:
    """A constant, an option or a neighbour of a loss."""
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{list(value.shape)}#{hashlib.blake2b(raw, digest_size=4).hexdigest()}"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_part, value))}]"
    return loss_in_words(value) if callable(value) else type(value).__name__


def check_settings(saved: Mapping[str, Any], own: Mapping[str, Any], folder: object) -> None:
    """Refuse to go on with another value of what both know.

    Raises:
        ConfigError: with the first that differs.
    """
    for name, value in saved.items():
        if name in own and own[name] != value:
            way = "Resume with that, or start in a new folder."
            raise ConfigError(name, f"{value!r} as in the saved run in {folder}", own[name], way)


def check_model(saved: Mapping[str, Any], own: Mapping[str, Any], model: str) -> None:
    """Refuse weights of another model, which has ``own``, before any is overwritten.

    Raises:
        ConfigError: with the names that differ.
    """
    parts = [f"{name} is not in this model" for name in saved if name not in own]
    parts += [f"{name} is not in the checkpoint" for name in own if name not in saved]
    parts += [
        f"{name} is {_shape(own[name])} here and {_shape(value)} in the checkpoint"
        for name, value in saved.items()
        if name in own and _shape(own[name]) != _shape(value)
    ]
    if parts:
        more = f"; and {len(parts) - 4} more" if len(parts) > 4 else ""
        raise ConfigError(
            "model",
            "the one that the checkpoint was made with",
            model,
            f"{'; '.join(parts[:4])}{more}. Resume with that model, or start in a new folder.",
        )


def _shape(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def check_optimizer(saved: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Refuse the state of an optimizer with other groups of parameters.

    Raises:
        ConfigError: with both.
    """
    theirs, own = (
        [len(group["params"]) for group in groups] for groups in (saved["param_groups"], optimizer.param_groups)
    )
    if theirs != own:
        way = "Make it as it was made, or start in a new folder."
        raise ConfigError("optimizer", f"one with groups of {theirs} parameters as in the saved run", own, way)


def check_schedule(
    history: list[dict[str, float]],
    optimizer: Optimizer,
    factor: Callable[[list[dict[str, float]]], Callable[[float], float]],
    epochs: int | None,
    steps: int,
) -> None:
    """Refuse a schedule that would have given other learning rates so far.

    Args:
        history: the saved run's, with the learning rate of the last step of each epoch, and, where it had a budget, the
            progress at which it was.
        factor: the schedule in the epoch after those that it gets.
        steps: of an epoch.

    Raises:
        ConfigError: with the first epoch that differs.
    """
    first = optimizer.param_groups[0]["initial_lr"]
    for number, row in enumerate(history):
        if "lr_progress" not in row and epochs is None:
            continue  # begun without a budget
        last = (row["epoch"] - 1 + (steps - 1) / steps) / (epochs or 1)
        rate = first * factor(history[:number])(row.get("lr_progress", last))
        if "lr" in row and not math.isclose(rate, row["lr"], rel_tol=1e-6, abs_tol=1e-12):
            raise ConfigError(
                "schedule",
                f"that of the saved run, whose learning rate was {row['lr']:g} at the end of epoch {row['epoch']:g}",
                rate,
                "Resume with that, or start in a new folder.",
            )
