"""A linear model of an encoder's vectors, beside those of words."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from dashpot import nets
from dashpot.core.errors import UnknownNameError
from dashpot.core.recipe import Recipe
from dashpot.core.threads import most
from dashpot.evaluation.losses import predict
from dashpot.nets.features_linear import fit_features
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Trial
from dashpot.search.space.space import Candidate

OPTIONS = {"net": "textfeatures", "width": 0}
STRENGTHS = (0.003, 0.03, 0.3)
"""Values of C, of which held-out rows choose one: vectors of small and of large models differ in what they need."""
TITLES = {
    "encoder-logistic": "logistic regression on the encoder's vectors, L2",
    "encoder-ridge": "ridge regression on the encoder's vectors",
}


def name_of(task: Task) -> str:
    """Of the model for the task."""
    return "encoder-logistic" if task.classes else "encoder-ridge"


def has_vectors(task: Task) -> bool:
    """Whether an encoder's vectors stand in front of the rows."""
    try:
        return isinstance(task.make(dict(OPTIONS)), nets.TextFeatures)
    except UnknownNameError:
        return False


def encoder_trials(task: Task, folds: Sequence[int], pool: np.ndarray, number: int) -> list[Trial]:
    """The model as a complete trial, fitted to each fold and to the whole pool; none where there are no vectors.

    ``C`` is the one whose held-out rows have the best score at their temperature, which the caller sets.

    Args:
        number: of the trial.
    """
    if not has_vectors(task):
        return []
    train, valid = [task.folds[fold][0] for fold in folds], [task.folds[fold][1] for fold in folds]
    with ThreadPoolExecutor(most()) as threads:
        fitted = {C: [threads.submit(fitted_to, task, rows, C) for rows in (*train, pool)] for C in STRENGTHS}
        models = {C: [one.result().eval() for one in each] for C, each in fitted.items()}
    found: list[Trial] = []
    for C, (*each, whole) in models.items():
        candidate = Candidate(Recipe(()), 0.0, OPTIONS, {"linear": name_of(task), "C": C})
        trial = Trial(number, candidate, "complete")
        trial.outputs = [predict(net, task.x[torch.as_tensor(rows)]) for net, rows in zip(each, valid, strict=True)]
        trial.tensors = [{name: t.clone() for name, t in whole.state_dict().items()}]
        trial.scores = task.scores(trial.outputs, valid)
        found.append(trial)
    return [min(found, key=lambda trial: trial.score)]


def fitted_to(task: Task, rows: np.ndarray, C: float) -> nets.TextFeatures:
    """The model of some rows."""
    network = task.make(dict(OPTIONS))
    assert isinstance(network, nets.TextFeatures), "which is what the options name"
    index = torch.as_tensor(rows)
    return fit_features(network, task.x[index], task.y[index], C=C, weight=task.weights(rows))
