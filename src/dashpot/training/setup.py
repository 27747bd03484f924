"""The setup of a training: device, optimizer, schedule, and the number of outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range, check_number
from dashpot.core.running.attach import plain_optimizer
from dashpot.training.finetune import finetune_groups

WARMUP = 0.25
"""The share of a run in which ``"one-cycle"`` reaches the full learning rate."""


def pick_device(device: str | torch.device) -> torch.device:
    """``"auto"``: a CUDA device if there is one, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        place = torch.empty(0, device=place).device  # with its number, so that it equals that of tensors there
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(
            "device", "auto, cpu, or a device that this machine has", str(device), str(error).splitlines()[0]
        ) from None
    return place


def adamw_for(model: nn.Module, given: Any, lr: float, decay: float = 1.0) -> Optimizer:
    """The optimizer that was given, or AdamW without decay, for all trainable parameters; earlier stages, and parts of
    which the network says that they were trained before, may have smaller learning rates.

    Raises:
        ConfigError: nothing to train, a ``decay`` outside (0, 1], or one beside an optimizer.
    """
    decay = check_number("lr_decay", decay, Range(0.0, 1.0, open="low"))
    if decay != 1.0 and given is not None:
        way = "Give the optimizer dashpot.finetune_groups(model, lr, decay)."
        raise ConfigError("lr_decay", "1 where an optimizer is given", decay, way)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError("model", "a module with trainable parameters", type(model).__name__)
    before = bool(getattr(model, "pretrained", {}))
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    optimizer = (
        plain_optimizer(given)
        if isinstance(given, Optimizer) or hasattr(given, "optimizer")
        else given(parameters)
        if given
        else torch.optim.AdamW(
            # Of groups the head's comes first: it has the rate that is shown.
            parameters if decay == 1.0 and not before else finetune_groups(model, lr, decay)[::-1],
            lr=lr,
            weight_decay=0.0,
            fused=fused,
        )
    )
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", float(group["lr"]))
    return optimizer


def schedule_of(schedule: str | Callable[[float], float]) -> Callable[[float], float]:
    """A schedule by its name, or the function itself."""
    if callable(schedule):
        return schedule
    known: dict[str, Callable[[float], float]] = {
        "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
        "constant": lambda t: 1.0,
        # Up in a quarter of the run, then down to zero (Smith and Topin, "Super-Convergence", 2019).
        "one-cycle": lambda t: t / WARMUP if t < WARMUP else (1 - t) / (1 - WARMUP),
    }
    if schedule not in known:
        raise ConfigError("schedule", f"one of {', '.join(known)}, or a function", schedule)
    return known[schedule]
