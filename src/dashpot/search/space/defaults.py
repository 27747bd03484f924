"""The default search space: techniques, learning rates and networks for a kind of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashpot.core.errors import UnknownNameError
from dashpot.core.preset import Preset
from dashpot.core.registry import registry
from dashpot.core.technique import Technique
from dashpot.data import Prepared, Problem
from dashpot.nets import TableNet
from dashpot.search.networks import MONOTONE_OPTIONS, TABLE_OPTIONS, chosen_networks, directed, layout, network_space
from dashpot.search.space import images, signals, texts
from dashpot.search.space.distributions import Categorical, Distribution, Numeric, clipped
from dashpot.search.space.space import Candidate, Space
from dashpot.search.space.technique import technique_spaces
from dashpot.training.builtin import built_in


def default_techniques(kind: str, task: str, pictures: str | None = None) -> list[str | Technique]:
    """The techniques of the default space: those with a preset that the data admit, installed packages' included."""
    suiting = {
        name: [preset for preset in presets_of(cls) if preset.suits(kind, task, pictures)]
        for name, cls in registry().items()
    }
    found = [(name, presets[0]) for name, presets in suiting.items() if presets]
    found.sort(key=lambda pair: (pair[1].order, pair[0]))
    return [f"{name}:{preset.fields}" if preset.fields else name for name, preset in found]


def presets_of(cls: type[Technique]) -> tuple[Preset, ...]:
    """A class's own presets: one that it inherits is its base's."""
    found = vars(cls).get("preset") or ()
    return (found,) if isinstance(found, Preset) else found


STRONG = {"weight-decay": {"strength": 0.4}, "dropout": {"p": 0.3}, "ema": {"decay": 0.98}}
COMBINATIONS: Mapping[str, tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Any]]] = {
    "light, averaged, faster": (
        {"weight-decay": {"strength": 0.02}, "dropout": {"p": 0.1}, "ema": {"decay": 0.98}},
        {"lr": 8e-3},
    ),
    "mixed, averaged, periodic, deeper": (
        {"weight-decay": {"strength": 0.05}, "mixup": {"alpha": 0.1}, "ema": {"decay": 0.98}},
        {"lr": 3e-3, "net.embedding": "periodic", "net.depth": 3},
    ),
    "strong decay": (STRONG, {"lr": 5e-3, "net.activation": "relu"}),
    "slow, noisy, decayed, periodic": (
        {"weight-decay": {"strength": 0.2}, "input-noise": {"std": 0.1}, "ema": {"decay": 0.96}},
        {"lr": 1.5e-3, "net.embedding": "periodic"},
    ),
    "slow, little noise, rectified": (
        {"input-noise": {"std": 0.02}, "mixup": {"alpha": 0.06}},
        {"lr": 1.8e-3, "net.activation": "relu", "net.width": 256},
    ),
    "noisy, averaged, periodic": (
        {"input-noise": {"std": 0.02}, "mixup": {"alpha": 0.1}, "ema": {"decay": 0.98}},
        {"lr": 5e-3, "net.embedding": "periodic"},
    ),
    "sparse, averaged, no embedding": (
        {"l1": {"strength": 1e-4}, "ema": {"decay": 0.98}},
        {"lr": 6e-3, "net.embedding": "none", "net.depth": 3},
    ),
    "strong decay, no embedding": (STRONG, {"lr": 5e-3, "net.embedding": "none"}),
    "stopped": ({"weight-decay": {"strength": 0.02}, "dropout": {"p": 0.15}, "early-stopping": {}}, {}),
}
"""Combinations that are tried first: techniques by name with their fields, and further settings.

What published defaults and measurements found good. Together they are to have something for every kind of table. They
were chosen on 17 of them, where their best is half as far from the best that is known as that of an earlier choice was,
which had little for few rows and noisy labels. First comes one that learns fast, then those that are good most often: a
short training has no room for all, and no time for slow ones.
"""


def starting_points(space: Space) -> dict[str, dict[str, Any]]:
    """Points of a space that are tried first, by name: combinations, then those that techniques declare themselves.

    Of a combination what the space does not have is left out.
    """
    found: dict[str, dict[str, Any]] = {}
    names = {part.name for part in space.techniques}
    usual = signals.COMBINATIONS if "time-shift" in names else images.combinations_for(names) or COMBINATIONS
    named = set(getattr(space.net.get("net"), "values", ()))
    if texts.NETWORKS & named:
        usual = texts.combinations_for(named)
    for title, (techniques, settings) in usual.items():
        point: dict[str, Any] = {}
        for name, fields in techniques.items():
            point |= {name: True, **{f"{name}.{field}": value for field, value in fields.items()}}
        found[title] = point | dict(settings)
    for part in space.techniques:
        for preset in presets_of(type(part.base)):
            for title, fields in preset.points.items():
                own = {f"{part.name}.{field}": value for field, value in fields.items()}
                found[f"{part.name}: {title}"] = {**space.defaults_of(part), **own}
    return found


def first_candidates(space: Space) -> list[Candidate]:
    """Baseline, everything, and combinations that are often good, without repeats."""
    baseline = space.baseline()
    found = [baseline]
    distributions = space.distributions()
    for point in starting_points(space).values():
        fits = {k: clipped(v, distributions[k]) for k, v in point.items() if k in distributions}
        if any(v is True for v in fits.values()):
            candidate = space.candidate(space.settled({**baseline.params, **fits}))
            if dict(candidate.params) not in [dict(c.params) for c in found] and inside(space, candidate.params):
                found.append(candidate)
    default = space.default()
    return [*found, default] if dict(default.params) not in [dict(c.params) for c in found] else found


def inside(space: Space, params: Mapping[str, Any]) -> bool:
    """Whether a point has all fields of what is on, in their ranges."""
    distributions = space.distributions()
    return all(
        name in distributions
        and (value in d.values if isinstance(d := distributions[name], Categorical) else d.low <= value <= d.high)
        for name, value in params.items()
    ) and all(f"{part.name}.{f}" in params for part in space.techniques if params.get(part.name) for f in part.fields)


def default_space(
    problem: Problem,
    prepared: Prepared,
    wanted: Sequence[str | Technique] | None,
    without: Sequence[str] = (),
    networks: Sequence[str] = (),
) -> Space:
    """Techniques, learning rates and networks for a kind of data.

    Args:
        wanted: techniques that take the place of the default space.
        without: names to leave out of it.
        networks: options of the network to search or to fix, such as ``"width=64,128"``, ``"skip=true"`` or
            ``"members=1,8"``; they take the place of the default choices of the same name.
    """
    pictures = getattr(prepared.preprocessing, "pictures", None)
    parts = technique_spaces(wanted if wanted is not None else default_techniques(problem.kind, problem.task, pictures))
    if wanted is None and getattr(prepared.preprocessing, "ground", 0.0) > images.DARK:
        parts = images.on_light_ground(parts)
    known = {part.name for part in parts}
    for name in without:
        if name not in known:
            raise UnknownNameError("--without", name, known)
    parts = [part for part in parts if part.name not in without]
    rows = len(prepared.x)
    net: dict[str, Distribution]
    default: dict[str, Any]
    shape, outputs = prepared.x.shape[1:], max(len(problem.classes), 1)
    if problem.kind == "signal":
        net, default = network_space("signal", shape, outputs, networks)
        return Space(parts, lr=Numeric(5e-4, 2e-2, log=True), net=net, lr_default=3e-3, net_default=default)
    if problem.kind == "text":
        vectors = getattr(prepared.preprocessing, "vectors", None)
        width = None if vectors is None else vectors.width
        net, default = network_space("text", shape, outputs, networks, prepared.preprocessing.sizes, width)
        return Space(parts, lr=texts.LR, net=net, lr_default=texts.LR_DEFAULT, net_default=default)
    if problem.kind != "table":
        net, default = network_space("image", shape, outputs, networks)
        return Space(
            parts,
            lr=Numeric(5e-4, 2e-2, log=True),
            net=net,
            lr_default=3e-3,
            net_default=default,
            conflicts=images.alternatives_in([part.name for part in parts]) if wanted is None else (),
        )
    if directed(prepared.preprocessing):
        net = {"width": Categorical((64, 128)), "depth": Categorical((2, 3))}
        net |= chosen_networks(networks, MONOTONE_OPTIONS)
        default = {name: clipped(value, net[name]) for name, value in {"width": 128, "depth": 2}.items()}
        for name, values in ((name, d.values) for name, d in net.items() if isinstance(d, Categorical)):
            for value in values:
                built_in(prepared.preprocessing, shape, outputs, **{**default, name: value})
        return Space(parts, lr=Numeric(5e-4, 2e-2, log=True), net=net, lr_default=3e-3, net_default=default)
    numbers = layout(prepared)[0]
    net = {
        "width": Categorical((128, 256)),
        "depth": Categorical((2, 3)),
        "embedding": Categorical(("piecewise", "periodic", "none") if numbers else ("none",)),
        "activation": Categorical(("silu", "relu")),
    }
    net |= chosen_networks(networks, TABLE_OPTIONS)
    default = {
        "width": 128 if rows < 5000 else 256,
        "depth": 2,
        "embedding": "piecewise" if numbers else "none",
        "activation": "silu",
    }
    default = {name: clipped(value, net[name]) for name, value in default.items()}
    for name, values in ((name, d.values) for name, d in net.items() if isinstance(d, Categorical)):
        for value in values:  # each must be one that the network allows: refused now, not during a race
            TableNet(prepared.x.shape[1], 2, numeric=numbers, **{**default, name: value})
    return Space(parts, lr=Numeric(5e-4, 2e-2, log=True), net=net, lr_default=3e-3, net_default=default)
