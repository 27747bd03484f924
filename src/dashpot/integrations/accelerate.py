"""Hugging Face Accelerate: attach a recipe to what ``accelerator.prepare`` returned."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, ConflictError, UsageError
from dashpot.core.recipe import Recipe
from dashpot.core.running.session import Session
from dashpot.core.running.view import unwrap
from dashpot.integrations.held import Held, refuse_closures, replaces


def attach(
    recipe: Any,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    *,
    closure: bool = False,
    **options: Any,
) -> Session:
    """Attach a recipe after ``accelerator.prepare``, so that Accelerate saves and resumes it.

    ``accelerator.save_state`` writes averaged weights as the model's, where the recipe keeps any, and the session with
    the weights that train beside them; ``load_state`` goes on from there. ``optimizer.eval()`` puts the weights of
    evaluation into the model and ``optimizer.train()`` those that train, as for schedule-free optimizers; ``with
    session.evaluate()`` does both.

    Args:
        recipe: a recipe, a technique, or text.
        accelerator: the one that prepared both.
        model, optimizer: as they came out of ``prepare``.
        closure: the loop calls ``optimizer.step(closure)`` with a closure over the whole step.
        options: further arguments of :meth:`dashpot.Recipe.attach`.

    Returns:
        The session. Close it, or use it in ``with``.

    Raises:
        ConfigError: no accelerator, or an optimizer that ``prepare`` has not seen.
        ConflictError: SAM where a closure is not the whole step, DeepSpeed, Megatron or FSDP, a second session.

    Example:
        >>> import torch, dashpot
        >>> from accelerate import Accelerator
        >>> from dashpot.integrations.accelerate import attach
        >>> accelerator = Accelerator(cpu=True)
        >>> model = torch.nn.Linear(4, 1)
        >>> model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> with attach("l1:strength=0.1 | ema", accelerator, model, optimizer) as session:
        ...     accelerator.backward(model(torch.randn(8, 4)).square().mean())
        ...     optimizer.step(); optimizer.zero_grad()
        >>> session.step
        1
    """
    found = Recipe.coerce(recipe)
    if not isinstance(accelerator, Accelerator):
        raise ConfigError("accelerator", "an accelerate.Accelerator", type(accelerator).__name__)
    if optimizer not in accelerator._optimizers:
        raise ConfigError(
            "optimizer",
            "the one that accelerator.prepare returned",
            type(optimizer).__name__,
            "Call model, optimizer, ... = accelerator.prepare(model, optimizer, ...) first.",
        )
    kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
    if kind in ("DEEPSPEED", "MEGATRON_LM"):
        raise ConflictError(f"{kind} makes its own steps, which a recipe cannot see. Use DDP or one process.")
    if kind == "FSDP":
        raise ConflictError(
            "FSDP inside Accelerate saves shards by means of its own, which do not know the weights of evaluation. Use"
            " DDP, or FSDP2 in a loop of your own."
        )
    if closure and accelerator.gradient_accumulation_steps > 1:
        steps = accelerator.gradient_accumulation_steps
        refuse_closures(
            found,
            f"with gradient_accumulation_steps={steps} the closure of a step holds the last micro-batch only. Let the"
            " closure go through all micro-batches itself, with an Accelerator of gradient_accumulation_steps=1.",
        )
    if getattr(accelerator, "scaler", None) is not None:
        refuse_closures(found, "a gradient scaler takes no closure. Use mixed_precision='bf16' or none.")
    session = found.attach(model, optimizer, closure=closure, **options)
    held = Held(session)
    keeps = [accelerator.register_save_state_pre_hook(functools.partial(_save_evaluated, held))]
    keeps.append(_speaks(session.optimizer, held))
    kept = Kept(held)
    accelerator.register_for_checkpointing(kept)

    def closed() -> None:
        for handle in keeps:
            handle.remove()
        accelerator._custom_objects.remove(kept)

    _when_closed(session, closed)
    return session


class Kept:
    """What ``accelerator.save_state`` keeps of a session."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def state_dict(self) -> dict[str, Any]:
        return self._held.entry()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._held.restore(state)


def _save_evaluated(held: Held, models: list[nn.Module], weights: list[Any], folder: str) -> None:
    """The weights of evaluation as the model's. Where modules are replaced their names are others, and
    ``load_state`` needs these: then the file keeps what trains.
    """
    if replaces(held.session):
        return
    for place, one in enumerate(models[: len(weights)]):
        if unwrap(one) is held.session.view.model:  # Accelerate lists it as it was, or in its wrapper
            weights[place] = _renamed(held.weights(), weights[place])


def _renamed(values: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """With the names of ``like``, which a wrapper may have put ``module.`` before."""
    prefix = "module." if like and all(name.startswith("module.") for name in like) else ""
    prefix = "" if values.keys() == like.keys() else prefix
    return {f"{prefix}{name}": value for name, value in values.items()}


class _speaks:  # noqa: N801  (a handle, made like a call)
    """Schedule-free's protocol on an optimizer, for loops that know it: ``eval()``, ``train()``."""

    def __init__(self, optimizer: Optimizer, held: Held) -> None:
        self._optimizer = optimizer
        self._mine = not hasattr(optimizer, "eval") and not hasattr(optimizer, "train")
        if self._mine:
            optimizer.eval, optimizer.train = held.enter, held.leave  # type: ignore[attr-defined]  # the protocol

        def guard(*_: Any) -> None:
            if held.inside:
                raise UsageError(
                    "optimizer.step() came while the model holds the weights of evaluation. Call optimizer.train()"
                    " first."
                )

        self._handle = optimizer.register_step_pre_hook(guard)

    def remove(self) -> None:
        self._handle.remove()
        if self._mine:
            del self._optimizer.eval, self._optimizer.train  # type: ignore[attr-defined]  # the protocol


def _when_closed(session: Session, work: Callable[[], None]) -> None:
    """Do ``work`` when the session closes."""
    close = session.close

    def closed() -> None:
        session.close = close  # type: ignore[method-assign]  # its own again
        work()
        close()

    session.close = closed  # type: ignore[method-assign]  # once
