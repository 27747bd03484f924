"""Dropout: zero random activations while training, in any model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core import draws
from dashpot.core.draws import dropped_by, uniform_by
from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Choice, Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.preset import Preset
from dashpot.core.rng import derive_all, kept_at, uniform_at
from dashpot.core.running.context import Context
from dashpot.core.running.copies import Guest
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Handle
from dashpot.techniques.dropout.activation import ActivationDropout, StackedActivationDropout
from dashpot.techniques.dropout.behind import layers_behind
from dashpot.techniques.dropout.hook import After, DropHook, place_key, put_back

LARGE = 1 << 18
"""So many numbers do not stay in the cache from one pass to the next."""


def dropout(
    x: Float[Tensor, "*shape"], uniform: Float[Tensor, "..."], p: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """Zero where ``uniform < p``, scale the rest by ``1 / (1 - p)``; both broadcast to x. ``p = 0`` is the identity and
    ``p = 1`` gives zeros, gradients included.
    """
    # A number stays on the CPU, from where any device takes it without a copy.
    rate = p.float() if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float32, device="cpu")
    scale = 1 / torch.clamp(1 - rate, min=torch.finfo(torch.float32).tiny)
    return x * ((uniform >= rate) * scale).to(x.dtype)


def unscaled_dropout(
    x: Float[Tensor, "*shape"], uniform: Float[Tensor, "..."], p: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """Zero where ``uniform < p``, the rest as it is; both broadcast to x. ``p = 0`` is the identity."""
    rate = p.float() if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float32, device="cpu")
    return x * (uniform >= rate).to(x.dtype)


def dropped_at(hook: DropHook, x: Tensor, size: Sequence[int]) -> Tensor:
    """:func:`dropout` by the numbers of a hook's place and moment; ``size`` broadcasts to x. The same bits, with a
    multiplication by the mask in place of several passes where C++ makes it; a large x is passed over once, and its
    mask made again in the backward pass, since memory is slower than the hash.
    """
    if x.numel() >= LARGE and not torch.compiler.is_compiling() and x.shape == tuple(size):
        step, call = hook.clock.tolist()
        out = draws.dropped_at(x, hook.key, step, call, hook.rate.item())
        if out is not None:
            return out
    kept = kept_at(hook.key, hook.clock, size, hook.rate) if x.device.type == "cpu" else None
    if kept is None:
        return dropout(x, uniform_at(hook.key, hook.clock, size, x.device).expand(x.shape), hook.rate)
    return x * (kept if x.dtype == torch.float32 else kept.to(x.dtype))


class StackedDropout(StackedActivationDropout):
    """Dropout after the same modules as in one network, each member with its own rates and masks."""

    _drawn_for: np.ndarray | None = None

    def read(self) -> None:
        super().read()
        self._table: np.ndarray | None = None

    def drop(self, x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor:
        out = dropped_by(x, keys, rates)
        if out is not None:
            return out
        return dropout(x, uniform_by(keys, x[0].numel(), x.device).view(x.shape), self.wide(rates, x.ndim))

    def by_program(self) -> bool:
        return True

    def dropped(self, places: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        none = np.zeros(len(self.techniques), dtype=np.float32)
        if self._table is None:
            self._table = np.stack([self.rates.get(name, none) for name in places])
        if self._drawn_for is not self.keys:
            keys = np.stack([self.place_keys.get(name, none.astype(np.uint64)) for name in places])
            self._drawn = self.ahead(lambda steps: list(derive_all(keys, steps[:, None, None], 0)), fixed=True)
            self._drawn_for = self.keys
        return self._drawn.now(), self._table


class Dropout(ActivationDropout):
    r"""Zero random activations while training; the rest is scaled up so that the mean stays.

    .. math:: \tilde h = \frac{m}{1-p} h, \quad m \sim \mathrm{Bernoulli}(1-p)

    Goes into any model, without surgery, by forward hooks. Existing ``nn.Dropout`` modules are taken over: they show
    this rate while the technique is attached, and their own again after ``close()`` and in copies. In evaluation mode
    nothing happens. The masks depend on seed, step, micro-batch and module only, the same in eager and compiled code;
    SAM's second pass sees the same ones. What drops by itself (``nn.MultiheadAttention``, ``nn.LSTM`` and its like
    where their ``dropout`` is above 0, and code that reads the ``p`` of a dropout module) does so at this rate, by
    torch's own draws.

    Args:
        p: probability of *dropping* an activation, in [0, 1], as in PyTorch (the first paper writes p for keeping). 0
            is off.
        on: after which modules, by role, type or name. ``hidden`` (the default): the model's own dropout modules where
            it has any, else its activations, without one at the end of the network: the output is never dropped, as far
            as the structure tells (the end of an ``nn.Sequential``; of a network with a ``forward`` of its own name the
            modules). An explicit ``on``, such as ``activations``, takes that one too.
        scaling: ``"training"`` scales what is kept by ``1 / (1 - p)``, so that evaluation is the plain network.
            ``"evaluation"`` is the first papers' form: nothing is scaled while training, and inside
            ``session.evaluate()``, after ``finish()`` and in ``export()`` the weights of the layer behind are times
            ``1 - p``, with the present p. That layer must be known: a linear or convolutional one in the same
            ``nn.Sequential``, with nothing but flattening, pooling, dropout or ReLU between, whose weight nothing else
            uses. With Adam and its like the two forms train alike up to the scale of that layer's weights.

    Raises:
        ConflictError: no module matches ``on`` (a model with functional activations only: name its modules), or a
            compiled model; with ``scaling="evaluation"`` a place without such a layer, or an average of weights (EMA,
            SWA, LAWA) in the recipe, since both say what evaluation sees.

    Warns:
        DropoutOrderWarning: a batch normalization follows. Dropout shifts the variance between training and evaluation
            (Li et al., CVPR 2019).
        SingleEpochWarning: the run is of one epoch, in which nothing is seen twice ("Drop Dropout on Single-Epoch
            Language Model Pretraining", arXiv 2505.24788).

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> with dashpot.Dropout(p=0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)) as session:
        ...     x = torch.ones(16, 4)
        ...     bool((model(x) == model(x)).all())
        False

    Papers: Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors", 2012, arXiv
    1207.0580; Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.

    When not to use it: before batch normalization; in convolutions, whose neighbours carry the same information; in
    small networks that underfit. Inside activation checkpointing it is refused, as the recomputed mask would differ.
    ``scaling="evaluation"``: where the learning rate was tuned for the usual form, and where others evaluate the model
    outside ``session.evaluate()`` before the end.
    """

    summary = "zeroes random activations"
    stacked = StackedDropout
    preset = Preset("p=0.05..0.5", order=20)

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.6), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = hidden
    scaling: Annotated[Literal["training", "evaluation"], Choice(("training", "evaluation"))] = "training"

    def hook(self, key: int, clock: Tensor, rate: Tensor) -> DropHook:
        return (_Unscaled if self._at_evaluation else _Hook)(key, clock, rate)

    @property
    def _at_evaluation(self) -> bool:
        return self.scaling == "evaluation"

    def defines(self, method: str) -> bool:
        return super().defines(method) and (method != "weights" or self._at_evaluation)

    def alone(self) -> str:
        return "Dropout(scaling='evaluation') changes weights at evaluation" if self._at_evaluation else ""

    def slots(self) -> frozenset[tuple[str, str]]:
        return super().slots() | ({("averaged weights", "")} if self._at_evaluation else set())

    def claims(self, view: ModelView) -> Iterable[tuple[str, str]]:
        evaluation = [("averaged weights", "")] if self._at_evaluation else []
        return [*super().claims(view), *evaluation]

    def check(self, view: ModelView, ctx: Context) -> None:
        super().check(view, ctx)
        if not self._at_evaluation:
            return
        inside = next((name for name, module in view.places(self.on).items() if view.drops_inside(module)), None)
        if inside is not None:
            raise ConflictError(
                f"Dropout(scaling='evaluation') cannot act inside {inside!r} ({type(view.modules[inside]).__name__}),"
                " which scales while training. Choose other modules with on=, or leave scaling='training'."
            )
        layers_behind(self, view)

    def weights(self, ctx: Context) -> Mapping[str, Tensor]:
        kept = 1 - ctx.technique.p
        scaled: dict[str, Tensor] = {}
        for layer in layers_behind(self, ctx.view).values():
            name = f"{layer}.weight"
            scaled[name] = scaled.get(name, ctx.view.modules[layer].get_parameter("weight").detach()) * kept
        return scaled

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            _Inside(module, ctx)
            if view.drops_inside(module)
            else After(module, self.hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("p")), ctx)
            for name, module in view.places(self.on).items()
        ]

    def describe(self, view: ModelView) -> str:
        inside = [name for name, module in view.places(self.on).items() if view.drops_inside(module)]
        own = f"; by the draws of torch inside {', '.join(inside)}" if inside else ""
        if self._at_evaluation:
            behind = dict.fromkeys(layers_behind(self, view).values())
            own = f"; evaluation scales the weights of {', '.join(behind)} by 1 - p"
        return super().describe(view) + own


class _Hook(DropHook):
    technique = "Dropout"

    def drop(self, out: Tensor) -> Tensor:
        return dropped_at(self, out, out.shape)


class _Unscaled(DropHook):
    technique = "Dropout"
    refuses_sampling = (
        "Dropout(scaling='evaluation') has weights for training and others for evaluation. Call finish() and close()"
        " first, and name the usual form, such as recipe='dropout:p=0.2', which gives the same answers then."
    )

    def drop(self, out: Tensor) -> Tensor:
        return unscaled_dropout(out, uniform_at(self.key, self.clock, out.shape, out.device), self.rate)


class _Inside:
    """Our rate in a module that drops by itself, by torch's draws: attention drops its weights, and a recurrent stack
    what goes from layer to layer.
    """

    def __init__(self, module: nn.Module, ctx: Context) -> None:
        self._module, self._own = module, {"dropout": module.dropout}
        ctx.show("p", lambda rate: setattr(module, "dropout", rate))
        self._guest = Guest(module, [], self._own)

    def remove(self) -> None:
        self._guest.remove()
        put_back(self._module, self._own)
