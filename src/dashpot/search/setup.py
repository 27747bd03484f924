"""From a problem to a task and a space: preparation, folds, the network, and the default cocktail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot import nets
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.technique import Technique
from dashpot.data import Prepared, Preprocessing, Problem
from dashpot.evaluation.cross_validation import enough_rows
from dashpot.evaluation.cross_validation import folds as split_folds
from dashpot.evaluation.metrics import Metric
from dashpot.nets import TableNet
from dashpot.search.racing.task import Task, equal_folds
from dashpot.search.space.distributions import Dimension, Options, Span, clipped
from dashpot.search.space.space import Space, ingredients
from dashpot.techniques import EarlyStopping

TABLE_OPTIONS = ("width", "depth", "embedding", "embedding_size", "activation", "norm", "skip", "scaling", "members")
LARGE_BLOCK = 9
"""One-hot blocks with more levels are embedded (Holzmüller et al. 2024)."""
FEW_BINS, BINS, MANY_ROWS = 16, 48, 5000
"""Of the piecewise embedding, for classes with fewer rows, and otherwise: a value tells more than a class, and few
classes are soon learned by heart.
"""


def default_ingredients(kind: str, task: str) -> list[str | Technique]:
    """The cocktail: one of each family that the data admit, at strengths that are right for many sets."""
    cocktail: list[str | Technique] = [
        "weight-decay:strength=0.002..1",
        "dropout:p=0.05..0.5",
        "mixup",
        "l1:strength=1e-6..1e-3",
        "ema",
        EarlyStopping(patience=1000),  # keeps the best weights; the race decides who stops
    ]
    if task == "classification":
        cocktail.insert(3, "label-smoothing:smoothing=0.01..0.15")
    if kind == "table":
        cocktail.insert(2, "input-noise:std=0.01..0.3")
    return cocktail


def starting_points() -> dict[str, dict[str, Any]]:
    """Combinations that are tried first, by name: what published defaults and measurements found good.

    Together they are to have something for every kind of table. They were chosen on 17 of them, where their best is
    half as far from the best that is known as that of an earlier choice was, which had little for few rows and noisy
    labels. First comes one that learns fast, then those that are good most often: a short course has no room for all,
    and no time for slow ones.
    """
    averaged = {"ema": True, "ema.decay": 0.98}
    strong = {
        "weight-decay": True,
        "weight-decay.strength": 0.4,
        "dropout": True,
        "dropout.p": 0.3,
        **averaged,
        "lr": 5e-3,
    }
    noisy = {"input-noise": True, "input-noise.std": 0.02, "mixup": True, "mixup.alpha": 0.1}
    mixed = {"weight-decay": True, "weight-decay.strength": 0.05, "mixup": True, "mixup.alpha": 0.1}
    slow = {
        "weight-decay": True,
        "weight-decay.strength": 0.2,
        "input-noise": True,
        "input-noise.std": 0.1,
        "ema": True,
        "ema.decay": 0.96,
    }
    light = {"weight-decay": True, "weight-decay.strength": 0.02, "dropout": True}
    return {
        "light, averaged, faster": {**light, **averaged, "dropout.p": 0.1, "lr": 8e-3},
        "mixed, averaged, periodic, deeper": {
            **mixed,
            **averaged,
            "lr": 3e-3,
            "net.embedding": "periodic",
            "net.depth": 3,
        },
        "strong decay": {**strong, "net.activation": "relu"},
        "slow, noisy, decayed, periodic": {**slow, "lr": 1.5e-3, "net.embedding": "periodic"},
        "slow, little noise, rectified": {
            **noisy,
            "mixup.alpha": 0.06,
            "lr": 1.8e-3,
            "net.activation": "relu",
            "net.width": 256,
        },
        "noisy, averaged, periodic": {**noisy, **averaged, "lr": 5e-3, "net.embedding": "periodic"},
        "sparse, averaged, no embedding": {
            "l1": True,
            "l1.strength": 1e-4,
            **averaged,
            "lr": 6e-3,
            "net.embedding": "none",
            "net.depth": 3,
        },
        "strong decay, no embedding": {**strong, "net.embedding": "none"},
        "stopped": {**light, "dropout.p": 0.15, "early-stopping": True},
    }


def default_space(
    problem: Problem,
    prepared: Prepared,
    wanted: Sequence[str | Technique] | None,
    without: Sequence[str] = (),
    networks: Sequence[str] = (),
) -> Space:
    """Ingredients, learning rates and networks for a kind of data.

    Args:
        wanted: ingredients that take the place of the default cocktail.
        without: names to leave out of it.
        networks: options of the network to search or to fix, such as ``"width=64,128"``, ``"skip=true"`` or
            ``"members=1,8"``; they take the place of the default choices of the same name.
    """
    parts = ingredients(wanted if wanted is not None else default_ingredients(problem.kind, problem.task))
    known = {part.name for part in parts}
    for name in without:
        if name not in known:
            raise UnknownNameError("--without", name, known)
    parts = [part for part in parts if part.name not in without]
    rows = len(prepared.x)
    if problem.kind != "table":
        net: dict[str, Dimension] = {"width": Options((16, 32)), **chosen_networks(networks, ("width",))}
        return Space(parts, lr=Span(5e-4, 2e-2, log=True), net=net, lr_default=3e-3)
    numbers = layout(prepared)[0]
    net = {
        "width": Options((128, 256)),
        "depth": Options((2, 3)),
        "embedding": Options(("piecewise", "periodic", "none") if numbers else ("none",)),
        "activation": Options(("silu", "relu")),
    }
    net |= chosen_networks(networks, TABLE_OPTIONS)
    default = {
        "width": 128 if rows < 5000 else 256,
        "depth": 2,
        "embedding": "piecewise" if numbers else "none",
        "activation": "silu",
    }
    default = {name: clipped(value, net[name]) for name, value in default.items()}
    for name, values in ((name, d.values) for name, d in net.items() if isinstance(d, Options)):
        for value in values:  # each must be one that the network allows: better told now than in the middle of a race
            TableNet(prepared.x.shape[1], 2, numeric=numbers, **{**default, name: value})
    return Space(parts, lr=Span(5e-4, 2e-2, log=True), net=net, lr_default=3e-3, net_default=default)


def chosen_networks(texts: Sequence[str], known: Sequence[str]) -> dict[str, Dimension]:
    """Options of the network from ``name=value,value``.

    Raises:
        UnknownNameError: no such option.
        ConfigError: text that is no ``name=value``.

    >>> chosen_networks(["skip=true,false", "width=64"], ("skip", "width"))
    {'skip': Options(values=(True, False)), 'width': Options(values=(64,))}
    """
    found: dict[str, Dimension] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ConfigError("--net", "written name=value or name=value,value", text)
        if name not in known:
            raise UnknownNameError("--net", name, known)
        found[name] = Options(tuple(_read(value.strip()) for value in values.split(",")))
    return found


def _read(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.lstrip("-").isdigit() else text


def layout(prepared: Prepared) -> tuple[int, list[tuple[int, int]]]:
    """How many columns are numbers, and the one-hot blocks that are large."""
    assert isinstance(prepared.preprocessing, Preprocessing)
    found = prepared.preprocessing.layout()
    return len(prepared.preprocessing.numeric), [(a, b) for a, b in found.nominal if b - a > LARGE_BLOCK]


def factory(problem: Problem, prepared: Prepared, rows: np.ndarray) -> Callable[[Mapping[str, Any]], nn.Module]:
    """From options to a network for these data; bins of an embedding are at the quantiles of ``rows``."""
    outputs = max(len(problem.classes), 1)
    bins: dict[Any, dict[str, Tensor]] = {}
    count = FEW_BINS if problem.task == "classification" and len(rows) < MANY_ROWS else BINS

    def make(options: Mapping[str, Any]) -> nn.Module:
        if problem.kind != "table":
            return nets.build(problem.kind, prepared.x.shape[1:], outputs, **prepared.stage, **options)
        numbers, blocks = layout(prepared)
        net = TableNet(prepared.x.shape[1], outputs, numeric=numbers, nominal=blocks, **{"bins": count, **options})
        if options.get("embedding") == "piecewise":
            key = tuple(sorted((k, str(v)) for k, v in options.items()))
            if key not in bins:
                net.fit_bins(prepared.x[torch.as_tensor(rows)])
                bins[key] = {name: b.clone() for name, b in net.named_buffers()}
            for name, b in net.named_buffers():
                b.copy_(bins[key][name])
        return net

    return make


def make_task(
    problem: Problem,
    prepared: Prepared,
    pool: np.ndarray,
    cv: int,
    metric: Metric,
    seed: int,
    device: str,
    low: bool | None,
) -> Task:
    """Folds of the pool, and what else a worker needs.

    Columns are prepared with the statistics of the whole pool, which knows no target and no test row: one table then
    serves all folds.

    Raises:
        ConfigError: more folds than rows of a class.
    """
    if problem.task == "classification":
        enough_rows(np.bincount(problem.labels[pool], minlength=len(problem.classes)), cv)
    positions = split_folds(prepared.y[torch.as_tensor(pool)], cv, seed)
    parts = equal_folds([(pool[train], pool[valid]) for train, valid in positions], seed)
    return Task(
        x=prepared.x,
        y=prepared.y,
        folds=parts,
        make=factory(problem, prepared, pool),
        metric=metric,
        classes=len(problem.classes),
        seed=seed,
        scale=prepared.target.scale,
        device=device,
        low=low,
        modality=prepared.modality,
    )
