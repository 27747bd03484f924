"""Stochastic depth: leave out whole residual branches, sample by sample, while training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.draws import uniform_by
from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where
from dashpot.core.rng import derive_all, stream, uniform_at
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.hook import DropHook, place_key
from dashpot.techniques.dropout.places import warn_single_epoch

RATES = ("p", "drop_prob")
"""How torchvision's and timm's modules name the rate at which they drop branches themselves."""


def stochastic_depth(
    x: Float[Tensor, "..."], uniform: Float[Tensor, "..."], p: float | Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Samples with ``uniform < p`` are zeros, the others are scaled by ``1 / (1 - p)``. ``p = 0`` is the identity and
    ``p = 1`` gives zeros, gradients included.

    Args:
        x: what a branch adds, [batch, ...], or [member, batch, ...].
        uniform: in [0, 1), for each sample: [batch] or [member, batch].
        p: the rate, or one for each member, [member, 1].
    """
    rate = p.float() if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float32, device="cpu")
    scale = 1 / torch.clamp(1 - rate, min=torch.finfo(torch.float32).tiny)
    kept = ((uniform >= rate) * scale).to(x.dtype)
    return x * kept.reshape(*kept.shape, *[1] * (x.ndim - kept.ndim))


def depth_shares(places: Sequence[str]) -> dict[str, float]:
    """The linear rule: the share of the last branch's rate that each has, by its place in the order of the model.

    >>> depth_shares(["first", "second"])
    {'first': 0.5, 'second': 1.0}
    """
    return {name: (i + 1) / len(places) for i, name in enumerate(places)}


class StackedStochasticDepth(StackedTechnique):
    """The same branches as in one network, each member with its own rates and samples."""

    def sites(self) -> Sequence[str]:
        return list(self.rates)

    def read(self) -> None:
        members = len(self.techniques)
        rates: dict[str, np.ndarray] = {}
        for k, (technique, now) in enumerate(zip(self.declared, self.techniques, strict=True)):
            if technique is not None and technique.p != 0:  # a schedule may be 0 now and then
                for name, share in depth_shares(self.stack.places(technique.on)).items():
                    rate = np.float32(now.p) * np.float32(share)
                    rates.setdefault(name, np.zeros(members, dtype=np.float32))[k] = rate
        self.rates = rates
        self.place_keys = {
            name: np.array([stream(int(key), name) for key in self.keys], dtype=np.uint64) for name in rates
        }

    def on_activation(self, site: str, x: Tensor, call: int) -> Tensor:
        uniform = uniform_by(derive_all(self.place_keys[site], self.stack.step, call), x.shape[1], x.device)
        return stochastic_depth(x, uniform, self.wide(self.rates[site], 2))


class StochasticDepth(Technique):
    r"""Leave out residual branches at random, sample by sample, while training; what is kept is scaled up so that the
    mean stays.

    .. math:: h_l = h_{l-1} + \frac{m_l}{1-p_l} f_l(h_{l-1}), \quad m_l \sim \mathrm{Bernoulli}(1-p_l),
              \quad p_l = \frac{l}{L} p

    Branch l of L, in the order of the model's modules, is left out with probability l p / L (the paper's linear rule):
    early layers, on which all others build, are seldom left out. Each sample of a batch has its own draws, which depend
    on seed, step, micro-batch, module and place in the batch. In evaluation mode nothing happens; the paper scales
    there instead, which is the same in the mean. Computation is not saved.

    Args:
        p: probability of leaving out the last branch, in [0, 1]. 0 is off; 0.1 to 0.5 are usual, more for deeper
            networks.
        on: after which modules, by role, type or name; each returns what its branch adds, [batch, ...]. ``branches``
            (the default): those of the built-in networks (:class:`~dashpot.nets.ConvNet` with ``residual``, and
            :class:`~dashpot.nets.ResNet`), of torch's encoder and decoder layers, of torchvision's and timm's residual
            blocks, ``DropPath`` in Transformers, and modules of your own with the attribute ``ends_branch = True``. In
            other networks name the last module of each branch, such as ``on="name:layer*.bn2"``.

    Raises:
        ConflictError: no module matches ``on``, one of them drops by itself, or a compiled model.

    Warns:
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.nets import ConvNet
        >>> model = ConvNet(3, 10, size=16, width=4, residual=True)
        >>> session = dashpot.dropout.StochasticDepth(p=0.2).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> print(session.plan().partition("stochastic-depth   ")[2])
        leaves out residual branches, the last of 2 with p=0.2: stages.0.branch, stages.1.branch

    Paper: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.

    When not to use it: in networks with few branches or few steps of training, which it makes slower to learn; on
    modules whose output is all that goes on, which it would set to zero. Inside activation checkpointing it is refused,
    as the second pass would draw otherwise.
    """

    summary = "leaves out residual branches"
    stacked = StackedStochasticDepth
    exclusive = ("stochastic depth",)

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = Where.role("branches")

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return view.places(self.on)

    def check(self, view: ModelView, ctx: Context) -> None:
        places = view.places(self.on)
        if not places:
            raise ConflictError(
                f"StochasticDepth.on ({self.on}) matches no module of {type(view.model).__name__}. Name the last module"
                " of each residual branch by glob or type, such as on='name:layer*.bn2', or give it the attribute"
                f" ends_branch = True.{getattr(view.model, 'branches_by', '')}"
            )
        for name, module in places.items():
            rates = [getattr(module, rate) for rate in RATES if isinstance(getattr(module, rate, None), int | float)]
            if not isinstance(module, nn.modules.dropout._DropoutNd) and any(rate > 0 for rate in rates):
                raise ConflictError(
                    f"StochasticDepth: {name!r} ({type(module).__name__}) drops by itself, at a rate of {max(rates):g}."
                    " Build the model with a rate of 0, or leave the technique out."
                )
        warn_single_epoch(self, ctx)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        places: Mapping[str, nn.Module] = view.places(self.on)
        shares = depth_shares(list(places))
        return [
            _After(module, _Hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), ctx.scalar("p"), shares[name]))
            for name, module in places.items()
        ]

    def describe(self, view: ModelView) -> str:
        places = list(view.places(self.on))
        shown = ", ".join(places[:4]) + (f", ... {len(places) - 4} more" if len(places) > 4 else "")
        return f"{self.summary}, the last of {len(places)} with p={self.p:g}: {shown}"


class _Hook(DropHook):
    technique = "StochasticDepth"

    def __init__(self, key: int, clock: Tensor, rate: Tensor, share: float) -> None:
        super().__init__(key, clock, rate)
        self.share = share

    def drop(self, out: Tensor) -> Tensor:
        uniform = uniform_at(self.key, self.clock, out.shape[:1], out.device)
        return stochastic_depth(out, uniform, self.rate * self.share)


class _After:
    """A hook after a module, until it is removed."""

    def __init__(self, module: nn.Module, hook: Any) -> None:
        self._hook, self._handle = hook, module.register_forward_hook(hook)

    def remove(self) -> None:
        self._hook.rate.zero_()  # code compiled with the hook inside keeps it; at rate 0 it is the identity
        self._handle.remove()
