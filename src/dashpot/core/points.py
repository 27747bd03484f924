"""The points of a training step at which a technique may act."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from dashpot.core.requires import Requires
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context, State
from dashpot.core.running.cut import Cut
from dashpot.core.running.state import without
from dashpot.core.running.view import ModelView, Params

Scores = Mapping[str, float]
T = TypeVar("T")
POINTS = (
    *("on_build", "on_model", "on_batch", "on_loss", "on_gradient", "on_update", "on_step", "on_epoch"),
    *("weights", "final"),
)


@runtime_checkable
class Handle(Protocol):
    """What ``on_model`` returns: something that can be taken away again."""

    def remove(self) -> None: ...


@dataclass(frozen=True)
class Verdict:
    """What a technique decides after an epoch, by its scores.

    Attributes:
        stop: training should end here.
        best: this epoch is the best so far.
        reason: why, in a few words.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(1, 1)
        >>> session = dashpot.EarlyStopping(patience=1).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.epoch({"val_loss": 2.0})
        Verdict(stop=False, best=True, reason='')
        >>> session.epoch({"val_loss": 3.0}).reason
        'val_loss has not improved for 1 epoch; best 2 at epoch 1'
    """

    stop: bool = False
    best: bool = False
    reason: str = ""


class Points:
    """The methods that a session calls. :class:`~dashpot.core.technique.Technique` adds fields, names and
    combinations.
    """

    summary: ClassVar[str]
    exclusive: ClassVar[tuple[str, ...]]
    order: ClassVar[int]
    evaluations: ClassVar[int]
    forwards: ClassVar[int] = 0
    sparse_gradients: ClassVar[bool] = False
    shards: ClassVar[bool] = True
    every_parameter: ClassVar[bool] = False
    together: ClassVar[Any] = None  # a static method, which mypy takes for a bound one
    takes_bytes: ClassVar[bool] = False
    waits: ClassVar[bool] = False
    requires: ClassVar[Requires]

    def check(self, view: ModelView, ctx: Context) -> None:
        """Refuse at attach, before any work, what this technique cannot do for this model; raise ConflictError."""

    def acts_on(self, view: ModelView) -> Iterable[str]:
        """The parameters or modules for which it holds its exclusive slots; ``""`` is the whole model."""
        return ("",)

    def claims(self, view: ModelView) -> Iterable[tuple[str, str]]:
        """The (slot, target) pairs that no other technique of the recipe may hold, such as ``("dropout",
        "body.2")``.
        """
        return [(slot, target) for slot in self.exclusive for target in self.acts_on(view)] if self.exclusive else ()

    def on_build(self, view: ModelView, ctx: Context) -> Mapping[str, nn.Module]:
        """Modules by name to put in the place of the model's own, such as ``{"body.1": GhostNorm(...)}``; once, at
        attach, before everything else.

        ``close()`` puts the originals back, and ``export()`` contains them. What must survive that lives in tensors
        or modules that the new module shares with the original, or is written there by :meth:`settle`. Parameters that
        go leave the optimizer, new ones join it.
        """
        raise NotImplementedError  # the session calls only what a class overrides

    def settle(self, original: nn.Module, new: nn.Module) -> None:
        """Write into a module that comes back what the one in its place by :meth:`on_build` has learned; at
        ``close()``, and in each export.
        """

    def init(self, view: ModelView, ctx: Context) -> State:
        """Named tensors and numbers to keep between steps; tensors are keyed by parameter name."""
        return {}

    def forget(self, gone: frozenset[str], ctx: Context) -> None:
        """Drop what the state holds for tensors of these names: they are no longer in the model, or others have their
        names. By default all that stands under such a name goes, and mentions of it in lists.
        """
        ctx.state = without(ctx.state, gone)

    def resized(self, cut: Cut, ctx: Context) -> State:
        """The state for the model after a cut that makes tensors of it smaller; raise ConflictError where there is
        none. By default what stays of each tensor that stands under the name of one of the model's.
        """
        state: State = cut.tree(ctx.state, ctx.path)
        return state

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        """Install hooks: at attach, and again where modules of the model were replaced since (the old ones are taken
        away before).
        """
        raise NotImplementedError  # the session calls only what a class overrides

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        """Change input and target of one micro-batch; never in place."""
        raise NotImplementedError  # the session calls only what a class overrides

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        """Change the per-sample loss, before it is reduced once by the session."""
        raise NotImplementedError  # the session calls only what a class overrides

    def on_gradient(self, params: Params, ctx: Context) -> Generator[None, None, None] | None:
        """Change gradients. As a generator, a bare ``yield`` means: evaluate loss and gradients again."""
        raise NotImplementedError  # the session calls only what a class overrides

    def on_update(self, params: Params, ctx: Context) -> None:
        """Change weights just before the optimizer's update; the gradients are final."""
        raise NotImplementedError  # the session calls only what a class overrides

    def on_step(self, params: Params, ctx: Context) -> None:
        """Change weights or state just after the optimizer's update."""
        raise NotImplementedError  # the session calls only what a class overrides

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        """Judge an epoch by its scores."""
        raise NotImplementedError  # the session calls only what a class overrides

    def penalty_now(self, ctx: Context) -> Tensor | None:
        """The penalty at the present weights and strengths, where the technique minimizes one that is no part of the
        loss of a batch; else None. Trackers show it.
        """
        return None

    def unfinished(self, ctx: Context) -> bool:
        """Whether the network is not yet what it is to become: then techniques that keep the best weights wait."""
        return False

    def weights(self, ctx: Context) -> Mapping[str, Tensor] | None:
        """Tensors (parameters and buffers by name) to evaluate with, in place of the raw ones."""
        raise NotImplementedError  # the session calls only what a class overrides

    def final(self, ctx: Context) -> Mapping[str, Tensor] | None:
        """Tensors (parameters and buffers by name) to leave in the model at the end."""
        raise NotImplementedError  # the session calls only what a class overrides

    def describe(self, view: ModelView) -> str:
        """Where it acts, for :meth:`Session.plan`."""
        return self.summary

    def alone(self) -> str:
        """Why networks with it are trained one by one in a population, though its class has a form for stacks; ``""``:
        they are not.
        """
        return ""

    def defines(self, method: str) -> bool:
        """Whether this class defines one of the ``on_*`` methods."""
        return getattr(type(self), method) is not getattr(Points, method)


Attached = tuple[Points, Context]


def together_of(cls: type[Any]) -> Callable[..., Any] | None:
    """What acts for consecutive techniques on batches in one call; None where the class, or a subclass of the one that
    names it, has an ``on_batch`` of its own.
    """
    for base in cls.__mro__:
        if vars(base).get("together") is not None:
            call: Callable[..., Any] = cls.together
            return call
        if "on_batch" in vars(base):
            return None
    return None


def runs_of(items: Sequence[T], kind: Callable[[T], type[Any]]) -> list[tuple[Callable[..., Any] | None, list[T]]]:
    """Consecutive items whose classes act in one call, with that call; others alone, with None."""
    found: list[tuple[Callable[..., Any] | None, list[T]]] = []
    for item in items:
        call = together_of(kind(item))
        if call is not None and found and found[-1][0] is call:
            found[-1][1].append(item)
        else:
            found.append((call, [item]))
    return found
