"""What a session begins with: what it needs of a recipe, the optimizer under its wrappers, and no other session."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from dashpot.core.configured import Configured
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.running.sharded import split_over
from dashpot.core.running.view import ModelView


class Techniques(Protocol):
    """What a session asks of a :class:`~dashpot.core.recipe.Recipe`, which makes sessions."""

    def __iter__(self) -> Iterator[Configured]: ...

    def paths(self) -> list[str]: ...

    def to_dict(self) -> dict[str, Any]: ...


def plain_optimizer(optimizer: Any) -> Optimizer:
    """The optimizer whose ``step`` does the work, out of wrappers that keep it in ``.optimizer``.

    Raises:
        ConfigError: there is no torch optimizer in it.
    """
    refuse_keras(optimizer)
    found, innermost, seen = optimizer, None, set[int]()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        innermost = found if isinstance(found, Optimizer) else innermost
        found = getattr(found, "optimizer", None)
    if innermost is None:
        raise ConfigError(
            "optimizer",
            "a torch.optim.Optimizer, or a wrapper that keeps one in .optimizer",
            f"{type(optimizer).__module__}.{type(optimizer).__name__}",
        )
    return innermost


def refuse_keras(*held: Any) -> None:
    """Refuse optimizers and layers of Keras: its kernels are (in, out), and its embeddings would count as weights.

    Raises:
        ConfigError: one of them is.
    """
    for one in held:
        home = next((c.__module__ for c in type(one).__mro__ if c.__module__.split(".")[0] == "keras"), None)
        if home is not None:
            raise ConfigError(
                "what is attached to",
                "a torch.nn.Module and a torch.optim.Optimizer",
                f"{home}.{type(one).__name__}",
                "Keras is not supported: build the network of torch.nn's layers, and train it with torch's optimizers.",
            )


def this_rank() -> int:
    """This process's rank in a distributed run, else 0."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return 0


def rank_of_draws(view: ModelView) -> int:
    """:func:`this_rank`, but ranks that hold parts of one network have the same rows, and must draw alike: as the first
    of them.
    """
    mesh = split_over(view.parameters.values(), view.sharded)
    return this_rank() if mesh is None else int(mesh.mesh.min())


class Mark:
    """Marks a model, its parts and an optimizer as having an open session. The mark stays when the session object is
    deleted, since its hooks stay, too.
    """

    def __init__(self, recipe: str, view: ModelView) -> None:
        self._recipe, self._open = recipe, True
        for held in (*view.modules.values(), view.optimizer):
            _marks[held] = self

    def remove(self) -> None:
        self._open = False

    @staticmethod
    def refuse(view: ModelView) -> None:
        """Refuse a second session.

        Raises:
            ConflictError: one is open on the model, on a part of it, on what it is a part of, or on the optimizer.
        """
        parts = (("model" if not name else f"model's {name!r}", module) for name, module in view.modules.items())
        for name, held in (*parts, ("optimizer", view.optimizer)):
            mark = _marks.get(held)
            if mark is not None and mark._open:
                raise ConflictError(
                    f"this {name} ({type(held).__name__}) already carries an open session, of {mark._recipe}; two would"
                    " act twice. Close the old one first: call its close(), or leave its `with`."
                )


_marks: weakref.WeakKeyDictionary[Any, Mark] = weakref.WeakKeyDictionary()
