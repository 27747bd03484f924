"""``Held``: a session whose loop belongs to a framework, which evaluates, saves and resumes by means of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.recipe import Recipe
from dashpot.core.running.session import Session
from dashpot.core.running.tensors import put, tensors

Entry = dict[str, Any]
"""What a framework's checkpoint keeps for us: the session's state, and the weights that go on training."""


class Held:
    """An open session, with the weights of evaluation in the model or not.

    Modes of modules are the framework's to set: putting weights in and out leaves them as they are.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.integrations.held import Held
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> held = Held(dashpot.EMA().attach(model, optimizer))
        >>> with held.evaluated():
        ...     entry = held.entry()
        >>> sorted(entry), held.inside, held.close()
        (['raw', 'session'], False, None)
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._inside: contextlib.ExitStack | None = None

    @property
    def inside(self) -> bool:
        """Whether the model holds the weights of evaluation."""
        return self._inside is not None

    def enter(self) -> None:
        """Put the weights of evaluation into the model; again changes nothing."""
        if self._inside is None:
            with _modes_kept(self.session.view.wrapper):
                stack = contextlib.ExitStack()
                stack.enter_context(self.session.evaluate())
                self._inside = stack

    def leave(self) -> None:
        """Put the weights that train back; again changes nothing."""
        if self._inside is not None:
            stack, self._inside = self._inside, None
            with _modes_kept(self.session.view.wrapper):
                stack.close()

    @contextlib.contextmanager
    def evaluated(self) -> Iterator[None]:
        """The weights of evaluation, for a while."""
        before = self.inside
        self.enter()
        try:
            yield
        finally:
            if not before:
                self.leave()

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """The weights that train, for a while: nothing is saved in the middle of an exchange."""
        before = self.inside
        self.leave()
        try:
            yield
        finally:
            if before:
                self.enter()

    def entry(self) -> Entry:
        """What resumes this session, in plain containers, numbers and tensors."""
        with self.raw():
            raw = {name: value.detach().clone() for name, value in tensors(self.session.view.model).items()}
            return {"session": _detached(self.session.state_dict()), "raw": raw}

    def restore(self, entry: Mapping[str, Any]) -> None:
        """Go on where the entry was taken.

        Raises:
            ConfigError: it belongs to another recipe, seed or model.
        """
        with self.raw():
            self.session.load_state_dict(entry["session"])
            put(tensors(self.session.view.model), entry["raw"])

    def weights(self) -> dict[str, Any]:
        """The state dict that evaluation sees, with the names of the model as it was built."""
        if replaces(self.session):
            with self.raw():
                return dict(self.session.export(final=False).state_dict())
        with self.evaluated():
            state = self.session.view.model.state_dict()
            return {name: v.detach().clone() if isinstance(v, Tensor) else v for name, v in state.items()}

    def finish(self) -> None:
        """The final weights into the model, and every hook away."""
        self.leave()
        try:
            self.session.finish()
        finally:
            self.session.close()

    def close(self) -> None:
        """Every hook away; the model keeps the weights that train."""
        self.leave()
        self.session.close()


def replaces(session: Session) -> bool:
    """Whether modules of the model are replaced while it trains, so that its state dict has other names."""
    return any(technique.defines("on_build") for technique, _ in session.attached)


def acts_on(recipe: Recipe, *points: str) -> list[str]:
    """The classes of the techniques that act at one of these points."""
    return [type(technique).__name__ for technique in recipe if any(map(technique.defines, points))]


def refuse_closures(recipe: Recipe, why: str) -> None:
    """Refuse what needs a second gradient where the loop gives none, for the reason ``why``; an empty one is no reason.

    Raises:
        ConflictError: with the reason, which names the way out.
    """
    needy = [type(technique).__name__ for technique in recipe if technique.requires.closure]
    if needy and why:
        raise ConflictError(f"{', '.join(needy)} needs a second gradient in each step, but {why}")


def scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among a framework's metrics. What it calls ``eval_loss`` or ``valid_loss`` is ``val_loss``, too.

    >>> scores({"eval_loss": torch.tensor(0.5), "event": "epoch"})
    {'eval_loss': 0.5, 'val_loss': 0.5}
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            continue
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            continue
    for name in list(found):
        head, _, rest = name.partition("_")
        if head in ("eval", "valid") and rest:
            found.setdefault(f"val_{rest}", found[name])
    return found


def demand_module(model: Any, parameter: str = "module") -> nn.Module:
    """A torch module.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(parameter, "a torch.nn.Module", type(model).__name__)
    return model


def demand_optimizer(found: list[Any], index: int | None) -> Optimizer:
    """The one optimizer that the recipe is for.

    Raises:
        ConflictError: there is none, or there are several and nobody said which.
    """
    if not found:
        raise ConflictError("there is no optimizer to attach to. Return one from configure_optimizers.")
    if index is None and len(found) > 1:
        names = ", ".join(f"{i}: {type(one).__name__}" for i, one in enumerate(found))
        raise ConflictError(f"there are {len(found)} optimizers ({names}). Say which the recipe is for: optimizer=0.")
    if not 0 <= (index or 0) < len(found):
        raise ConfigError("optimizer", f"the number of an optimizer, 0 to {len(found) - 1}", index)
    chosen: Optimizer = found[index or 0]
    return chosen


@contextlib.contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    """Whatever happens inside, each module has its mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _detached(tree: Any) -> Any:
    """Plain containers all the way down, with copies of the tensors."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: _detached(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map(_detached, tree))
    return tree
