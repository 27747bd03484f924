"""What a Lightning trainer says of its loop: its closure, its lengths, its hyper-parameters."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch.nn.parallel import DistributedDataParallel

from dashpot.core.configured import Configured
from dashpot.core.errors import ConflictError
from dashpot.core.fields.text import write
from dashpot.core.recipe import Recipe
from dashpot.core.running.passes import demand_same_recipe
from dashpot.integrations.held import acts_on


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


def around(trainer: pl.Trainer, recipe: Recipe) -> DistributedDataParallel | None:
    """The DistributedDataParallel that the strategy has put around the whole module; None in one process.

    Raises:
        ConflictError: a strategy that a recipe cannot follow, or one that the recipe cannot; ranks with other recipes
            than each other.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise ConflictError(
            f"{type(strategy).__name__} shards or replaces the module's parameters, which a recipe cannot follow in"
            " Lightning. Use strategy='ddp', or FSDP2 in a loop of your own."
        )
    if getattr(strategy, "_model_averager", None) is not None:
        raise ConflictError(
            "post-local SGD averages the weights of the ranks between steps, which would undo what a recipe did. Use"
            " strategy='ddp' without ddp_comm_state."
        )
    if not isinstance(strategy.model, DistributedDataParallel):
        return None
    demand_same_recipe(str(recipe), strategy.model)
    builds = acts_on(recipe, "on_build")
    if builds:
        raise ConflictError(
            f"{', '.join(builds)} replaces modules, and Lightning's DistributedDataParallel knows those that were there"
            " before. Use one process, or a loop of your own that attaches first and wraps then."
        )
    return strategy.model


def common(trainer: pl.Trainer, found: dict[str, float]) -> dict[str, float]:
    """The scores that all ranks have, in one order: a module may log some on one rank only."""
    if trainer.world_size == 1:
        return found
    names: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(names, set(found))
    return {name: found[name] for name in sorted(set.intersection(*names))}


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
