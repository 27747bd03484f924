"""A network that :class:`~dashpot.Compress` has emptied in parts, without these parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called, map_tensors, moved
from dashpot.core.running.session import Session
from dashpot.shrinking.shrink import Shrunk, shrink_exactly
from dashpot.shrinking.value import mapped
from dashpot.techniques.penalties.compress import Compress


def compressed(session: Session, model: nn.Module, x: Any) -> Shrunk | None:
    """The small network of a training that has ended, where its recipe makes one.

    Args:
        session: closed.
        model: with its final weights.
        x: a batch of inputs, as the data hold it.
    """
    made = [(t, ctx) for t, ctx in session.attached if isinstance(t, Compress) and ctx.state["gone"]]
    if not made:
        return None
    technique, ctx = made[0]
    plain, device = session.view.model, next(model.parameters()).device
    example = technique.example(ctx)
    args, kwargs = _asked(plain, x) if example is None else mapped(example, lambda leaf: moved(leaf, device))
    return shrink_exactly(plain, tuple(args), dict(kwargs))


def _asked(model: nn.Module, x: Any) -> tuple[Any, Any]:
    """What the network is called with, two rows, where no training pass was seen: a run that is over was resumed."""
    seen: list[tuple[Any, Any]] = []

    def look(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append((args, kwargs))

    def two(leaf: Tensor) -> Tensor:
        rows = torch.cat([leaf[:2], leaf[:1]])[:2] if leaf.ndim else leaf
        return rows.float() / 255 if rows.dtype == torch.uint8 else rows

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        with evaluating(model), torch.no_grad():
            called(model, map_tensors(two, x))
    finally:
        handle.remove()
    return seen[0]
