"""The space of a search for a network of the caller's own, which is tried on some rows before work begins."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DashpotError, UnknownNameError
from dashpot.core.recipe import Recipe
from dashpot.core.running.criteria import own_number
from dashpot.core.technique import Technique
from dashpot.data import Prepared, Problem
from dashpot.evaluation.losses import Criterion
from dashpot.population.members import built
from dashpot.runs.factories import load_factory
from dashpot.search.arguments import name_of
from dashpot.search.config import SearchConfig
from dashpot.search.inputs import factory_of, staged
from dashpot.search.networks import chosen_networks
from dashpot.search.racing.task import Factory
from dashpot.search.space import images
from dashpot.search.space.defaults import default_techniques
from dashpot.search.space.distributions import Distribution, Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import TechniqueSpace, technique_spaces
from dashpot.training.setup import adamw_for

LR, LR_DEFAULT = (1e-4, 1e-2), 1e-3
"""Learning rates for a network of the caller's own."""


def own_space(
    problem: Problem,
    prepared: Prepared,
    make: Factory,
    config: SearchConfig,
    net: Mapping[str, Distribution],
    *,
    loss: Criterion | None = None,
    space: Space | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Space:
    """The techniques that fit the data and the network, learning rates, and the network's options.

    Args:
        make: from options to a network.
        net: options that are searched or fixed.
        space: a ready one, which is only tried.
        note: is told what is left out of the default techniques, and why.

    Raises:
        ConfigError: the network does not fit the data.
    """
    parts = own_techniques(problem, prepared, config.recipe, config.without)
    default = space is None and config.recipe is None
    if default:
        images.note_pictures(prepared, config.pictures is not None, note)
    first = space or Space(parts, lr=Numeric(*LR, log=True), net=net, lr_default=LR_DEFAULT)
    baseline, own = dict(first.baseline().net), staged(make, prepared)
    demand_fit(lambda: own(baseline), prepared, len(problem.classes), loss, make)
    if not default:
        return first
    kept, reasons = admitted(parts, lambda: own(baseline), prepared, len(problem.classes))
    for reason in reasons:
        note(reason)
    pairs = images.alternatives_in([part.name for part in kept])
    return Space(kept, lr=first.lr, net=first.net, lr_default=first.lr_default, conflicts=pairs)


def own_network(text: str, problem: Problem, prepared: Prepared, options: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """What makes networks by the function that ``--model`` names, called with ``options``, for prepared data.

    Raises:
        ConfigError: it cannot be imported, or does not fit the data.
    """
    made = factory_of(load_factory(text))
    own = staged(made, prepared)
    with torch.random.fork_rng(devices=[]):
        demand_fit(lambda: own(options), prepared, len(problem.classes), None, made)
    return lambda: own(options)


def own_search(text: str, problem: Problem, config: SearchConfig, note: Callable[[str], None]) -> dict[str, Any]:
    """The arguments of :class:`~dashpot.search.run.Search` for the function that ``--model`` names; the options of its
    networks are ``config.networks``.

    Raises:
        ConfigError: it cannot be imported, or options that are not written name=value.
    """
    make = factory_of(load_factory(text))
    net = chosen_networks(config.networks, None)

    def space(prepared: Prepared) -> Space:
        with torch.random.fork_rng(devices=[]):
            return own_space(problem, prepared, make, config, net, note=note)

    return {"make": make, "space": space, "usual_batches": True}


def own_techniques(
    problem: Problem, prepared: Prepared, wanted: Sequence[str | Technique] | None, without: Sequence[str]
) -> list[TechniqueSpace]:
    """The techniques for a network of the caller's own: of tables, images and signals those for such data, of tensors
    that are used as they are those for all.
    """
    if wanted is None:
        pictures = getattr(prepared.preprocessing, "pictures", None)
        parts = technique_spaces(default_techniques(problem.kind, problem.task, pictures))
        if getattr(prepared.preprocessing, "ground", 0.0) > images.DARK:
            parts = images.on_light_ground(parts)
    else:
        parts = technique_spaces(wanted)
    known = {part.name for part in parts}
    for name in without:
        if name not in known:
            raise UnknownNameError("without", name, sorted(known))
    return [part for part in parts if part.name not in without]


def demand_fit(
    make: Callable[[], nn.Module],
    prepared: Prepared,
    classes: int,
    loss: Criterion | None,
    named: Callable[..., Any] | None = None,
) -> None:
    """Run a network on a few rows, as a check.

    Args:
        named: the function whose name errors tell.

    Raises:
        ConfigError: it does not take the inputs, or gives something else than one logit per class or the values.
    """
    for name, held in (("vectors", "vectors"), ("encoder", "encoded")):
        if getattr(prepared.preprocessing, held, None) is not None:
            rule, way = "None with a model of your own", "Read it in the function that makes the model."
            raise ConfigError(name, rule, "a path", way)
    network, way = built(make).eval(), "" if named is None else f"It is made by {name_of(named)}."
    if not any(p.requires_grad for p in network.parameters()):
        raise ConfigError("model", "a module with trainable parameters", type(network).__name__, way)
    x, y = prepared.x[:4], prepared.y[:4]
    shape = f"[n{''.join(f', {k}' for k in x.shape[1:])}] of {str(x.dtype).removeprefix('torch.')}"
    try:
        with torch.no_grad():
            out = network(x)
    except Exception as error:  # whatever the user's own code raises
        said = (str(error).splitlines() or [""])[0] or type(error).__name__
        if x.dtype == torch.uint8 and x.ndim == 4 and prepared.modality is None:
            way += " Pixels as bytes are floats to most networks: give X / 255, or the images as a file or folder."
        raise ConfigError("model", f"a network for inputs {shape}", said, way.strip()) from error
    wanted = [len(x), classes] if classes else list(y.shape)
    fits = isinstance(out, Tensor) and (
        list(out.shape) == wanted if classes else out.numel() == y.numel() and len(out) == len(y)
    )
    if not fits:
        rule = (
            f"a network that gives one logit per class, {wanted}"
            if classes
            else f"a network that gives the values to predict, {wanted}"
        )
        raise ConfigError(
            "model",
            f"{rule}, for {len(x)} rows",
            list(out.shape) if isinstance(out, Tensor) else type(out).__name__,
            way,
        )
    if loss is not None:
        try:
            own = own_number(loss, out, y)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConfigError(
                "loss", "a function from (output, target) to the loss of each sample", str(error).splitlines()[0]
            ) from error
        if not isinstance(own, Tensor) or own.shape[:1] != (len(x),):
            got = list(own.shape) if isinstance(own, Tensor) else type(own).__name__
            raise ConfigError(
                "loss",
                f"a function that gives the loss of each sample, [{len(x)}]",
                got,
                "With reduction='none', for example.",
            )


def admitted(
    parts: list[TechniqueSpace], make: Callable[[], nn.Module], prepared: Prepared, classes: int
) -> tuple[list[TechniqueSpace], list[str]]:
    """The techniques that fit a network and its inputs, and why others do not."""
    kept, reasons = [], []
    for part in parts:
        why = ""
        if part.base.requires.float_input and not prepared.x.is_floating_point() and prepared.modality != "image":
            why = "the inputs are whole numbers"
        else:
            network = built(make)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # what warns is not for a default
                    optimizer = adamw_for(network, None, 1e-3)
                    targets = "classes" if classes else "values"
                    Recipe((part.base,)).attach(
                        network,
                        optimizer,
                        seed=0,
                        classes=classes or None,
                        targets=targets,
                        batch_size=2,
                        closure=part.base.evaluations > 1,
                        modality=prepared.modality,
                    ).close()
            except (DashpotError, Warning) as error:
                why = str(error).split(". ")[0].rstrip(".")
        if why:
            reasons.append(f"{part.name} is left out of the default techniques: {why}")
        else:
            kept.append(part)
    return kept, reasons
