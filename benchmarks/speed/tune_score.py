"""Part two of ``tune.py``: the time to the same cross-validated score, beside Optuna as a practitioner
would write it.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plain_loop import Plain
from tune_setup import ETA, FOLDS, OFFERED, Clocks, clocks, evaluations_of, in_a_process, search_of, training_of

PRUNER = "halving"
"""Successive halving: in a first trial Optuna tried 18 candidates with it and 9 with MedianPruner, and got to the same
score; ``--pruner median`` for the other.
"""
ARMS = ("dashpot", "dashpot, without its first combinations")


class _ReachedError(Exception):
    """The target, or the end of the time."""


class Trace:
    """The best score so far, with the time at which it was reached; ends the search at a target, or after so many CPU
    seconds of searching.

    CPU seconds, since on a shared machine an equal number of wall seconds is not an equal chance.
    """

    def __init__(self, started: float, target: float, seconds: float) -> None:
        self.started, self.target, self.seconds = started, target, seconds
        self.best: list[dict[str, float]] = []
        self.member_epochs = self.candidates = 0
        self.loaded: Clocks = {}

    def begin(self) -> None:
        """Modules and data are loaded; it is from here that searching is timed."""
        self.loaded = clocks(self.started)

    def see(self, score: float) -> None:
        now = {clock: value - self.loaded[clock] for clock, value in clocks(self.started).items()}
        if score < (self.best[-1]["score"] if self.best else math.inf):
            self.best.append({"score": score, **now})
        if score <= self.target or now["cpu"] > self.seconds:
            raise _ReachedError


def optuna_arm(seed: int, trace: Trace, pruner: str) -> None:
    import numpy as np
    import optuna
    import torch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        search = search_of("breast_cancer", seed, OFFERED, Path(folder))
    training = training_of(search, FOLDS, 1)
    evaluations, folds = evaluations_of(training), search.task.folds
    trace.begin()

    def objective(trial: Any) -> float:
        candidate = search.space.sample(trial)
        networks = [Plain(search.task, candidate, fold, training) for fold in range(FOLDS)]
        best = math.inf
        trace.candidates += 1
        for epoch in range(1, training.epochs + 1):
            for network in networks:
                network.train_epoch()
            trace.member_epochs += FOLDS
            if epoch in evaluations:
                score = float(
                    np.mean([n.evaluate(torch.as_tensor(valid)) for n, (_, valid) in zip(networks, folds, strict=True)])
                )
                best = min(best, score)
                trace.see(score)
                trial.report(score, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return best

    made: Mapping[str, Callable[[], Any]] = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=training.rungs[0]),
        "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=training.rungs[0], reduction_factor=ETA),
    }
    optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=made[pruner]()).optimize(objective)


def dashpot_arm(seed: int, trace: Trace, first: bool) -> None:
    def say(stage: str, trials: Sequence[Any], epoch: int) -> None:
        trace.member_epochs += FOLDS * len(trials)
        trace.see(min((r.score for r in trials), default=math.inf))

    with tempfile.TemporaryDirectory() as folder:
        search = search_of("breast_cancer", seed, OFFERED, Path(folder))
        search.say = say
        if not first:
            search.first_candidates = list
        trace.begin()
        store = search.open()
        try:
            search.work(store, search.training_budget(store))
        finally:
            trace.candidates = len(store.trials())
            store.close()


def timed(arm: str, seed: int, started: float, target: float, seconds: float) -> dict[str, Any]:
    trace = Trace(started, target, seconds)
    try:
        if arm.startswith("optuna"):
            optuna_arm(seed, trace, arm.split(", ")[1])
        else:
            dashpot_arm(seed, trace, first=arm == "dashpot")
    except _ReachedError:
        pass
    searched = {clock: value - trace.loaded[clock] for clock, value in clocks(started).items()}
    return {
        "searched": searched,
        "best": trace.best,
        "candidates": trace.candidates,
        "member epochs": trace.member_epochs,
        "loaded after": trace.loaded,
        "reached": trace.best[-1]["score"] <= target,
    }


def time_to_score(seeds: int, seconds: float, pruner: str) -> dict[str, Any]:
    """For each seed Optuna's run, then Dashpot's until it has reached the same score, at most for as long."""
    runs = []
    for seed in range(seeds):
        theirs = in_a_process(f"optuna, {pruner}", seed=seed, target=-math.inf, seconds=seconds)
        target = theirs["best"][-1]["score"]
        run = {"seed": seed, "target": target, f"optuna, {pruner}": theirs}
        for arm in ARMS:
            run[arm] = in_a_process(arm, seed=seed, target=target, seconds=seconds)
            run[arm]["ratios"] = ratios_of(run[arm], theirs, target)
            print(f"seed {seed}: {arm}: {run[arm]['ratios']}", file=sys.stderr, flush=True)
        runs.append(run)
    return {"runs": runs, "summary": summary(runs)}


def ratios_of(ours: Mapping[str, Any], theirs: Mapping[str, Any], target: float) -> dict[str, Clocks]:
    """Our time to Optuna's best over all of its time and over its time to it, and the same with the time to load
    everything; and to its best of the first half.

    The last improvement may be small and early or late, by luck: so there is more than one ratio.
    """
    mine, own = reached(ours, target), reached(theirs, target)
    middle = [row["score"] for row in theirs["best"] if row["cpu"] <= theirs["searched"]["cpu"] / 2]
    ratios = {
        "to its whole time": {k: mine[k] / theirs["searched"][k] for k in mine},
        "to when it got there": {k: mine[k] / own[k] for k in mine},
        "to when it got there, with loading": {
            k: (mine[k] + ours["loaded after"][k]) / (own[k] + theirs["loaded after"][k]) for k in mine
        },
    }
    if middle:
        mine, own = reached(ours, middle[-1]), reached(theirs, middle[-1])
        ratios["to when it had its best of the first half"] = {k: mine[k] / own[k] for k in mine}
    return ratios


def reached(run: Mapping[str, Any], target: float) -> Clocks:
    """When a run had a score of at most ``target``; where it never had, all of its time, so that the ratio is a lower
    bound (``reached`` says so).
    """
    row = next((row for row in run["best"] if row["score"] <= target), None)
    return {clock: (row or run["searched"])[clock] for clock in ("wall", "cpu")}


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Median and range over the seeds, and how many of them got to Optuna's best within its time."""
    found: dict[str, Any] = {}
    for arm in ARMS:
        for what in runs[0][arm]["ratios"]:
            values = {
                clock: [run[arm]["ratios"][what][clock] for run in runs if what in run[arm]["ratios"]]
                for clock in ("wall", "cpu")
            }
            found[f"{arm}, {what}"] = {
                clock: {"median": statistics.median(v), "range": [min(v), max(v)]} for clock, v in values.items()
            }
        found[f"{arm}, reached"] = f"{sum(run[arm]['reached'] for run in runs)} of {len(runs)}"
    return found
