"""Concrete dropout: a rate of dropout for each layer that is learned with the weights."""

import copy
import math
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where
from dashpot.core.rng import uniform_at
from dashpot.core.running.computed import computed
from dashpot.core.running.context import Context
from dashpot.core.running.direction import direction
from dashpot.core.running.session import Session
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import Handle, Technique
from dashpot.techniques.dropout.hook import DropHook, place_key
from dashpot.techniques.dropout.places import refuse_nowhere, shown, warn_single_epoch

PART = "concrete_dropout"
"""The part of a layer that holds its rate while the technique is attached."""
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_KINDS = (nn.Linear, *_CONVOLUTIONS)


def concrete_dropout(
    x: Float[Tensor, "..."], uniform: Float[Tensor, "..."], logit: Float[Tensor, ""], temperature: float
) -> Float[Tensor, "..."]:
    """What passes: x times a mask between 0 and 1 that is differentiable in the rate, over ``1 - p``.

    Args:
        uniform: multiples of 2^-24 in [0, 1), of the shape of x or one that broadcasts to it.
        logit: of the rate p.
        temperature: > 0; the smaller, the nearer masks are to 0 and 1.
    """
    kind = torch.promote_types(x.dtype, torch.float32)
    u, a = uniform.to(kind) + 2.0**-25, logit.to(kind)  # the middle of each interval
    kept = torch.sigmoid((torch.log1p(-u) - torch.log(u) - a) / temperature)
    return x * (kept / torch.sigmoid(-a)).to(x.dtype)


def concrete_penalty(
    weight: Float[Tensor, "..."], logit: Float[Tensor, ""], decay: float, entropy: float, inputs: int
) -> Float[Tensor, ""]:
    """``decay / 2 * |w|^2 / (1 - p)`` minus ``entropy * inputs`` times the entropy of the rate in nats."""
    p, kept = torch.sigmoid(logit), torch.sigmoid(-logit)
    negative = p * nn.functional.logsigmoid(logit) + kept * nn.functional.logsigmoid(-logit)
    return decay / 2 * weight.square().sum() / kept + entropy * inputs * negative


def penalty_gradients(
    weight: Float[Tensor, "*shape"], logit: Float[Tensor, ""], decay: float, entropy: float, inputs: int
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, ""]]:
    """Of :func:`concrete_penalty`, by weight and logit."""
    p, kept = torch.sigmoid(logit), torch.sigmoid(-logit)
    by_logit = decay / 2 * weight.square().sum() * p / kept + entropy * inputs * p * kept * logit
    return decay * weight / kept, by_logit


class LearnedRate(nn.Module):
    """A rate of dropout that is trained, as its logit; a part of the layer on whose inputs it acts."""

    parameter_role = "scales"
    decays = False

    def __init__(self, p: float, like: Tensor) -> None:
        super().__init__()
        kind = torch.promote_types(like.dtype, torch.float32)
        logit = torch.full((), math.log(p) - math.log1p(-p), dtype=kind, device=like.device)
        self.logit = nn.Parameter(logit)

    @property
    def rate(self) -> float:
        return float(torch.sigmoid(self.logit.detach()))


class ConcreteDropout(Technique):
    r"""Learn the rate of dropout of each layer by gradient, with the weights: a relaxed mask is differentiable in it.

    .. math:: \tilde x = x\,\frac{1-z}{1-p}, \quad
              z = \mathrm{sigmoid}\Big(\frac{\log\frac{p}{1-p} + \log\frac{u}{1-u}}{t}\Big), \quad u \sim U(0, 1)

    .. math:: \text{loss} + \sum_l \frac{\lambda}{2}\,\frac{\lVert W_l \rVert^2}{1-p_l} - \eta\, K_l\, H(p_l), \quad
              H(p) = -p \log p - (1-p) \log(1-p)

    The inputs of a linear layer with K inputs are dropped one by one, of a convolution with K channels whole channels.
    Each layer has its own p, whose logit is a parameter beside its weights while the technique is attached: in the
    optimizer with the learning rate of its layer's weights and no decay, in checkpoints, and gone after ``close()`` and
    from ``export()``. The two penalties act on gradients, so that a loop need not know of them. The entropy pulls rates
    to 1/2 and the data pull them to 0: the less data, the larger the rates. In evaluation mode nothing happens;
    ``mc_predict(model, x)`` inside the session samples with the learned rates. :func:`learned_rates` shows them.

    Args:
        p: the rate to begin with, in (0, 1); 0.1 is usual.
        decay: λ >= 0, on the squared weights: the paper's l^2 / n for n training samples and a mean log loss, with the
            prior length scale l.
        entropy: η >= 0, on the entropy of the rates: 1 / n. 0 lets all rates go to 0.
        temperature: t > 0, of the relaxed masks; 0.1 in the paper.
        on: layers, by role, type or name. ``linears | convolutions`` is the default; roles leave frozen layers out.

    Raises:
        ConflictError: no linear or convolutional layer is selected, or another module, or a weight that is computed or
            frozen; a compiled or wrapped model.

    Warns:
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        >>> technique = dashpot.dropout.ConcreteDropout(0.1, entropy=0.01)
        >>> with technique.attach(model, optimizer) as session:
        ...     for _ in range(50):
        ...         optimizer.zero_grad(); model(torch.zeros(2, 4)).square().mean().backward(); _ = optimizer.step()
        >>> {name: rate > 0.2 for name, rate in dashpot.dropout.learned_rates(session).items()}
        {'0': True, '2': True}

    Paper: Gal, Hron and Kendall, "Concrete Dropout", NeurIPS 2017, arXiv 1705.07832.

    When not to use it: in short trainings, in which rates hardly move; where rates are searched anyway. A schedule of
    the learning rate that is made before ``attach`` does not know the group of the rates, which is apart where the
    optimizer decays weights: make it afterwards.
    """

    summary = "learns a rate of dropout for each layer"
    shards = False
    exclusive = ("learned rate", "computed weights")  # what computes a weight makes a layer of its own
    waivers: ClassVar[Mapping[str, str]] = {"off": "it learns its strength: leaving it out is its off"}

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), open="both")] = field(default=0.1, kw_only=False)
    decay: Annotated[float, Range(0.0, math.inf, search=(1e-8, 1e-4), log=True)] = 1e-6
    entropy: Annotated[float, Range(0.0, math.inf, search=(1e-6, 1e-2), log=True)] = 1e-5
    temperature: Annotated[float, Range(0.0, math.inf, open="low")] = 0.1
    on: Annotated[Where, Selection()] = Where.role("linears") | Where.role("convolutions")

    def acts_on(self, view: ModelView) -> Iterable[str]:
        return self._places(view)

    def on_build(self, view: ModelView, ctx: Context) -> Mapping[str, nn.Module]:
        self._demand_layers(view)
        made = {name: _with_rate(layer, self.p) for name, layer in self._places(view).items()}
        _rates[ctx] = {name: layer.get_submodule(PART) for name, layer in made.items()}
        return made

    def _demand_layers(self, view: ModelView) -> None:
        places, made = self._places(view), computed(view.modules)
        if not places:
            way = "It acts on linear and convolutional layers inside a model; name some, such as on='type:Linear'."
            refuse_nowhere(self, view, way)
        for name, layer in places.items():
            weight = layer._parameters.get("weight")
            if (by := made.get(f"{name}.weight")) is not None:
                raise ConflictError(
                    f"ConcreteDropout cannot act on {name!r}: {by.how} computes its weight from other parameters. Leave"
                    " it out with on=."
                )
            if not isinstance(layer, _KINDS) or weight is None or not weight.requires_grad or hasattr(layer, PART):
                raise ConflictError(
                    f"ConcreteDropout cannot act on {name!r} ({type(layer).__name__}): it needs a linear or"
                    " convolutional layer with a weight of its own that is trained. Choose others with on=."
                )

    def check(self, view: ModelView, ctx: Context) -> None:
        warn_single_epoch(self, ctx)

    def on_model(self, view: ModelView, ctx: Context) -> Iterable[Handle]:
        return [
            layer.register_forward_pre_hook(
                _Before(_Hook(place_key(ctx.key, name, ctx.rank), ctx.clock(), self.temperature))
            )
            for name, layer in _layers(view).items()
        ]

    def on_gradient(self, params: Params, ctx: Context) -> None:
        found = {name: (tensor, group) for name, tensor, group in ctx.view.params().live()}
        for name, layer in _layers(ctx.view).items():
            logit = layer.get_submodule(PART).get_parameter("logit")
            weight, group = found.get(f"{name}.weight", (None, {}))
            if weight is None or weight.grad is None or logit.grad is None:
                continue
            inputs = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
            by_weight, by_logit = penalty_gradients(weight, logit, self.decay, self.entropy, int(inputs))
            weight.grad.add_(by_weight, alpha=direction(group))
            logit.grad.add_(by_logit, alpha=direction(group))

    def describe(self, view: ModelView) -> str:
        rates = [f"{name} {rate:.3g}" for name, rate in learned_rates(view.model).items()]
        return f"{self.summary}, now {shown(rates)}"

    def _places(self, view: ModelView) -> dict[str, nn.Module]:
        """What is selected; of roles alone, the layers that have one input and are not frozen."""
        chosen = {name: module for name, module in view.modules.items() if name and self._matches(name, module)}
        if self.on.names_parts():
            return chosen
        return {name: layer for name, layer in chosen.items() if isinstance(layer, _KINDS) and not _is_frozen(layer)}

    def _matches(self, name: str, module: nn.Module) -> bool:
        role = "linears" if isinstance(module, nn.Linear) else "convolutions" if isinstance(module, _KINDS) else ""
        return self.on.matches(role, name, module)


def _is_frozen(layer: nn.Module) -> bool:
    weight = layer._parameters.get("weight")
    return weight is not None and not weight.requires_grad


def learned_rates(of: nn.Module | Session) -> dict[str, float]:
    """The rates that :class:`ConcreteDropout` has learned so far, by the name of the layer.

    Args:
        of: a session, also one that is closed; or a model to which the technique is attached.

    Raises:
        UsageError: there are none.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.dropout import ConcreteDropout, learned_rates
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 1))
        >>> session = ConcreteDropout(0.2).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> {name: round(rate, 3) for name, rate in learned_rates(model).items()}
        {'0': 0.2}
    """
    parts: dict[str, Any] = {}
    if isinstance(of, Session):
        for _, ctx in of.attached:
            parts |= _rates.get(ctx, {})
    else:
        found = ((name, module) for name, module in of.named_modules() if isinstance(module, LearnedRate))
        parts = {name.removesuffix(f".{PART}"): module for name, module in found}
    if not parts:
        raise UsageError(
            f"this {type(of).__name__} has no learned rates. Give the session to which ConcreteDropout was attached, or"
            " its model before close()."
        )
    return {name: part.rate for name, part in parts.items()}


_rates: weakref.WeakKeyDictionary[Context, dict[str, nn.Module]] = weakref.WeakKeyDictionary()


def _layers(view: ModelView) -> dict[str, Any]:
    """The layers with a learned rate, as they are now."""
    return {name: m for name, m in view.modules.items() if isinstance(getattr(m, PART, None), LearnedRate)}


def _with_rate(layer: nn.Module, p: float) -> nn.Module:
    """A layer with the same parameters and buffers, and a rate."""
    twin = type(layer).__new__(type(layer))
    own = {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(layer).items()}
    own.pop("__getstate__", None)  # of guests on the layer itself
    vars(twin).update(own)
    twin.add_module(PART, LearnedRate(p, layer.get_parameter("weight")))
    return twin


class _Hook(DropHook):
    technique = "ConcreteDropout"

    def __init__(self, key: int, clock: Tensor, temperature: float) -> None:
        super().__init__(key, clock, torch.ones((), device="cpu"))
        self.temperature = temperature

    def passed(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        size = out.shape
        if isinstance(module, _CONVOLUTIONS):
            batch = size[: out.ndim + 1 - module.weight.ndim]  # none for a single sample
            size = torch.Size([*batch, *size[len(batch) : len(batch) + 1], *[1] * (module.weight.ndim - 2)])
        uniform = uniform_at(self.key, self.clock, size, out.device)
        learned: Any = module.get_submodule(PART)  # whose logit may stand for a parameter, as in a functional call
        return concrete_dropout(out, uniform, learned.logit, self.temperature)


class _Before:
    """A layer's input passes the hook."""

    def __init__(self, hook: _Hook) -> None:
        self.hook, self.drops = hook, [hook]

    def __call__(self, module: nn.Module, args: Any) -> Any:
        if not (module.training or self.hook.sampling):
            return None
        if not args:
            raise UsageError(f"ConcreteDropout needs the input of {type(module).__name__} as its first argument.")
        return (self.hook(module, (), args[0]), *args[1:])
