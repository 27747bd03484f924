"""``StackedTechnique``: how a technique acts on a stack of members, many models of one shape trained in lock-step.

A technique's class names its form in ``stacked``. The form holds the technique of each member (or None), fetches each
member's own numbers and draws, and calls the technique's pure functions on tensors with a leading member axis. At the
value that switches a technique off its function is the identity, so members without it stand in the same call. A
technique without a form is trained alone, with the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from weakref import proxy

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dashpot.core.points import Points, Scores, Verdict
from dashpot.core.rng import Draws, derive, stream
from dashpot.core.stacks.stack import AHEAD, Ahead, Stack

T = TypeVar("T")
Directions = Callable[[int], Tensor]
"""From the position of a parameter to [member, *shape] whose signs say in which direction its update goes; the weights
move by minus a positive number times them.
"""


class StackedTechnique:
    """One technique, for all members of a stack.

    Define the points of a step at which it acts; the stack checks once which ones a class defines.

    Args:
        stack: the members.
        path: the technique's place in their recipes, which names its random stream.
        techniques: one per member; None where its recipe has none.

    Class attributes:
        inherited: it also serves subclasses of the technique that names it, as long as they act at no further point of
            a training step: it calls nothing but methods that they define. Else a subclass, which may do something
            else than its base, is trained alone unless it names a form itself.
        together: acts on inputs and targets for all consecutive forms whose classes name the same function, in one
            call; ``on_batch`` does the same for one. Weights of rows stay.
        takes_bytes: it takes images as bytes where ``stack.pixels`` says so, and returns them as float32 in [0, 1].

    Attributes:
        techniques: of each member, with the numbers of the current step; ``declared``: with the schedules.
        scheduled: a number of some member follows the training.
        keys: of each member's random stream, uint64.
        state: named tensors [member, ...] that steps change.

    Example:
        >>> from typing import Annotated
        >>> import dashpot
        >>> from dashpot.core.fields.domains import Range
        >>> class StackedTilt(StackedTechnique):
        ...     def read(self):
        ...         self.by = self.values("by", 0.0)
        ...     def on_gradient(self, grads):
        ...         for g in grads:
        ...             g.add_(self.wide(self.by, g.ndim))
        >>> class Tilt(dashpot.Technique):
        ...     stacked = StackedTilt
        ...     by: Annotated[float, Range(0.0, 1.0, off=0.0)] = 0.1
        ...     def on_gradient(self, params, ctx):
        ...         for g in params.grads:
        ...             g.add_(self.by)
    """

    inherited: ClassVar[bool] = False
    together: ClassVar[Any] = None  # a static method, which mypy takes for a bound one
    takes_bytes: ClassVar[bool] = False

    def __init__(self, stack: Stack, path: str, techniques: Sequence[Any]) -> None:
        self.stack, self.path = proxy(stack), path  # no cycle: a stack that is done gives its memory back at once
        self.declared, self.techniques = list(techniques), self._now(techniques)
        self.scheduled = any(t is not None and t.schedules() for t in techniques)
        self.keys = np.array([stream(member.seed, path) for member in stack.members], dtype=np.uint64)
        self.state = self.init()
        self._calls: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []
        self.read()
        self._install()

    # --- what a form defines -----------------------------------------------------------------------------------------

    def init(self) -> dict[str, Tensor]:
        """Named tensors [member, ...] to keep between steps. They are saved, and follow their members."""
        return {}

    def read(self) -> None:
        """Prepare what depends on the members and their numbers: at the start, after members have left, and before each
        step in which a schedule changes a number.
        """

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """[member, batch, ...] and targets [member, batch, ...]."""
        raise NotImplementedError  # the stack calls only what a form overrides

    def on_weighted_batch(self, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """:meth:`on_batch` where rows have weights [member, batch]; by default they stay."""
        return *self.on_batch(x, y), weight

    def sites(self) -> Sequence[str]:
        """The modules of the network, by name, after which it acts on activations while training."""
        return ()

    def on_activation(self, site: str, x: Tensor, call: int) -> Tensor:
        """What a module returns, [member, batch, ...]; ``call`` counts its calls in this pass, from 0."""
        raise NotImplementedError  # the stack calls only what a form overrides

    def dropped(self, places: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Its :meth:`on_activation` as the C++ program does it: zero where the number in [0, 1) that a hash makes of
        key and position is below the rate, the rest times 1 / (1 - rate). Only asked where :meth:`by_program` allows.

        Args:
            places: module names, always the same; not only its own.

        Returns:
            Keys (uint64) and rates (float32; 0 where it does not act) [place, member] of each place's first call in
            this step.
        """
        raise NotImplementedError  # only forms that the program can serve have it

    def on_target(self, y: Tensor) -> Tensor:
        """Targets [member x batch, ...], just before the loss."""
        raise NotImplementedError  # the stack calls only what a form overrides

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        """Per-sample losses [member x batch, ...] and outputs [member x batch, ...]."""
        raise NotImplementedError  # the stack calls only what a form overrides

    def by_program(self) -> bool:
        """Whether the C++ program can serve it: it knows :meth:`dropped`, but calls neither ``on_activation`` nor
        ``on_loss``. The class that defines those decides, so a subclass that changes them must say it again.
        """
        return True

    def on_gradient(self, grads: list[Tensor]) -> Iterator[None] | None:
        """Gradients [member, *shape], changed in place; as an iterator, it asks for them again at each stop."""
        raise NotImplementedError  # the stack calls only what a form overrides

    def on_update(self, decay: np.ndarray, maps: dict[tuple[int, int], Any]) -> None:
        """What acts on weights inside the update; asked when members or numbers have changed.

        Args:
            decay: decoupled decay [member, parameter], to be written to.
            maps: the technique whose proximal map acts on (member, parameter), to be added to.
        """
        raise NotImplementedError  # the stack calls only what a form overrides

    def before_update(self, lr: np.ndarray, directions: Directions) -> None:
        """Change weights just before the update, when gradients are final.

        Args:
            lr: of each member in this step.
            directions: of the coming update.
        """
        raise NotImplementedError  # the stack calls only what a form overrides

    def on_step(self) -> None:
        """After the update."""
        raise NotImplementedError  # the stack calls only what a form overrides

    def on_epoch(self, scores: Sequence[Scores | None]) -> Sequence[Verdict | None]:
        """What each member's technique decides, or None, by the scores of its held-out rows (None without rows)."""
        raise NotImplementedError  # the stack calls only what a form overrides

    def weights(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The values [member, ...] and floating-point buffers with which members are evaluated in place of the raw
        ones. Rows of members without the technique mean nothing.
        """
        raise NotImplementedError  # the stack calls only what a form overrides

    def final(self, k: int) -> Mapping[str, Tensor] | None:
        """The tensors that member k ends with, where they are not those it is evaluated with."""
        raise NotImplementedError  # the stack calls only what a form overrides

    # --- what a form uses --------------------------------------------------------------------------------------------

    def values(self, name: str, off: float) -> list[float]:
        """A field of each member's technique, or the value at which it does nothing."""
        return [off if t is None else float(getattr(t, name)) for t in self.techniques]

    def wide(self, values: Sequence[float] | np.ndarray, ndim: int) -> Tensor:
        """Numbers per member, to be multiplied with [member, ...] of ``ndim`` axes."""
        # Not by torch.as_tensor there: it waits until the device has them.
        found = torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.stack.device, non_blocking=True)
        return found.reshape(-1, *[1] * (ndim - 1))

    def draws(self, k: int) -> Draws:
        """What member k would draw alone at this step."""
        return Draws(derive(int(self.keys[k]), self.stack.step, 0, 0))

    def ahead(self, make: Callable[[np.ndarray], Sequence[T]], *, fixed: bool = False) -> Ahead[T]:
        """Draws for some steps at once; ``fixed``: no number that a schedule may change is in them."""
        return Ahead(self.stack, make, AHEAD if fixed or not self.scheduled else 1)

    def selected(self, k: int) -> list[int]:
        """The positions of the parameters that member k's technique acts on."""
        return [] if self.techniques[k] is None else self.stack.selected(self.techniques[k].on)

    # --- for the stack -----------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """The numbers of the current step, by the members' schedules."""
        self.techniques = self._now(self.declared)
        self.read()

    def _now(self, techniques: Sequence[Any]) -> list[Any]:
        moment = self.stack.step, self.stack.steps, self.stack.steps_per_epoch
        return [None if t is None else t.at(*moment) for t in techniques]

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order."""
        rows = list(rows)
        self.declared, self.techniques = [self.declared[k] for k in rows], [self.techniques[k] for k in rows]
        self.keys = self.keys[rows]
        self.state = {name: t[rows] for name, t in self.state.items()}
        self.read()
        self._install()

    def adopt(self, sources: Sequence[tuple[StackedTechnique | None, int]]) -> None:
        """In place k the state of row ``sources[k][1]`` of another form of the same path; where there is none, state
        begins with the weights that are there now.
        """
        if not self.state:
            return
        fresh = self.init()
        for k, (source, row) in enumerate(sources):
            known = source is not None and type(source) is type(self) and source.techniques[row] is not None
            state, place = (source.state, row) if source is not None and known else (fresh, k)
            for name, t in self.state.items():
                t[k] = state[name][place]

    def state_tensors(self) -> list[Tensor]:
        """The tensors [member, ...] that steps change, to save a stack and restore it."""
        return list(self.state.values())

    def new_pass(self) -> None:
        """Another pass through the network begins."""
        self._calls.clear()

    def _install(self) -> None:
        for handle in self._handles:
            handle.remove()
        modules = dict(self.stack.block.network.named_modules()) if self.sites() else {}
        self._handles = [modules[site].register_forward_hook(self._hook(site)) for site in self.sites()]

    def _hook(self, site: str) -> Callable[..., Tensor | None]:
        def hook(module: nn.Module, args: Any, x: Tensor) -> Tensor | None:
            if not module.training:
                return None
            call = self._calls.get(site, 0)
            self._calls[site] = call + 1
            return self.on_activation(site, x, call)

        return hook


def defines(form: type[StackedTechnique], point: str) -> bool:
    """Whether a form defines one of the points of a step."""
    return getattr(form, point) is not getattr(StackedTechnique, point)


def fits_program(technique: StackedTechnique) -> bool:
    """Whether the C++ program can serve it; see :meth:`StackedTechnique.by_program`."""
    for base in type(technique).__mro__:
        if "by_program" in vars(base):
            return technique.by_program()
        if {"on_activation", "on_loss"} & vars(base).keys():
            return False
    return False


def form_of(technique: type[Points]) -> type[StackedTechnique] | None:
    """The form of a technique's class, or None where it is trained alone; see :attr:`StackedTechnique.inherited`."""
    below: set[str] = set()
    for base in technique.__mro__:
        if "stacked" in vars(base):
            form: type[StackedTechnique] | None = base.__dict__["stacked"]
            alike = form is not None and form.inherited and not below
            return form if base is technique or alike else None
        below |= {name for name in vars(base) if name.startswith("on_") or name in ("init", "weights", "final")}
    return None
