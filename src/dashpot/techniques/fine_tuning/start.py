"""The weights that a fine-tuning starts from, kept in the state of the technique that needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.core.fields.select import Where
from dashpot.core.running.context import Context, State
from dashpot.core.running.state import without
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stages import head_or_none


def begun(tensors: Mapping[str, Tensor]) -> State:
    """The state: the weights as they are now, and the names of those that came later, which have no start."""
    return {"start": {name: tensor.detach().clone() for name, tensor in tensors.items()}, "new": []}


def begun_without(state: State, gone: frozenset[str]) -> State:
    """The state when tensors of these names left the model: whoever has their names later is new."""
    left: State = without(state, gone)
    return left | {"new": sorted({*state["new"], *gone})}


def started(params: Params, ctx: Context) -> list[tuple[str, Tensor, Tensor]]:
    """Name, parameter and start of each that has one; of one that was unfrozen since, this is where it starts."""
    start: dict[str, Tensor] = ctx.state["start"]
    new = set(ctx.state["new"])
    found = []
    for name, w, _ in params:
        if name not in new:
            if name not in start:
                start[name] = w.detach().clone()
            found.append((name, w, start[name]))
    return found


def is_below(name: str, part: str) -> bool:
    """Whether a parameter or module belongs to a part of the network, of which there may be none (``""``)."""
    return bool(part) and (name == part or name.startswith(f"{part}."))


def without_head(on: Where, view: ModelView) -> list[str]:
    """The parameters that ``on`` selects. Where it speaks of roles only, the output layer is left out."""
    head = "" if on.names_parts() else head_or_none(view.model)
    return [name for name in view.names(on) if not is_below(name, head)]


def refuse_none(technique: Any, view: ModelView) -> None:
    """Say that no parameter is selected.

    Raises:
        ConflictError: with the way out.
    """
    raise ConflictError(
        f"{type(technique).__name__}.on ({technique.on}) matches no trainable parameter of {type(view.model).__name__}"
        " but those of its output layer, which is left out unless `on` names it, such as on='name:head.*'. It has"
        f" {', '.join(list(view.parameters)[:6]) or 'no trainable parameters'}."
    )
