"""Scores of trials while they train, over their folds, by the network that each would end with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from dashpot.core.running.tensor_rows import TensorRows
from dashpot.evaluation.losses import predict
from dashpot.population.sequential import rebuilt
from dashpot.search.racing.executor import ParallelTrials, Place
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Trial
from dashpot.techniques.stopping.best_weights import Stopping


class Evaluator:
    """Scores trials, and keeps the networks of their best evaluation so far.

    Args:
        executor: their members.
        folds: the folds of the task that each trial has a member for.
    """

    def __init__(self, task: Task, executor: ParallelTrials, folds: Sequence[int]) -> None:
        self.task, self.executor, self.folds = task, executor, list(folds)
        self._stopped: dict[Place, tuple[int, Tensor]] = {}

    def evaluate(self, trials: Mapping[int, Trial], epoch: int) -> None:
        """Score trials, by their position in the race, on the validation rows of their folds. One that raises an error
        has failed, and is left as it is.
        """
        rows = {(i, k): self.task.folds[fold][1] for i in trials for k, fold in enumerate(self.folds)}
        outputs = self.executor.outputs(rows)
        for i, trial in trials.items():
            places = [(i, k) for k in range(len(self.folds))]
            try:
                if all(place in outputs for place in places):
                    self._score(trial, places, epoch, outputs)
            except Exception as error:  # a technique, a network or a loss may raise anything
                self.executor.fail(places, error)

    def _score(self, trial: Trial, places: Sequence[Place], epoch: int, outputs: Mapping[Place, Tensor]) -> None:
        own = [self._as_kept(trial, place, epoch, outputs[place].cpu()) for place in places]
        scores = self.task.scores(own, [self.task.folds[fold][1] for fold in self.folds])
        mean = float(np.mean(scores))
        trial.epochs = epoch
        trial.history.append((epoch, mean))
        if mean < trial.score or (math.isfinite(mean) and trial.best_epoch <= trial.stages[-1].epoch):
            tensors: list[Mapping[str, Tensor]] = [self.executor.tensors(place) for place in places]
            trial.best_epoch, trial.scores, trial.outputs, trial.tensors = epoch, scores, own, tensors

    def forget(self, places: Sequence[Place]) -> None:
        """Members that have other weights now: drop what was cached for the former ones."""
        for place in places:
            self._stopped.pop(place, None)

    def train_score(self, trial: Trial) -> float:
        """The mean over the folds, each on as many training rows as validation rows, spread evenly, so that the gap
        compares like with like.
        """
        return float(np.mean([self._train_score(trial, k) for k in range(len(self.folds))]))

    def _as_kept(self, trial: Trial, place: Place, epoch: int, now: Tensor) -> Tensor:
        """The outputs of the network that the member would end with: early stopping's best weights are not those it
        trains on with.
        """
        fold, best = self.folds[place[1]], self.executor.best_epoch(place)
        if not best or not any(isinstance(t, Stopping) and t.keeps_best for t in trial.candidate.recipe):
            return now
        if best != epoch:
            before, out = self._stopped.get(place, (0, now))
            if before == best:
                return out
            network = rebuilt(self.task.make(dict(trial.candidate.net)), self.executor.tensors(place))
            now = predict(network, TensorRows(self.task.x, self.task.folds[fold][1]))
        self._stopped[place] = best, now
        return now

    def _train_score(self, trial: Trial, k: int) -> float:
        train, valid = self.task.folds[self.folds[k]]
        rows = train[np.linspace(0, len(train) - 1, min(len(train), len(valid))).astype(int)]
        network = rebuilt(self.task.make(dict(trial.candidate.net)), trial.tensors[k])
        return self.task.proper(predict(network, TensorRows(self.task.x, rows)), rows)
