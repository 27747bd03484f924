"""The contribution of each technique: the network without any (the baseline), with each alone, and with all, on the
same splits, beside reference models.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from dashpot.comparison.reference_models import (
    fit_reference,
    reference_inputs,
    reference_scores,
    reference_zeros,
    references,
    words_alone,
)
from dashpot.core.digits import digits
from dashpot.core.environment import machine, versions
from dashpot.core.errors import DashpotError
from dashpot.core.fields.codec import to_text
from dashpot.core.language import filled, say
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.core.technique import Technique
from dashpot.data import Prepared, Problem, Split
from dashpot.data.kinds import KINDS
from dashpot.data.tables.monotone import certificate_of
from dashpot.evaluation.metrics import DEFAULT
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.report.compare.record import ALL, BASELINE, Arm, ArmRun, CompareRecord
from dashpot.report.compare.table import arm_text
from dashpot.report.style import METRICS
from dashpot.runs.teachers import demand_same_inputs
from dashpot.techniques.augment.mixing.mixup import Mixup
from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.labels.label_smoothing import LabelSmoothing
from dashpot.techniques.penalties.l1 import L1
from dashpot.techniques.penalties.strengths import resolve_strengths
from dashpot.techniques.penalties.weight_decay import WeightDecay
from dashpot.techniques.stopping.best_weights import watches_held_out, watches_more
from dashpot.techniques.stopping.early_stopping import EarlyStopping
from dashpot.training.builtin import TrainingLength, exact_zeros, in_units, network_for, split_scores, train
from dashpot.training.loop import DivergenceWarning
from dashpot.training.setup import pick_device


def default_recipe(task: str, kind: str = "table") -> Recipe:
    """The techniques that are compared when none is named. Rows of words cannot be mixed, so of texts labels are
    smoothed instead.
    """
    if kind == "text":
        fourth: Technique | Recipe = LabelSmoothing(smoothing=0.05) if task == "classification" else Recipe()
    else:
        fourth = Mixup(alpha=0.2)
    return WeightDecay(strength=0.05) | Dropout(p=0.2) | fourth | L1(strength=1e-4) | EarlyStopping(patience=20)


def arms_of(recipe: Recipe) -> dict[str, Recipe]:
    """The baseline (the network without techniques), each technique alone, and all together where they may be."""
    arms = {BASELINE: Recipe()}
    for path, technique in zip(recipe.paths(), recipe, strict=True):
        arms[path] = Recipe((technique,))
    if len(recipe) > 1 and not alternatives(recipe):
        arms[ALL] = recipe
    return arms


def alternatives(recipe: Recipe) -> list[tuple[str, str]]:
    """Pairs of techniques that cannot stand in one recipe, by their paths."""
    parts = list(zip(recipe.paths(), recipe, strict=True))
    return [(a, b) for (a, first), (b, second) in itertools.combinations(parts, 2) if first.slots() & second.slots()]


@dataclass(frozen=True)
class Trained:
    """A network that was trained in a population.

    Attributes:
        network: on the CPU, in evaluation mode.
        epochs: trained.
        seconds: its share of the time.
    """

    network: nn.Module
    epochs: int
    seconds: float


def train_together(
    problem: Problem,
    prepared: Prepared,
    split: Split,
    recipes: Mapping[str, Recipe],
    length: TrainingLength,
    *,
    seed: int,
    device: str = "auto",
) -> dict[str, Trained]:
    """Several recipes from the same initial weights as one population, which gives what :func:`train` gives for each,
    to rounding.

    Returns:
        By name; without those whose loss diverged; :func:`train` gives the reason. None where some recipe is
        refused, with a budget, and for images on a CPU, whose convolutions are no faster together.
    """
    slow = not KINDS[problem.kind].faster_together and pick_device(device).type == "cpu"
    if slow or length.epochs is None or length.budget is not None:
        return {}
    started = time.perf_counter()
    alone = {name for name, recipe in recipes.items() if watches_more(recipe)}

    def make() -> nn.Module:
        return network_for(problem, prepared)

    def member(recipe: Recipe) -> Member:
        with initial_weights(seed):
            known = resolve_strengths(recipe, make(), prepared.part(split.train))
        watch = split.valid if watches_held_out(recipe) else None
        return Member(make=make, recipe=known, lr=length.lr, seed=seed, rows=split.train, watch=watch)

    together = [name for name in recipes if name not in alone]
    try:
        # In float32, so that an arm's numbers do not depend on what it is compared with.
        population = Population(
            [member(recipes[name]) for name in together],
            [(prepared.x, prepared.y)],
            epochs=length.epochs,
            batch_size=length.batch_size,
            schedule=length.schedule,
            device=device,
            bfloat16=False,
            modality=prepared.modality,
            weight=prepared.weight,
        )
        epochs = dict.fromkeys(range(len(together)), 0)
        while population.alive and population.epoch < length.epochs:
            epochs |= dict.fromkeys(population.alive, population.epoch + 1)
            population.train(1)
        networks = {n: population.model(n) for n in range(len(together)) if n not in population.failed}
    except Exception:  # whatever a technique raises: one by one, each with its own message
        return {}
    share = (time.perf_counter() - started) / max(len(together), 1)
    return {together[n]: Trained(network, epochs[n], share) for n, network in networks.items()}


def compare(
    problem: Problem,
    recipe: Recipe,
    *,
    repeats: int = 3,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    note: Callable[[str], None] = lambda text: None,
    keep: Callable[[CompareRecord], None] = lambda record: None,
) -> CompareRecord:
    """Compare on ``repeats`` splits; every arm of a repeat has the same split, seed and initial weights. Reference
    models learn from the same training rows.

    Args:
        problem: the data.
        recipe: its techniques are the arms.
        repeats: splits, >= 1.
        epochs: for the networks; by default about 3,000 steps.
        seed: of the first split; the others follow.
        device: of the networks.
        note: called with messages for the user.
        keep: called with the record after each repeat, so that an interrupted comparison has saved it.

    Raises:
        ConflictError: a teacher from a run on inputs that were prepared otherwise.
        ConfigError, UnknownNameError: data for which there is no network, or columns that can have no direction.

    Returns:
        The record; :mod:`dashpot.report.compare.stats` says what it means.
    """
    recipes = arms_of(recipe)
    for pair in alternatives(recipe):
        note(
            say(
                "{one} and {other} are alternatives, so there is no arm with all techniques.",
                one=pair[0],
                other=pair[1],
            )
        )
    arms = [Arm(name, "network", str(part)) for name, part in recipes.items()]
    arms += [Arm(name, "reference") for name in references(problem.task, kind=problem.kind)]
    record: CompareRecord | None = None
    for repeat in range(repeats):
        split = problem.split(seed + repeat)
        with warnings.catch_warnings():
            if repeat:
                warnings.simplefilter("ignore")  # told once is enough
            prepared = problem.prepare(split.train)
        demand_same_inputs(recipe, prepared.preprocessing, problem.classes)
        if not repeat:
            network_for(problem, prepared)  # what no arm could be trained with is refused before each arm would
            if words := words_alone(problem, prepared):
                arms += [Arm(words[0], "reference")]
        length = TrainingLength.default(problem.kind, len(split.train), epochs)
        record = CompareRecord(
            dataset=problem.name,
            metric=DEFAULT[problem.task],
            repeats=repeat + 1,
            train_rows=len(split.train),
            test_rows=len(split.test),
            arms=(),
            task=problem.task,
            seed=seed,
            rows=problem.n,
            features=prepared.x[0].numel() if prepared.modality == "table" else None,
            epochs=length.epochs,
            batch_size=length.batch_size,
            monotone=certificate_of(prepared),
            versions=versions(),
            machine=machine(),
            recipes={name: to_text(part, full=False) for name, part in recipes.items()},
        )
        together = train_together(problem, prepared, split, recipes, length, seed=seed + repeat, device=device)
        for i, arm in enumerate(arms):
            started, trained = time.perf_counter(), together.get(arm.name)
            run: dict[str, Any] = {}
            try:
                if trained is not None:
                    run = _measured(trained.network, trained.epochs, None, prepared, split)
                elif arm.kind == "network":
                    run = _network_run(problem, prepared, split, recipes[arm.name], length, seed + repeat, device)
                else:
                    run = _reference_run(problem, arm.name, prepared, split)
            except Exception as error:  # whatever a technique or a library raises ends its own arm only
                run = {"error": str(error) if isinstance(error, DashpotError | ValueError) else repr(error)}
            seconds = time.perf_counter() - started + (trained.seconds if trained is not None else 0.0)
            note(_progress(record, repeat, repeats, arm, run, seconds))
            arms[i] = replace(arm, runs=(*arm.runs, ArmRun(repeat, seed + repeat, seconds, **run)))
        record = replace(record, arms=tuple(arms))
        keep(record)
    assert record is not None
    return record


def _progress(
    record: CompareRecord, repeat: int, repeats: int, arm: Arm, run: Mapping[str, Any], seconds: float
) -> str:
    """The line of an arm that is done, in the language that is spoken."""
    split = say("split {n}/{many}", n=repeat + 1, many=repeats)
    if not (done := run.get("error")):
        score = say("test {score}", score=say(METRICS.get(record.metric, record.metric)))
        done = f"{score} {digits(run['test'][record.metric])}"
    time = say("{n:.1f} s", n=seconds)
    return f"{split}  {filled(arm_text(arm.name, arm.kind), 28)} {done}  {time}"


def _measured(network: nn.Module, epochs: int, error: str | None, prepared: Prepared, split: Split) -> dict[str, Any]:
    measured = split_scores(network, prepared, split)
    return {**measured, "zeros": exact_zeros(network)[0], "epochs": epochs, "error": error}


def _network_run(
    problem: Problem, prepared: Prepared, split: Split, recipe: Recipe, length: TrainingLength, seed: int, device: str
) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        result = train(problem, prepared, split, recipe, length, seed=seed, device=device, progress=False)
    return _measured(result.model, len(result.history), result.diverged, prepared, split)


def _reference_run(problem: Problem, name: str, prepared: Prepared, split: Split) -> dict[str, Any]:
    y, classes = prepared.y.numpy(), len(prepared.target.classes)
    words = words_alone(problem, prepared)
    if words is not None and name == words[0]:
        _, model, x = words
    else:
        x = reference_inputs(problem, prepared)
        model = references(problem.task, kind=problem.kind)[name](len(split.train) * x.shape[1] * max(classes, 1))
    w = None if prepared.weight is None else prepared.weight.numpy().astype("float64")

    def part(rows: np.ndarray) -> tuple[Any, ...]:
        return x[rows], y[rows], None if w is None else w[rows]

    note = fit_reference(model, *part(split.train))
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    measured = {
        name: in_units(reference_scores(model, *part(rows), classes=classes), prepared) for name, rows in parts.items()
    }
    return {**measured, "zeros": reference_zeros(model), "note": note}
