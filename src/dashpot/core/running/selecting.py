"""Whether what ``on`` selects is there: checked at attach, before any work."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter

from torch import nn
from torch.nn.parameter import is_lazy

from dashpot.core.errors import ConflictError
from dashpot.core.fields.select import Where
from dashpot.core.points import Points
from dashpot.core.running.computed import computed
from dashpot.core.running.view import ModelView


class SelectionWarning(UserWarning):
    """A technique selects parameters that it cannot act on now, or hardly."""


def demand_selected(technique: Points, view: ModelView) -> None:
    """Refuse an ``on`` that matches no parameter of the model, trainable or not.

    Raises:
        ConflictError: with what the model has, and the nearest name or type.

    Warns:
        SelectionWarning: the default ``on`` of the technique matches nothing in this model, or ``on`` nothing that the
            optimizer updates.
    """
    on = getattr(technique, "on", None)
    if isinstance(on, Where) and not (technique.defines("on_model") or technique.defines("on_build")):
        demand_parameters(technique, on, view)


def demand_parameters(technique: Points, on: Where, view: ModelView) -> None:
    """The same of a technique whose ``on`` is known to select parameters."""
    name = type(technique).__name__
    refuse_lazy(name, view.model)
    if not view.has(on):
        if any(on.matches(weight.role, own, weight.module) for own, weight in computed(view.modules).items()):
            return  # what computed weights are to a technique, it says itself
        told = f"{name}.on ({on}) matches no parameter of {type(view.model).__name__}, which has {_has(view)}."
        if str(on) != str(getattr(type(technique), "on", None)):
            raise ConflictError(told + _near(on, view))
        warnings.warn(f"{told} {name} does nothing here.", SelectionWarning, stacklevel=8)
    elif view.names(on) and not len(view.params(on)):
        some = ", ".join(view.names(on)[:3])
        warnings.warn(
            f"{name}.on ({on}) selects only parameters that the optimizer does not update ({some}), so that {name} does"
            " nothing until it does. Give them to the optimizer, or choose others.",
            SelectionWarning,
            stacklevel=8,
        )


def refuse_lazy(name: str, model: nn.Module) -> None:
    """Refuse a model with parameters that have no shape yet.

    Raises:
        ConflictError: with the way out.
    """
    lazy = [own for own, p in model.named_parameters() if is_lazy(p)]
    if lazy:
        raise ConflictError(
            f"{name} needs the shapes of parameters, and {lazy[0]} of {type(model).__name__} has none yet. Pass one"
            " batch through the model first."
        )


def refuse_sparse(technique: Points, view: ModelView) -> None:
    """Refuse gradients that come in sparse tensors, where a technique works on dense ones.

    Raises:
        ConflictError: with the way out.
    """
    on = getattr(technique, "on", None)
    if not technique.defines("on_gradient") or technique.sparse_gradients:
        return
    for name in view.names(on) if isinstance(on, Where) else view.parameters:
        layer = name.rpartition(".")[0]
        if getattr(view.modules[layer], "sparse", False) is True:
            told = type(technique).__name__
            raise ConflictError(
                f"{told} works on dense gradients, and {type(view.modules[layer]).__name__}(sparse=True) gives"
                f" {name!r} sparse ones. Make the layer with sparse=False"
                + (", or leave it out with `on`." if isinstance(on, Where) else f", or leave {told} out.")
            )


def _has(view: ModelView) -> str:
    """Some of the names of a model's parameters, and how many there are of each role."""
    roles = ", ".join(f"{role} {count}" for role, count in Counter(view.roles.values()).items())
    names = list(view.parameters)
    more = f", and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{', '.join(names[:6])}{more} ({roles})" if names else "no trainable parameters"


def _near(on: Where, view: ModelView) -> str:
    """The name or type of the model that is almost the one asked for."""
    types = sorted({cls.__name__ for module in view.modules.values() for cls in type(module).__mro__})
    for term in (term for clause in on.clauses for term in clause if not term.negated):
        known = {"name": list(view.parameters), "type": types}.get(term.kind, [])
        if near := difflib.get_close_matches(term.value, known, n=1):
            return f" Did you mean {term.kind}:{near[0]}?"
    return ""
