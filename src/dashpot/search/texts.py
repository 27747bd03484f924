"""Texts: linear models beside the race's networks, and a final model of several kinds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot import nets
from dashpot.core.recipe import Recipe
from dashpot.core.threads import most
from dashpot.data.kinds import KINDS
from dashpot.evaluation.calibration import fit_temperature
from dashpot.evaluation.losses import predict
from dashpot.nets.text_linear import LINEAR, MOST, RIDGE, fit_linear, sparse_features
from dashpot.search import encoder_linear
from dashpot.search.config import SearchConfig
from dashpot.search.encoder_linear import encoder_trials
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import HALVING, TrainingBudget, Trial
from dashpot.search.space.space import Candidate

RACE = 0.28
"""The share of the budget for the race, beside what setting up takes."""
ENDS = (0.6, 0.72, 0.93)
"""Shares of the budget by which finalists are trained, contributions measured, and networks trained on all rows."""
LAST = (("epochs", 6, None), ("parallel", 2, 1), ("epochs", 3, None))
"""What shrinks where the smallest race of tables does not fit: to one candidate with each network."""
OPTIONS = {"net": "textbag", "width": 0}
"""The network that a linear model is."""
TITLES = {
    "logistic": "logistic regression on words, L2",
    "svm": "linear SVM on words",
    "nb-svm": "naive Bayes SVM on words",
    "complement-nb": "complement naive Bayes on words",
    RIDGE: "ridge regression on words",
    **encoder_linear.TITLES,
}
SAMPLED = 256
"""Rows by which the features of all are counted."""
EPOCHS, LEAST_STEPS = 6, 200
"""Epochs of a training, and steps at least: words of these networks are learned within a few epochs, and what is longer
only leaves less time for folds.
"""
PARALLEL = 4
"""Candidates of a race: none is pruned and each is trained alone, so that more at once only take memory."""
SLACK = 1.15
"""How many times as long as its pace says a training may take."""


def of_texts(task: Task) -> bool:
    """Whether the search is over texts."""
    return task.modality == "text"


def race_share(spent: float, budget: float | None) -> float:
    """The share of the budget by which the race ends: its own of what setting up has left."""
    return RACE if budget is None else min(1.0, RACE + (1 - RACE) * spent / budget)


def longest(rows: int) -> int:
    """Epochs of a training at most, of a fold with so many training rows.

    >>> longest(4000), longest(500)
    (6, 26)
    """
    return max(EPOCHS, -(-LEAST_STEPS * (KINDS["text"].batch_size or 1) // max(rows, 1)))


def bracket(config: SearchConfig) -> int:
    """The rungs that are left out, both: a bag that overfits is ahead early, and a training takes seconds."""
    return 2 if config.schedule == HALVING else 0


def one_of_each(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first candidate with each network: they are trained one by one, so these tell the pace of all."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(str(candidate.net.get("net")), candidate)
    return list(first.values())


def kinds_first(trials: Sequence[Trial], then: Trial | None = None) -> list[Trial]:
    """Trials in the order of their scores, but the best of each kind of network before all others, and ``then`` one
    that is wanted next.
    """
    ranked = sorted(trials, key=lambda trial: trial.score)
    first: dict[str, Trial] = {}
    for trial in ranked:
        first.setdefault(str(trial.candidate.net.get("net")), trial)
    found = [*first.values(), *([] if then is None else [then])]
    return list({trial.number: trial for trial in (*found, *ranked)}.values())


def folds_that_fit(trials: Sequence[Trial], training: TrainingBudget, pace: float, end: float) -> int:
    """On how many folds the best network of each kind can be trained until ``end``: a fold of all is worth more than
    all folds of one.

    Args:
        pace: seconds of a network for an epoch.
    """
    kinds = len({str(trial.candidate.net.get("net")) for trial in trials})
    each = SLACK * pace * training.epochs * max(kinds, 1)
    return training.folds + (int(max(end - time.monotonic(), 0.0) / each) if each else 0)


def names(task: Task) -> Sequence[str]:
    """The linear models that stand beside the race."""
    return LINEAR if task.classes else (RIDGE,)


def first_answer(task: Task) -> str:
    """What one linear model says of the rows of one fold that it has not seen, in words: an answer within seconds."""
    how, (train, valid) = names(task)[-1 if len(names(task)) == 1 else 1], task.folds[0]
    out = predict(_fitted(task, how, train, temperature=1.0).eval(), task.x[torch.as_tensor(valid)])
    y, weight = task.y[torch.as_tensor(valid)], task.weights(valid)
    if not task.classes:
        return f"{TITLES[how]}: RMSE {task.proper(out, valid):.4g} on the held-out rows of one fold"
    right = float(np.average((out.argmax(dim=1) == y).numpy(), weights=weight))
    return f"{TITLES[how]}: accuracy {right:.3f} on the held-out rows of one fold"


def linear_trials(task: Task, folds: Sequence[int], pool: np.ndarray) -> list[Trial]:
    """Each linear model of bags of words, and one of an encoder's vectors where there are such, as a complete trial
    whose number is below 0.

    It is fitted to each of the folds, for what it says of rows that it has not seen, by which its margins find one
    temperature; its network is fitted to the whole pool, which takes seconds. It takes part in the final model, and is
    never chosen as a recipe.
    """
    found: list[Trial] = []
    features = _features(task)
    train, valid = [*(task.folds[fold][0] for fold in folds), pool], [task.folds[fold][1] for fold in folds]
    with ThreadPoolExecutor(most()) as threads:
        fitted = {
            how: [threads.submit(_fitted, task, how, rows, features, 1.0) for rows in train] for how in names(task)
        }
        models = {how: [one.result().eval() for one in each] for how, each in fitted.items()}
    for how, (*each, whole) in models.items():
        outputs = [predict(net, task.x[torch.as_tensor(rows)]) for net, rows in zip(each, valid, strict=True)]
        by = _temperature(task, outputs, valid)
        candidate = Candidate(Recipe(()), 0.0, OPTIONS, {"linear": how, "temperature": by})
        trial = Trial(-len(found) - 1, candidate, "complete")
        trial.outputs, trial.tensors = [out / by for out in outputs], [_tensors(whole, by)]
        trial.scores = task.scores(trial.outputs, valid)
        found.append(trial)
    for trial in encoder_trials(task, folds, pool, -len(found) - 1):
        by = _temperature(task, trial.outputs, valid)
        trial.outputs = [out / by for out in trial.outputs]
        trial.tensors = [{name: t / by for name, t in tensors.items()} for tensors in trial.tensors]
        trial.candidate = replace(trial.candidate, params={**trial.candidate.params, "temperature": by})
        trial.scores = task.scores(trial.outputs, valid)
        found.append(trial)
    return sorted(found, key=lambda trial: trial.score)


def linear_models(task: Task, trials: Sequence[Trial]) -> dict[str, nn.Module]:
    """The models of :func:`linear_trials`, fitted to the whole pool, by their titles."""
    found: dict[str, nn.Module] = {}
    for trial in trials:
        network = task.make(dict(trial.candidate.net))
        network.load_state_dict(dict(trial.tensors[0]), strict=False)
        found[TITLES[str(trial.candidate.params["linear"])]] = network.eval()
    return found


def _fitted(
    task: Task, how: str, rows: np.ndarray, features: Any = None, temperature: float | None = None
) -> nets.TextBag:
    network = task.make(dict(OPTIONS))
    assert isinstance(network, nets.TextBag), "which is what the options name"
    index = torch.as_tensor(rows)
    return fit_linear(
        network,
        task.x[index],
        task.y[index],
        how=how,
        weight=None if task.weight is None else task.weight[index],
        seed=task.seed,
        features=None if features is None else features[rows],
        temperature=temperature,
    )


def _features(task: Task) -> Any:
    """The features of all rows, which every fold and model shares; None where they would take too much memory."""
    network = task.make(dict(OPTIONS))
    assert isinstance(network, nets.TextBag), "which is what the options name"
    drawn = np.random.default_rng(task.seed).permutation(len(task.x))[:SAMPLED]
    some = sparse_features(network, task.x[torch.from_numpy(drawn)])
    return None if some.nnz / some.shape[0] * len(task.x) > MOST else sparse_features(network, task.x)


def _temperature(task: Task, outputs: Sequence[Tensor], valid: Sequence[np.ndarray]) -> float:
    if not task.classes:
        return 1.0
    rows = np.concatenate(list(valid))
    y = task.y[torch.as_tensor(rows)].numpy()
    return fit_temperature(torch.cat(list(outputs)).double().numpy(), y, weight=task.weights(rows))


def _tensors(network: nets.TextBag, temperature: float) -> dict[str, Tensor]:
    """Its state but for the tables of the lexicon, which every network of the task has."""
    state = {name: t.clone() for name, t in network.state_dict().items() if not name.startswith("tables.")}
    return {name: t / temperature if name.partition(".")[0] in ("linear", "bias") else t for name, t in state.items()}
