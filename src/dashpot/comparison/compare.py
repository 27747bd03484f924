"""What did each technique earn? The network without, with each alone, and with all, on the same splits, beside exact
references.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dashpot.comparison.baselines import fit_reference, reference_scores, reference_zeros, references
from dashpot.core.environment import machine, versions
from dashpot.core.errors import DashpotError
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.data import Prepared, Problem, Split
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.techniques import L1, Dropout, EarlyStopping, Mixup, WeightDecay
from dashpot.techniques.penalties.strengths import resolve_strengths
from dashpot.training.builtin import TrainingLength, exact_zeros, in_units, network_for, split_scores, train
from dashpot.training.loop import DivergenceWarning
from dashpot.training.setup import pick_device

Record = dict[str, Any]


def default_recipe(task: str) -> Recipe:
    """The cocktail that is compared when none is named."""
    return (
        WeightDecay(strength=0.05) | Dropout(p=0.2) | Mixup(alpha=0.2) | L1(strength=1e-4) | EarlyStopping(patience=20)
    )


def arms_of(recipe: Recipe) -> dict[str, Recipe]:
    """The plain network, each technique alone, and all together."""
    arms = {"plain": Recipe()}
    for path, technique in zip(recipe.paths(), recipe, strict=True):
        arms[path] = Recipe((technique,))
    if len(recipe) > 1:
        arms["all of them"] = recipe
    return arms


@dataclass(frozen=True)
class Trained:
    """A network that was trained among others.

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
        By name; without those whose loss diverged, which :func:`train` can tell more about. None where some recipe is
        refused, and for images on a CPU, whose convolutions are no faster together.
    """
    if problem.kind != "table" and pick_device(device).type == "cpu":
        return {}
    started = time.perf_counter()
    alone = {
        name
        for name, recipe in recipes.items()
        if any(isinstance(t, EarlyStopping) and not t.monitor.startswith("val_") for t in recipe)
    }

    def make() -> nn.Module:
        return network_for(problem, prepared)

    def member(recipe: Recipe) -> Member:
        with initial_weights(seed):
            known = resolve_strengths(recipe, make(), (prepared.x[split.train], prepared.y[split.train]))
        watch = split.valid if any(isinstance(t, EarlyStopping) for t in recipe) else None
        return Member(make=make, recipe=known, lr=length.lr, seed=seed, rows=split.train, watch=watch)

    together = [name for name in recipes if name not in alone]
    try:
        # In float32, so that an arm's numbers do not depend on what it is compared with.
        population = Population(
            [member(recipes[name]) for name in together],
            [(prepared.x, prepared.y)],
            epochs=length.epochs,
            batch_size=length.batch_size,
            device=device,
            bfloat16=False,
            modality=prepared.modality,
        )
        epochs = dict.fromkeys(range(len(together)), 0)
        while population.alive and population.epoch < length.epochs:
            epochs |= dict.fromkeys(population.alive, population.epoch + 1)
            population.train(1)
        networks = {n: population.model(n) for n in range(len(together)) if n not in population.failed}
    except (DashpotError, ValueError):
        return {}  # one by one, each with its own message
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
    keep: Callable[[Record], None] = lambda record: None,
) -> Record:
    """Compare on ``repeats`` splits; every arm of a repeat has the same split, seed and initial weights. References
    learn from the same training rows.

    Args:
        problem: the data.
        recipe: its techniques are the arms.
        repeats: splits, >= 1.
        epochs: for the networks; by default about 3,000 steps.
        note: told what happens.
        keep: given the record after each repeat, so that an interrupted comparison has what was done.

    Returns:
        A plain JSON record; see :mod:`dashpot.report.compare.stats`.
    """
    arms: dict[str, dict[str, Any]] = {
        name: {"name": name, "kind": "network", "recipe": str(part), "runs": []}
        for name, part in arms_of(recipe).items()
    }
    arms |= {name: {"name": name, "kind": "reference", "recipe": None, "runs": []} for name in references(problem.task)}
    record: Record = {
        "dataset": problem.name,
        "task": problem.task,
        "metric": "accuracy" if problem.task == "classification" else "r2",
        "repeats": 0,
        "seed": seed,
        "rows": problem.n,
        "versions": versions(),
        "machine": machine(),
        "arms": list(arms.values()),
    }
    for repeat in range(repeats):
        split = problem.split(seed + repeat)
        with warnings.catch_warnings():
            if repeat:
                warnings.simplefilter("ignore")  # told once is enough
            prepared = problem.prepare(split.train)
        length = TrainingLength.default(problem.kind, len(split.train), epochs)
        record |= {
            "features": prepared.x[0].numel(),
            "train_rows": len(split.train),
            "test_rows": len(split.test),
            "epochs": length.epochs,
            "batch_size": length.batch_size,
        }
        together = train_together(problem, prepared, split, arms_of(recipe), length, seed=seed + repeat, device=device)
        for name, arm in arms.items():
            started = time.perf_counter()
            run: Record = {"repeat": repeat, "seed": seed + repeat, "error": None, "zeros": None, "epochs": 0}
            try:
                if name in together:
                    run |= _trained_run(together[name], prepared, split)
                elif arm["kind"] == "network":
                    run |= _network_run(problem, prepared, split, arms_of(recipe)[name], length, seed + repeat, device)
                else:
                    run |= _reference_run(references(problem.task)[name], prepared, split)
            except (DashpotError, ValueError) as error:
                run["error"] = str(error)
            run["seconds"] = time.perf_counter() - started + (together[name].seconds if name in together else 0.0)
            arm["runs"].append(run)
            done = run["error"] or f"test {record['metric']} {run['test'][record['metric']]:.4f}"
            note(f"split {repeat + 1}/{repeats}  {name:<28} {done}  {run['seconds']:.1f} s")
        record["repeats"] = repeat + 1
        keep(record)
    return record


def _trained_run(trained: Trained, prepared: Prepared, split: Split) -> Record:
    network = trained.network
    return {
        **split_scores(network, prepared, split),
        "zeros": exact_zeros(network)[0],
        "epochs": trained.epochs,
        "error": None,
    }


def _network_run(
    problem: Problem, prepared: Prepared, split: Split, recipe: Recipe, length: TrainingLength, seed: int, device: str
) -> Record:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        result = train(problem, prepared, split, recipe, length, seed=seed, device=device, progress=False)
    return {
        **split_scores(result.model, prepared, split),
        "zeros": exact_zeros(result.model)[0],
        "epochs": len(result.history),
        "error": result.diverged,
    }


def _reference_run(make: Callable[[int], Any], prepared: Prepared, split: Split) -> Record:
    x, y = prepared.standardized().flatten(1).numpy().astype("float64"), prepared.y.numpy()
    classes = len(prepared.target.classes)
    model = make(len(split.train) * x.shape[1] * max(classes, 1))
    note = fit_reference(model, x[split.train], y[split.train])
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    measured = {
        name: in_units(reference_scores(model, x[rows], y[rows], classes), prepared) for name, rows in parts.items()
    }
    return {**measured, "zeros": reference_zeros(model), "note": note}
