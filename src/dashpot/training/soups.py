"""Soups: models of one shape, trained apart, as one model with the mean of their weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range, check_number
from dashpot.training.recalibrate import recalibrate

State = Mapping[str, Tensor]
Kind = TypeVar("Kind", bound=nn.Module | State)


@dataclass(frozen=True)
class Soup:
    """What :func:`greedy_soup` found.

    Attributes:
        model: with the mean of the chosen models' weights, in evaluation mode.
        chosen: the places of the models in it, best first.
        score: of the soup, on what it was chosen by.
    """

    model: nn.Module
    chosen: tuple[int, ...]
    score: float


def soup(models: Sequence[Kind], *, weights: Sequence[float] | None = None, data: Any = None) -> Kind:
    r"""The mean of the weights of several models of one shape: a uniform soup.

    .. math:: \bar w = \sum_k a_k w_k, \qquad \sum_k a_k = 1

    The models should have been trained from the same (pretrained) weights, so that the straight lines between them
    are of low loss.

    Args:
        models: networks, or their states (``state_dict()``); at least one.
        weights: numbers >= 0 in any scale; by default all alike.
        data: training data, with which the statistics of batch normalization are made anew (:func:`recalibrate`);
            None: they are averaged like weights. For networks only.

    Returns:
        A copy of the first network with the mean weights in evaluation mode, or a state. Entries that are no
        floating-point numbers, such as counters, are those of the first.

    Raises:
        ConfigError: no models, models of other shapes, or weights that are none.

    Example:
        >>> import torch, dashpot
        >>> a, b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        >>> mean = dashpot.soup([a, b])
        >>> bool(torch.allclose(mean.weight, (a.weight + b.weight) / 2))
        True

    Paper: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
    increasing inference time", ICML 2022.

    When not to use it: for models trained from different initial weights, whose mean is as good as random; average
    their predictions instead.
    """
    if not len(models):
        raise ConfigError("models", "at least one network or state", models)
    shares = [1.0] * len(models) if weights is None else [float(w) for w in weights]
    if len(shares) != len(models) or not all(0 <= w < float("inf") for w in shares) or not sum(shares):
        rule = f"{len(models)} finite numbers >= 0, one for each model and not all 0"
        raise ConfigError("weights", rule, weights)
    states = [one.state_dict() if isinstance(one, nn.Module) else one for one in models]
    mean = _mean(states, [w / sum(shares) for w in shares])
    first = models[0]
    if not isinstance(first, nn.Module):
        if data is not None:
            raise ConfigError("data", "None where states are given", type(data).__name__, "Give the networks.")
        return mean  # type: ignore[return-value]  # states give a state
    made = copy.deepcopy(first).eval()
    made.load_state_dict(mean)
    return made if data is None else recalibrate(made, data)  # type: ignore[return-value]  # a copy of the first


def greedy_soup(models: Sequence[nn.Module], score: Callable[[nn.Module], float], *, data: Any = None) -> Soup:
    """Add models to a soup one after the other, best first, and keep each that does not make it worse.

    Args:
        models: networks of one shape, at least one.
        score: from a network in evaluation mode to a number, higher is better; on validation data, which are then no
            longer fit to judge the soup.
        data: training data for :func:`recalibrate`, as in :func:`soup`.

    Returns:
        The soup, which models are in it, and its score: at least that of the best model alone.

    Raises:
        ConfigError: no models, or models of other shapes.

    Example:
        >>> import torch, dashpot
        >>> models = [torch.nn.Linear(2, 1, bias=False) for _ in range(3)]
        >>> found = dashpot.greedy_soup(models, lambda m: -float(m.weight.detach().square().sum()))
        >>> found.score >= max(-float(m.weight.detach().square().sum()) for m in models)
        True

    Paper: as :func:`soup`.

    When not to use it: with few validation rows, by which the choice is luck; :func:`soup` chooses nothing.
    """
    if not len(models):
        raise ConfigError("models", "at least one network", models)
    alone = [soup([model]) for model in models]
    scores = [float(score(model)) for model in alone]
    order = sorted(range(len(models)), key=lambda k: (-scores[k], k))
    chosen, best, made = [order[0]], scores[order[0]], alone[order[0]]
    for k in order[1:]:
        tried = soup([models[i] for i in (*chosen, k)], data=data)
        reached = float(score(tried))
        if reached >= best:
            chosen, best, made = [*chosen, k], reached, tried
    return Soup(made, tuple(chosen), best)


def interpolate(a: Kind, b: Kind, alpha: float, *, data: Any = None) -> Kind:
    r"""Weights on the straight line between two models: ``(1 - alpha) * a + alpha * b``.

    With a pretrained model (or one with a fine-tuned head only) as ``a`` and the fine-tuned one as ``b`` it is WiSE-FT:
    most of the fine-tuned accuracy with more of the robustness of before.

    Args:
        a, b: networks of one shape, or their states.
        alpha: in [0, 1]; 0 is ``a``, 1 is ``b``.
        data: training data for :func:`recalibrate`, as in :func:`soup`.

    Returns:
        As :func:`soup`.

    Raises:
        ConfigError: ``alpha`` outside [0, 1], or models of other shapes.

    Example:
        >>> import torch, dashpot
        >>> a, b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        >>> bool(torch.equal(dashpot.interpolate(a, b, 1.0).weight, b.weight))
        True

    Paper: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.

    When not to use it: between models that do not descend from the same weights.
    """
    alpha = check_number("alpha", alpha, Range(0.0, 1.0))
    return soup([a, b], weights=[1 - alpha, alpha], data=data)


@torch.no_grad()
def _mean(states: Sequence[State], shares: Sequence[float]) -> dict[str, Tensor]:
    first = states[0]
    for k, state in enumerate(states):
        for name in dict.fromkeys((*first, *state)):
            mine, theirs = first.get(name), state.get(name)
            if mine is None or theirs is None or mine.shape != theirs.shape:
                told = [None if t is None else list(t.shape) for t in (mine, theirs)]
                rule = f"of one shape: {name} is {told[0]} in the first"
                raise ConfigError(f"models[{k}]", rule, told[1])
    mean: dict[str, Tensor] = {}
    for name, tensor in first.items():
        if not tensor.is_floating_point():
            mean[name] = tensor.clone()
            continue
        wide = torch.promote_types(tensor.dtype, torch.float32)
        total: Tensor | None = None
        for state, share in zip(states, shares, strict=True):
            if share:  # what counts nothing may be infinite
                part = state[name].to(device=tensor.device, dtype=wide) * share
                total = part if total is None else total + part
        assert total is not None, "shares are not all 0"
        mean[name] = total.to(tensor.dtype)
    return mean
