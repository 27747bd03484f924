"""Changes of what a network makes of its inputs: where samples can be moved that are no numbers themselves."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.select import Where
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle

INPUT = ""
"""The place of the input itself."""
Change = Mapping[str, Tensor]


def places(view: ModelView) -> Sequence[str]:
    """The modules whose outputs are changed where the input cannot be.

    A model may say them: ``embeds_at`` names where the vectors of a sample's words pass, ``mixes_at`` where all that it
    knows of a sample does. Otherwise they are its embeddings.
    """
    said = _said(view.model)
    if said:
        return [name for name in said if name in view.modules]
    return list(view.places(Where.role("embeddings")))


def check_places(technique: str, view: ModelView) -> None:
    """Raise ConflictError where a model names places and has none of them."""
    said = _said(view.model)
    if said and not places(view):
        raise ConflictError(
            f"{technique} finds none of {', '.join(said)}, where {type(view.model).__name__} says by embeds_at or"
            " mixes_at that samples can be changed."
        )


def _said(model: nn.Module) -> Sequence[str]:
    own: Sequence[str] = getattr(model, "embeds_at", ())
    return own or next(iter(getattr(model, "mixes_at", ())), ())


def lengths(change: Change) -> Tensor:
    """Of each sample, over all places together, float32 or wider [batch]."""
    return (
        torch.stack([at_least_float32(t).reshape(len(t), -1).square().sum(dim=1) for t in change.values()])
        .sum(0)
        .sqrt()
    )


def at_least_float32(t: Tensor) -> Tensor:
    """Squares of 16 bits would overflow."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def scaled(change: Change, factor: Tensor) -> dict[str, Tensor]:
    """Times a number of each sample, without a graph."""
    return {name: (t * factor.to(t.dtype).reshape(-1, *[1] * (t.ndim - 1))).detach() for name, t in change.items()}


def unit(change: Change, otherwise: Change | None = None) -> dict[str, Tensor]:
    """Of length 1 for each sample, over all places together; ``otherwise`` where the length is 0."""
    length = lengths(change)
    found = scaled(change, 1 / length.clamp(min=torch.finfo(torch.float32).tiny))
    if otherwise is None:
        return found
    return {
        name: torch.where(length.reshape(-1, *[1] * (t.ndim - 1)) > 0, t, otherwise[name]) for name, t in found.items()
    }


class Shifts:
    """Changes what modules return in passes that ask for it, and knows what they returned in the loop's pass.

    Args:
        ctx: of the technique.
        graph: whether what they returned is kept with its graph, for gradients; until :meth:`forget` or the next pass.
    """

    def __init__(self, ctx: Context, *, graph: bool = False) -> None:
        self._ctx, self._graph = ctx, graph
        self._change: Change = {}
        self._seen: dict[str, Tensor] = {}
        self._done: set[str] = set()
        self._training = False

    @staticmethod
    def on(view: ModelView, ctx: Context, *, graph: bool = False) -> list[Handle]:
        """Those of a session, with their hooks in its model."""
        shifts = _shifts[ctx] = Shifts(ctx, graph=graph)
        eager: Any = torch.compiler.disable  # only here is the compiler imported, which takes seconds
        return [
            view.model.register_forward_pre_hook(eager(shifts.begin)),
            *(view.modules[name].register_forward_hook(eager(shifts.of(name))) for name in places(view)),
        ]

    @staticmethod
    def of_session(ctx: Context) -> Shifts:
        """Those that :meth:`on` made."""
        return _shifts[ctx]

    def begin(self, module: nn.Module, args: Any) -> None:
        """A pass of the model begins. Parts that are frozen are in evaluation mode, while the model trains."""
        self._done.clear()
        self._training = module.training
        if not self._ctx.extra:
            self._seen = {}

    def of(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        """The hook of a module; its first call in a pass counts."""

        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            if not self._training or name in self._done or not isinstance(out, Tensor) or not out.is_floating_point():
                return None
            self._done.add(name)
            if self._ctx.extra:
                return out + self._change[name].to(out.dtype) if name in self._change else None
            if not self._graph:
                self._seen[name] = out.detach()
                return None
            # Vectors that are not trained have no graph of their own.
            kept = out if out.requires_grad or not torch.is_grad_enabled() else out.detach().requires_grad_()
            self._seen[name] = kept
            return kept

        return hook

    def forget(self) -> None:
        """What was returned in the loop's pass, and its graph."""
        self._seen = {}

    def hidden(self, technique: str, samples: int) -> Change:
        """What the places returned, of those that have a row for each sample: tables of positions have one for all.

        Raises:
            UsageError: there are none.
        """
        found = {name: t for name, t in self._seen.items() if len(t) == samples}
        if not found:
            raise UsageError(
                f"{technique} cannot change these inputs: the model says by embeds_at or mixes_at no place where"
                f" samples can be changed, and no embeddings give a row for each. Leave {technique} out."
            )
        return found

    def shifted(self, change: Change) -> _Shifted:
        """Passes inside see the change."""
        return _Shifted(self, change)


class _Shifted:
    def __init__(self, shifts: Shifts, change: Change) -> None:
        self._shifts, self._to = shifts, change

    def __enter__(self) -> None:
        self._shifts._change = self._to

    def __exit__(self, *error: object) -> None:
        self._shifts._change = {}


def kinds(shifts: Shifts, batch: Batch, technique: str, samples: int) -> Change:
    """What is changed, by place: the input where it is a floating-point tensor, else hidden vectors."""
    if isinstance(batch.x, Tensor) and batch.x.is_floating_point():
        return {INPUT: batch.x}
    return shifts.hidden(technique, samples)


_shifts: weakref.WeakKeyDictionary[Context, Shifts] = weakref.WeakKeyDictionary()
"""Of each session with such a technique: what a pass returned is no part of the state that is kept."""
