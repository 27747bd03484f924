"""Manifold Mixup: blends of pairs of samples within the network."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.draws import beta_by
from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Choice, Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.points import Handle
from dashpot.core.rng import derive, derive_all
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.copies import Guest
from dashpot.core.running.view import ModelView
from dashpot.techniques.augment.mixing.base import SHARES, Drawn, Mixing
from dashpot.techniques.augment.mixing.mixed_targets import blend
from dashpot.techniques.augment.mixing.partners import PARTNERS

LAYER = 7
"""The draw of the layer, by its place in the technique's stream."""


class ManifoldMixup(Mixing):
    r"""Train on blends of what the network has made of pairs of samples, and of their targets.

    .. math:: \tilde h = \lambda h_i + (1-\lambda) h_j, \quad \tilde y = \lambda y_i + (1-\lambda) y_j, \quad
        \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    where h is what one layer returns, drawn for each step among those of ``on``. The layers before it see the samples
    as they are, those behind it their blends. So it is Mixup for inputs that cannot be blended, such as texts and
    categories, by hidden vectors. Pairs, shares, targets and weights are those of :class:`Mixup`.

    A model may say itself where all that it knows of a sample can be blended, by an attribute ``mixes_at``: for each
    such place the names of the modules whose outputs are blended together. Those of the built-in networks for texts and
    tables do, and are followed where ``on`` is ``hidden``.

    Args:
        alpha: shape of the Beta distribution, >= 0. 0 is off; the paper has 2 for images.
        partner: as for :class:`Mixup`.
        on: after which modules, by role, type or name. ``hidden`` (the default): as the model says, else the model's
            own dropout modules where it has any, else its activations, without one whose output is the network's. Each
            must return a tensor [batch, ...] through which all passes that the model knows of a sample: no module
            within a residual branch.

    Raises:
        ConflictError: no module matches ``on``, or ``hidden`` would be within residual branches; and as for
            :class:`Mixup`.
        UsageError: a module whose output is no tensor with a row for each sample; and as for :class:`Mixup`.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.EmbeddingBag(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.ManifoldMixup(alpha=1.0).attach(model, optimizer, classes=3)
        >>> batch = session.batch(torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.tensor([0, 1, 2]))
        >>> batch.x.dtype, batch.y.shape, model(batch.x).shape
        (torch.int64, torch.Size([3, 3]), torch.Size([3, 3]))

    Paper: Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden States", ICML 2019, arXiv
    1806.05236; for texts: Guo, Mao and Zhang, "Augmenting Data with Mixup for Sentence Classification", arXiv
    1905.08941.

    When not to use it: as :class:`Mixup`; where padding tells the layers behind a blend how long each sample is.
    """

    summary = "blends hidden vectors of pairs of samples, and their targets"
    numbers = ("alpha",)
    exclusive = ("blend of hidden vectors",)
    order = 50  # inputs that others blend are blended before what the network makes of them, and so are targets

    alpha: Annotated[float, Range(0.0, float("inf"), search=(0.05, 2.0), log=True, off=0.0)] = field(
        default=0.2, kw_only=False
    )
    partner: Annotated[str, Choice(PARTNERS)] = "any"
    on: Annotated[Where, Selection()] = hidden

    @classmethod
    def input(cls, x: Any) -> Tensor:
        found: Tensor = x
        return found

    @classmethod
    def draw(cls, keys: np.ndarray, numbers: Mapping[str, np.ndarray], n: int) -> Drawn:
        return {"share": beta_by(derive_all(keys, SHARES), numbers["alpha"], n)}

    @classmethod
    def mixed(cls, x: Tensor, partner: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        return x, drawn["share"]

    def places(self, view: ModelView) -> list[list[str]]:
        """For each place where it may blend, the modules whose outputs are blended together."""
        said = getattr(view.model, "mixes_at", None)
        if said is not None and self.on == hidden:
            return [[name for name in names if name in view.modules] for names in said]
        return [[name] for name in view.places(self.on)]

    def check(self, view: ModelView, ctx: Context) -> None:
        super().check(view, ctx)
        name = type(view.model).__name__
        if not any(self.places(view)):
            raise ConflictError(
                f"ManifoldMixup.on ({self.on}) matches no module of {name}. Name modules by type or glob, such as"
                " on='name:layer?'."
            )
        if self.on == hidden and not hasattr(view.model, "mixes_at") and view.places(Where.role("branches")):
            raise ConflictError(
                f"ManifoldMixup.on ({self.on}) would blend within the residual branches of {name} and not what passes"
                " beside them. Name modules through which all passes, such as on='name:layer?'."
            )

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        places = [names for names in self.places(view) if names]
        blends = Blends(ctx, places)
        _blends[ctx] = blends
        return [
            _Hooked(view.model, view.model.register_forward_pre_hook(_eager(blends.begin))),
            *(
                _Hooked(view.modules[name], view.modules[name].register_forward_hook(blends.of(number, name)))
                for number, names in enumerate(places)
                for name in names
            ),
        ]

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        if not isinstance(batch.y, Tensor) or not batch.y.ndim:
            raise UsageError("ManifoldMixup needs a target tensor, a row for each sample: session.batch(x, y).")
        kind = next((p.dtype for p in ctx.model.parameters() if p.is_floating_point()), torch.float32)
        # A number for each sample stands for inputs of any kind, which stay as they are.
        stand_in = torch.zeros(len(batch.y), dtype=kind, device=batch.y.device)
        return super().on_batch(batch.replace(x=stand_in), ctx).replace(x=batch.x)

    def of_session(self, x: Tensor, place: Tensor, drawn: Drawn, ctx: Context) -> tuple[Tensor, Tensor]:
        _blends[ctx].draw(place, drawn["share"])
        return type(self).paired(x, place, drawn)

    def describe(self, view: ModelView) -> str:
        return f"{self.summary}, at one of: {', '.join(' and '.join(names) for names in self.places(view) if names)}"


class Blends:
    """What hooks blend: at the layer that was drawn, once in each pass of the batch that was drawn for."""

    def __init__(self, ctx: Context, places: Sequence[Sequence[str]]) -> None:
        self._ctx, self._count = ctx, len(places)
        self._drawn: tuple[int, int, Tensor, Tensor] | None = None
        self._left = False
        self._done: set[str] = set()

    def draw(self, order: Tensor, share: Tensor) -> None:
        """Blend each sample with that at ``order`` [batch], by its ``share``, in passes of the present micro-batch."""
        key = self._ctx.draws().key
        self._drawn = key, derive(key, LAYER) % self._count, order, share

    def begin(self, module: nn.Module, args: Any) -> None:
        """A pass of the model begins."""
        self._done.clear()
        drawn = self._drawn
        self._left = module.training and drawn is not None and drawn[0] == self._ctx.draws().key

    def of(self, number: int, name: str) -> Any:
        """The hook of a module."""

        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            drawn = self._drawn
            if not self._left or drawn is None or drawn[1] != number or name in self._done:
                return None
            self._done.add(name)
            _, _, order, share = drawn
            if not isinstance(out, Tensor) or not out.ndim or len(out) != len(order) or not out.is_floating_point():
                shown = f"a tensor {list(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
                raise UsageError(
                    f"ManifoldMixup blends floating-point outputs [batch, ...] of {len(order)} samples, but {name!r}"
                    f" returns {shown}. Choose other modules with on=."
                )
            order, share = (part.to(out.device, non_blocking=True) for part in (order, share))
            return blend(out, out.index_select(0, order), share)

        return _eager(hook)


def _eager(function: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that torch.compile leaves out. Only here, where the technique is attached, is the compiler imported, which
    takes seconds.
    """
    found: Callable[..., Any] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]  # torch has none
    return found


_blends: weakref.WeakKeyDictionary[Context, Blends] = weakref.WeakKeyDictionary()
"""Of each session with the technique: what is drawn for a batch is no part of the state that is kept."""


class _Hooked:
    """A hook that stays out of copies, until it is removed."""

    def __init__(self, module: nn.Module, handle: Any) -> None:
        self._handle, self._guest = handle, Guest(module, [handle.id], {})

    def remove(self) -> None:
        self._guest.remove()
        self._handle.remove()
