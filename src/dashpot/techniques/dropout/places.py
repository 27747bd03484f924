"""Where a dropout acts: what is asked of the model at attach, for every technique of this family."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dashpot.core.errors import ConflictError
from dashpot.core.fields.select import Where
from dashpot.core.rules import Rule
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView

BEFORE_NORM = Rule(
    "dropout-before-batch-norm",
    "a batch normalization behind it",
    "dropped values have a larger variance in training than all of them in evaluation, where the normalization uses the"
    " statistics of training (Li et al., CVPR 2019).",
    "warned",
    "place it behind the last batch normalization with on=.",
)


class DropoutOrderWarning(UserWarning):
    """Dropout stands before a batch normalization."""


class SingleEpochWarning(UserWarning):
    """Dropout in a run that sees every sample once."""


def refuse_nowhere(technique: Any, view: ModelView, way: str) -> None:
    """Say that no module is selected.

    Raises:
        ConflictError: with the nearest name or type, and the way out.
    """
    last = ""
    if technique.on.names_role("hidden") and view.ending:
        last = f" The output of {shown(view.ending)} is the network's, which `hidden` leaves out; name it to drop it."
    raise ConflictError(
        f"{type(technique).__name__}.on ({technique.on}) matches no module of {type(view.model).__name__}."
        f"{_nearest(technique.on, view)}{last} {way}"
    )


def _nearest(on: Where, view: ModelView) -> str:
    """The modules whose names or types are almost those asked for."""
    types = sorted({cls.__name__ for m in view.modules.values() for cls in type(m).__mro__} - {"object", "Module"})
    for term in (term for clause in on.clauses for term in clause if not term.negated):
        known = {"name": [name for name in view.modules if name], "type": types}.get(term.kind, [])
        if near := difflib.get_close_matches(term.value, known, n=2, cutoff=0.5):
            return f" Did you mean {' or '.join(f'{term.kind}:{name}' for name in near)}?"
    return ""


def warn_before_norm(technique: Any, view: ModelView, places: Sequence[str], stacklevel: int = 8) -> None:
    """Say where a batch normalization follows, whose variance differs then between training and evaluation."""
    names = list(view.modules)
    for place in places:
        after = next((n for n in names[names.index(place) + 1 :] if isinstance(view.modules[n], _NormBase)), None)
        if after is not None and technique.p != 0:
            warnings.warn(
                f"{type(technique).__name__} at {place!r} stands before the batch normalization {after!r}, whose"
                " statistics it shifts between training and evaluation. Place it after the last one with on=.",
                DropoutOrderWarning,
                stacklevel=stacklevel,
            )
            return


def warn_single_epoch(technique: Any, ctx: Context, stacklevel: int = 8) -> None:
    """Say where the run is one epoch at most: each sample is new then, and there is nothing to overfit to."""
    steps, epoch = ctx.steps, ctx.steps_per_epoch
    if technique.p != 0 and steps is not None and epoch is not None and 1 < steps <= epoch:
        warnings.warn(
            f"{type(technique).__name__} in a run of one epoch ({steps} steps): every sample is seen once, so there is"
            " little to overfit to, and dropout mostly slows learning. Leave it out, or train for several epochs.",
            SingleEpochWarning,
            stacklevel=stacklevel,
        )


def shown(places: Mapping[str, nn.Module] | Sequence[str]) -> str:
    """The first names and how many more there are."""
    names = list(places)
    return ", ".join(names[:4]) + (f", ... {len(names) - 4} more" if len(names) > 4 else "")
