"""The final network of a search over images: the chosen recipe at full size, on all rows, in the time that is left."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.core.running.tensor_rows import TensorRows
from dashpot.search.networks import RACED, named
from dashpot.search.outcome.ensemble import Final
from dashpot.search.racing.budget import behind
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.setup import Setup
from dashpot.search.space.space import Candidate
from dashpot.search.storage.study import Store
from dashpot.techniques.stopping.best_weights import watches_held_out
from dashpot.training.checkpoint import FILE, HISTORY
from dashpot.training.loop import FitResult, fit

Parts = Sequence[Tensor | TensorRows]
"""Inputs, targets, and perhaps weights."""
FOLDER, END = "final", 0.93
"""Where its checkpoint is, and the share of the budget by which it is ready."""
SAMPLED, FEW = 512, 16
"""Rows by which an epoch is timed, and those that it is then scored on."""
WIDTHS = (16, 24, 32, 48, 64, 96)
"""Channels behind the stem, of which the final network has as many as let it see enough rows in its time."""
VISITS, LEAST, ENOUGH = 160_000, 10, 60
"""How many are enough, all epochs together, and the epochs of few and of many rows: measured on 5,000 rows, of which a
network wins more from the double width than from epochs beyond.
"""
MARGIN = 0.9
"""The share of the time that is planned with, as the pace may fall."""
SHORTEST = 1.0
"""Seconds that it has at least, where the time is up already."""
FEWEST, USEFUL, MOST = 3, 10, 150
"""Epochs: at least, those below which it is said that they are few, and at most."""


def final_network(
    setup: Setup,
    whole: Task,
    training: TrainingBudget,
    store: Store,
    chosen: Candidate,
    made: Final,
    race: Mapping[str, int],
) -> Final:
    """One network of the chosen candidate, trained on the whole pool at full size for as many epochs as the budget
    leaves: the learning rate falls by the clock, so that it ends in time whatever the pace does. A training that was
    cut off goes on from its last epoch in the time that is left.

    Args:
        whole: the task at full size.
        made: of the race's networks: its temperature and decision stay.
        race: what it was chosen by, kept for a search that is resumed (:func:`planned`).
    """
    index = torch.as_tensor(setup.pool)
    # Of a large set only the batches are copied.
    x = TensorRows(whole.x, index) if whole.x.ndim > 2 else whole.x[index]
    parts = [x, whole.y[index], *([] if whole.weight is None else [whole.weight[index]])]
    batch = chosen.batch_size or training.batch_size
    key = key_of(chosen)
    plan: Mapping[str, Any] = store.get("final") or {}
    folder = setup.folder / FOLDER
    if plan.get("candidate") != key:
        shutil.rmtree(folder, ignore_errors=True)  # of another candidate, before the search was resumed
        net = _net(setup, whole, chosen, parts, batch)
        epochs = _epochs(setup, whole, replace(chosen, net=net), parts, batch)
        plan = {"candidate": key, "epochs": epochs, "net": dict(net), "race": dict(race)}
        store.set("final", dict(plan))
    epochs, chosen = int(plan["epochs"]), replace(chosen, net=plan.get("net", chosen.net))
    spent = {"budget": _spent(folder) + max(_left(setup), SHORTEST)} if setup.config.budget is not None else {}
    resume = (folder / FILE).exists()
    result = _fit(setup, whole, chosen, parts, batch, epochs, checkpoint=folder, resume=resume, **spent)
    if result.diverged:
        setup.note(f"the final network was trained again at a third of its learning rate: {result.diverged}")
        spent = {"budget": max(_left(setup), SHORTEST)} if spent else {}
        result = _fit(setup, whole, replace(chosen, lr=chosen.lr / 3), parts, batch, epochs, **spent)
    epochs = len(result.history)
    if epochs < USEFUL:
        setup.note(f"the budget left {epochs} epochs for the final network; give more time for a better one.")
    width = f" of width {chosen.net['width']}" if "width" in chosen.net else ""
    text = f"one network{width}, {epochs} epochs at full size on all {len(setup.pool):,} rows but the test part"
    network = result.model if result.large is None else result.large  # as its description will make it again
    return replace(made, network=network.cpu().eval(), text=text, net=dict(chosen.net))


def planned(store: Store, trials: Sequence[Trial]) -> tuple[str, int] | None:
    """Of a search that was cut off while its final network trained, and has raced nothing since: the candidate that was
    chosen, and on how many folds; else None. With less time it might choose otherwise.
    """
    plan: Mapping[str, Any] = store.get("final") or {}
    race = plan.get("race") or {}
    return (str(plan["candidate"]), int(race["folds"])) if race.get("trials") == len(trials) else None


def key_of(candidate: Candidate) -> str:
    """By which a candidate is told from others."""
    return str(dict(candidate.params))


def _net(setup: Setup, whole: Task, chosen: Candidate, parts: Parts, batch: int) -> dict[str, Any]:
    """The options of the network, as wide as the time allows where the race had one width."""
    net = dict(chosen.net)
    if setup.own or setup.config.budget is None or "width" in named(setup.config.networks) or net.get("width") != RACED:
        return net
    enough = min(ENOUGH, max(LEAST, round(VISITS / len(parts[0]))))
    for width in WIDTHS:
        wider = replace(chosen, net={**net, "width": width})
        if MARGIN * _left(setup) < enough * _pace(setup, whole, wider, parts, batch):
            break
        net = dict(wider.net)
    return net


def _epochs(setup: Setup, whole: Task, chosen: Candidate, parts: Parts, batch: int) -> int:
    """At most. Schedules of techniques follow them, so that there they are as many as the measured pace allows."""
    if setup.config.budget is not None and not any(t.schedules() for t in chosen.recipe):
        return MOST
    pace = _pace(setup, whole, chosen, parts, batch)
    return min(MOST, max(FEWEST, int(MARGIN * _left(setup) / pace) if pace else FEWEST))


def _pace(setup: Setup, whole: Task, chosen: Candidate, parts: Parts, batch: int) -> float:
    """Seconds of an epoch without its scores, by the second one of a few rows; 0 where there is none."""
    some = [part[: max(SAMPLED, 2 * batch)] for part in parts]
    few = tuple(part[:FEW] for part in parts)  # scores are of as many rows as these
    timed = _fit(setup, whole, chosen, some, batch, 2, valid=few)
    return float(timed.history[-1]["seconds"]) * len(parts[0]) / len(some[0]) if timed.history else 0.0


def _left(setup: Setup) -> float:
    """Seconds until it must be ready."""
    budget = setup.config.budget
    if budget is None:
        return 0.0
    return setup.started + budget - behind(budget, END) - time.monotonic()


def _spent(folder: Path) -> float:
    """Seconds of the training that its checkpoint has."""
    try:
        lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
        return float(json.loads(lines[-1]).get("spent", 0.0))
    except (OSError, ValueError, IndexError):
        return 0.0  # there is none yet


def _fit(
    setup: Setup,
    whole: Task,
    chosen: Candidate,
    parts: Parts,
    batch: int,
    epochs: int,
    **options: Any,
) -> FitResult:
    # No row is left that early stopping could watch, and the learning rate falls to zero.
    recipe = Recipe(t for t in chosen.recipe if not watches_held_out([t]))
    with initial_weights(setup.config.seed):
        network: nn.Module = whole.make(dict(chosen.net))
    return fit(
        network,
        tuple(parts),
        recipe=recipe,
        loss=whole.loss,
        epochs=epochs,
        batch_size=batch,
        lr=chosen.lr,
        schedule="one-cycle",
        seed=setup.config.seed,
        device=setup.config.device,
        modality=whole.modality,
        progress=False,
        **options,
    )
