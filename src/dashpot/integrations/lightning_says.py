"""What a Lightning trainer says of its loop: its closure, its lengths, its hyper-parameters."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl

from dashpot.core.configured import Configured
from dashpot.core.fields.text import write
from dashpot.core.recipe import Recipe


def no_closure(trainer: pl.Trainer, pl_module: pl.LightningModule) -> str:
    """Why the trainer gives the optimizer no closure over the whole step; empty where it does."""
    if not pl_module.automatic_optimization:
        return (
            "with manual optimization Lightning's optimizer.step() passes a closure that does nothing. Use automatic"
            " optimization, or leave it out."
        )
    if trainer.accumulate_grad_batches > 1:
        return (
            f"with accumulate_grad_batches={trainer.accumulate_grad_batches} Lightning's closure holds the last"
            " micro-batch only. Use accumulate_grad_batches=1 with larger batches, or leave it out."
        )
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return 'a gradient scaler takes no closure. Use precision="bf16-mixed" or "32-true", or leave it out.'
    if trainer.strategy.handles_gradient_accumulation:
        return f"{type(trainer.strategy).__name__} evaluates no closure of the loop's. Use another strategy."
    return ""


def validations(trainer: pl.Trainer) -> list[float]:
    """Batches of each validation loader."""
    found = trainer.num_val_batches
    return [1.0 if math.isinf(n) else float(n) for n in (found if isinstance(found, list) else [found])]


def lengths(trainer: pl.Trainer) -> tuple[int | None, int | None]:
    """Optimizer steps of the run and of an epoch, where Lightning can tell."""
    steps = trainer.estimated_stepping_batches
    batches = trainer.num_training_batches
    per_epoch = math.ceil(batches / trainer.accumulate_grad_batches) if math.isfinite(batches) and batches else None
    return int(steps) if math.isfinite(steps) and steps > 0 else None, per_epoch


def plain(value: Any) -> Any:
    """A recipe as text; anything else as it is."""
    if isinstance(value, Recipe | Configured):
        return " | ".join(map(write, Recipe.coerce(value)))
    return value
