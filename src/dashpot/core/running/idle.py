"""Optimizer steps that are none, and sessions that see no step."""

from __future__ import annotations

import warnings

from torch import Tensor
from torch.optim import Optimizer

from dashpot.core.running.run import Run


class IdleSessionWarning(UserWarning):
    """A session's techniques did not act: what trains is not the model or the optimizer that they are attached to."""


WAY_OUT = (
    "If the model or the optimizer was copied or made anew after the recipe was attached, attach to those that train."
)


def allocates(optimizer: Optimizer) -> bool:
    """Whether this step only makes the optimizer's state, as ``torch.distributed.checkpoint`` does before it saves or
    loads a fresh one: at a learning rate of 0, with gradients of zeros.
    """
    if optimizer.state or not optimizer.param_groups:
        return False
    rates = [group.get("lr", 1.0) for group in optimizer.param_groups]
    if any(bool(rate.any() if isinstance(rate, Tensor) else rate) for rate in rates):
        return False
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return bool(grads) and not any(bool(grad.any()) for grad in grads)


def warn_idle(run: Run) -> None:
    """Say once that a step changed nothing of the model."""
    if not run.warned:
        run.warned = True
        warnings.warn(
            f"optimizer.step() found no gradient on any parameter of {type(run.view.model).__name__}, so the recipe"
            f" does not act and the step does not count. {WAY_OUT}",
            IdleSessionWarning,
            stacklevel=4,
        )


def warn_unused(run: Run, names: list[str]) -> None:
    """Say at the end that the session saw no step at all, where ``names`` act in steps only."""
    if names and not (run.asked or run.began or run.warned):
        warnings.warn(
            f"this session saw no optimizer step, so {', '.join(names)} never acted. {WAY_OUT}",
            IdleSessionWarning,
            stacklevel=3,
        )
