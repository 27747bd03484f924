"""What techniques on whole channels share: the units of the network, found in its first training pass."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Selection
from dashpot.core.fields.select import Where, everything
from dashpot.core.rules import Rule
from dashpot.core.running.computed import role_of
from dashpot.core.running.conflicts import PROXIMAL
from dashpot.core.running.context import Context
from dashpot.core.running.selecting import demand_parameters
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import Handle, Technique
from dashpot.shrinking.buckets import Bucket
from dashpot.shrinking.channels import Channels, channels_of
from dashpot.shrinking.value import flat, mapped
from dashpot.techniques.penalties.decay import OF_COMPUTED
from dashpot.techniques.penalties.groups import group_threshold
from dashpot.techniques.penalties.proximal import Scalar
from dashpot.techniques.penalties.selected import refuse_complex, refuse_computed
from dashpot.techniques.penalties.step_rules import HALF, Step, adaptive_step

TRACED = Rule(
    "channels-of-a-traced-network",
    "a network that torch.export cannot trace, such as one whose control flow depends on values",
    "which weights make one unit is read off its operations.",
    "refused",
    "in the first training pass, before any step; write the forward without such control flow, or penalize groups of"
    " single layers (GroupLasso).",
)
BESIDE = Rule(
    "channels-and-other-penalties",
    "another technique with a proximal step, or the optimizer's own penalty",
    "a channel is made by weights of several layers, which both would move.",
    "refused",
    "keep one of them.",
)


def channel_prox(
    rows: Float[Tensor, "units members"],
    step: float | Float[Tensor, "units members"],
    strength: Scalar,
    factors: Float[Tensor, " units"],
) -> Float[Tensor, "units members"]:
    """``argmin_u sum (u - w)^2 / (2 step) + strength * sum over units of factor * |u_unit|``."""
    return group_threshold(rows, step, strength * factors.unsqueeze(1), (1,))


def chosen_in(model: nn.Module, on: Where) -> set[str] | None:
    """The names of the parameters that ``on`` selects, of which a unit must have some to leave; None: any."""
    if on == everything:
        return None
    modules = dict(model.named_modules())
    found = set()
    for name, parameter in model.named_parameters():
        if on.matches(role_of(modules, name, parameter), name, modules[name.rpartition(".")[0]]):
            found.add(name)
    return found


class OnChannels(Technique):
    """The base class of techniques on whole channels."""

    exclusive: ClassVar[tuple[str, ...]] = (PROXIMAL,)
    rules: ClassVar[tuple[Rule, ...]] = (OF_COMPUTED, TRACED, BESIDE)
    every_parameter = True  # a unit is made by weights that are not selected, too

    on: Annotated[Where, Selection()] = everything

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return list(view.parameters)

    def check(self, view: ModelView, ctx: Context) -> None:
        name = type(self).__name__
        demand_parameters(self, self.on, view)
        refuse_computed(name, everything, view)
        refuse_complex(name, everything, view)
        if view.sharded:
            raise ConflictError(
                f"{name} traces the whole network, and FSDP2 shards this one. Use DistributedDataParallel."
            )
        taken = view.penalties()
        if taken:
            first, penalty = next(iter(taken.items()))
            raise ConflictError(
                f"{name} and the optimizer's penalty {penalty} both act on {first!r}. Keep one of them."
            )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        _found.pop(ctx, None)

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if module.training and ctx not in _found and not torch.compiler.is_compiling():
                _found[ctx] = found = self.priced(self._channels(ctx, args, kwargs), ctx)
                self.found(found, ctx)

        return [view.model.register_forward_pre_hook(before, with_kwargs=True)]

    def _channels(self, ctx: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Channels:
        given = args, kwargs
        tensors = [leaf for leaf in flat(given) if isinstance(leaf, Tensor) and leaf.ndim]
        count = tensors[0].shape[0] if tensors else 0

        def two(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            short = leaf.detach()
            if leaf.ndim and leaf.shape[0] == count:
                short = torch.cat([short[:2], short[:1]])[:2]
            return short.cpu()

        args, kwargs = mapped(given, two)
        trained = set(ctx.view.params().names)
        try:
            with torch.autocast("cpu", enabled=False):
                found = channels_of(ctx.model, args, kwargs, trained, chosen_in(ctx.model, self.on))
        except ConflictError as error:
            raise ConflictError(f"{type(self).__name__} needs a network that can be shrunk. {error}") from error
        if not found.count:
            raise ConflictError(
                f"{type(self).__name__} finds no units that may leave {type(ctx.model).__name__}: all of them are"
                " outputs, stand in front of a layer norm, or are made by weights that are not trained or that its"
                f" `on` ({self.on}) does not select. Choose others, or use GroupLasso."
            )
        return found

    def priced(self, channels: Channels, ctx: Context) -> Channels:
        """The units with what else they cost, where that is measured."""
        return channels

    def found(self, channels: Channels, ctx: Context) -> None:
        """The units are known; refuse what cannot be done with them, by ConflictError."""

    def channels(self, ctx: Context) -> Channels:
        """The units, after the first training pass.

        Raises:
            UsageError: there was none.
        """
        if ctx not in _found:
            raise UsageError(
                f"{type(self).__name__} has seen no training pass of {type(ctx.model).__name__} as it is: call the"
                " model itself in training mode, at the first step before torch.compile."
            )
        return _found[ctx]

    def look(self, ctx: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Find the units by what the network is called with, where no training pass has come yet."""
        if ctx not in _found:
            _found[ctx] = found = self.priced(self._channels(ctx, args, kwargs), ctx)
            self.found(found, ctx)

    def follow(self, ctx: Context, channels: Channels, left: np.ndarray) -> None:
        """The units after a cut, and which of those before have left, bool [units]."""
        _found[ctx] = channels

    def seen(self, ctx: Context) -> Channels | None:
        """The units, where a training pass has shown them."""
        return _found.get(ctx)

    def example(self, ctx: Context) -> tuple[Any, Any] | None:
        """Arguments that the network was called with, two rows on the CPU, after the first training pass."""
        return _found[ctx].example if ctx in _found else None


class Matrices:
    """The rows and steps of all units that the optimizer has just updated, and where they go back to.

    Attributes:
        buckets: those of which all parameters have a gradient.
        rows: of each [units, members].
        steps: of each, likewise, or one number.

    Args:
        adaptive: each weight has a step of its own.
        lr: instead of the learning rate of now.
    """

    def __init__(
        self,
        channels: Channels,
        params: Params,
        optimizer: torch.optim.Optimizer,
        adaptive: bool,
        lr: float | None = None,
    ) -> None:
        self._tensors = dict(zip(params.names, (t.detach() for t in params.tensors), strict=True))
        own = dict(zip(params.names, zip(params.tensors, params.groups, strict=True), strict=True))
        self.buckets: Sequence[Bucket] = [b for b in channels.buckets if b.names <= own.keys()]
        names = {name for bucket in self.buckets for name in bucket.names}
        steps: dict[str, Step] = {}
        for name in names:
            w, group = own[name]
            group = {**group, "lr": lr} if lr is not None else group
            steps[name] = adaptive_step(optimizer, w, group) if adaptive else group["lr"]
        wide = {
            name: s.expand(own[name][0].shape) if isinstance(s, Tensor) else torch.full_like(own[name][0], s)
            for name, s in steps.items()
        }
        self.rows = [_wide(bucket.rows(self._tensors)) for bucket in self.buckets]
        # A learning rate of 0 takes no step, and divides nothing.
        self.steps = [_wide(bucket.rows(wide)).clamp(min=torch.finfo(torch.float32).tiny) for bucket in self.buckets]

    def put(self, bucket: Bucket, rows: Tensor) -> None:
        """New rows of a bucket."""
        bucket.put(self._tensors, rows)


def _wide(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in HALF else rows


_found: weakref.WeakKeyDictionary[Context, Channels] = weakref.WeakKeyDictionary()
