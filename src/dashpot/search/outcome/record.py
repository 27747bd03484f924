"""The record of a search: every candidate, the choice, scores on the test rows, and reference models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.comparison.reference_models import (
    SLOWEST,
    fit_reference,
    log_probabilities,
    references,
    seconds_at_most,
    words_alone,
)
from dashpot.core.environment import machine, peak_memory, versions
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import predict
from dashpot.evaluation.metrics import METRICS, Metric, proper_of, with_positive
from dashpot.report.images.cases import Judged
from dashpot.report.tune.record import EffectRecord, TestScores, TuneRecord
from dashpot.runs.judged import judged_rows
from dashpot.search import texts
from dashpot.search.outcome import ablation, ensemble
from dashpot.search.outcome.importance import importance
from dashpot.search.racing import budget as budgets
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.setup import Setup

FIGURES, LARGEST = 5.0, 0.1
"""Seconds before the end of a budget, and their largest share of it, by which boosted trees must be ready: figures and
the page come after them.
"""
LARGE = 10_000_000
"""Values in a table (rows x columns x classes) beyond which linear models and boosted trees are skipped."""


@dataclass(frozen=True)
class Outcome:
    """The results of a search.

    Attributes:
        trials: every candidate of the study.
        finalists: those with networks on the ``folds``, some with several seeds.
        choice, final, effects: the recipe, the model, and the contributions of the techniques.
        training: as the chosen candidate was trained.
        baseline: the network without techniques, if it was trained to its end.
        member_steps: optimizer steps of all networks of the races.
        folds: those that the finalists were trained on.
        outputs: of the final model for the test rows; None where there are none.
        explained: the folds that the contributions are of.
        linear: of texts, linear models on these folds.
    """

    trials: Sequence[Trial]
    finalists: Sequence[Trial]
    choice: ensemble.Choice
    final: ensemble.Final
    training: TrainingBudget
    effects: ablation.Effects
    baseline: Trial | None
    member_steps: int
    folds: Sequence[int]
    outputs: Tensor | None
    explained: Sequence[int]
    linear: Sequence[Trial] = ()


def judged(setup: Setup, made: ensemble.Final, outputs: Tensor | None) -> Judged | None:
    """The final model's answers on the test rows; None without any, or with a loss of one's own, whose outputs need
    be no classes or values.
    """
    if outputs is None or setup.task.own_score:
        return None
    return judged_rows(made.network, setup.prepared, setup.test, made.decision, outputs)


def record(setup: Setup, outcome: Outcome, answers: Judged | None = None) -> TuneRecord:
    """Everything that was measured; ``dashpot.report`` draws it."""
    trials, choice, made, baseline = outcome.trials, outcome.choice, outcome.final, outcome.baseline
    seeds = ensemble.by_candidate(outcome.finalists)
    loaded = {number: ensemble.averaged(own[0], own) if len(own) > 1 else own[0] for number, own in seeds.items()}
    whole = dict(setup.space.default().params)
    names = {r.number: "default" for r in trials if not r.lineage and dict(r.candidate.params) == whole}
    if baseline is not None:
        names[baseline.number] = "baseline"
    scored = {n: float(np.mean([_metric_of(setup, r, outcome.folds) for r in own])) for n, own in seeds.items()}
    return TuneRecord(
        dataset=setup.problem.name,
        task=setup.problem.task,
        metric=setup.metric.name,
        better=setup.metric.better,
        positive=setup.problem.classes[setup.positive] if setup.metric.binary and setup.positive is not None else None,
        proper="loss" if setup.task.own_score else proper_of(setup.metric).name,
        rows=setup.problem.n,
        train_rows=len(setup.pool),
        test_rows=len(setup.test),
        features=int(setup.prepared.x[0].numel())
        if setup.prepared.x.ndim == 2 and setup.problem.kind != "text"
        else None,
        classes=len(setup.problem.classes),
        folds=len(setup.task.folds),
        epochs=outcome.training.epochs,
        batch_size=outcome.training.batch_size,
        race={**budgets.to_dict(outcome.training), **setup.measured, **_explained(setup, outcome)},
        strengths=choice.chosen.stage_records,
        budget_s=setup.config.budget,
        seed=setup.config.seed,
        members_trained=sum(len(r.scores) for r in trials),
        member_steps=outcome.member_steps,
        versions=versions(),
        machine=machine(),
        space=setup.space.describe(),
        candidates=tuple(
            loaded.get(r.number, r).record(
                name=names.get(r.number, ""),
                metric_score=scored.get(r.number),
                seeds=len(seeds.get(r.number, [r])),
            )
            for r in trials
        ),
        baseline=baseline.number if baseline is not None else None,
        best=choice.best.number,
        chosen=choice.chosen.number,
        why=choice.why,
        final=made.text,
        final_members=tuple((n, float(w)) for n, w in made.members),
        test=_test_scores(setup, outcome, loaded, seeds),
        contributions=tuple(map(EffectRecord.from_dict, outcome.effects.contributions)),
        importance=importance(trials, setup.space),
        interactions=tuple(map(EffectRecord.from_dict, outcome.effects.interactions)),
        decision=made.decision.to_dict() if made.decision else None,
        answers=answers.to_dict() if answers is not None else {},
        # Last, since all of the above counts.
        seconds=time.monotonic() - setup.started,
        peak_memory_mb=peak_memory() or {},
    )


def _explained(setup: Setup, outcome: Outcome) -> dict[str, Any]:
    """What the contributions are of, where that is not the chosen candidate as it was raced or as it predicts."""
    if setup.whole is None and not texts.of_texts(setup.task):
        return {}
    size = setup.task.x.shape[2:]
    same = setup.whole is None or size == setup.whole.x.shape[2:]
    rows = len(setup.task.folds[outcome.explained[0]][1]) if len(outcome.explained) == 1 else None
    shown = None if same else [int(side) for side in size]
    return {"explained": {"epochs": outcome.training.epochs, "size": shown, "rows": rows}}


def _test_scores(
    setup: Setup, outcome: Outcome, loaded: Mapping[int, Trial], seeds: Mapping[int, list[Trial]]
) -> TestScores:
    """Of the final model, of the baseline's networks, and of models of other kinds, on the test rows."""
    if outcome.outputs is None:
        return TestScores()
    classes = len(setup.problem.classes)
    metrics = {
        name: m for name, m in METRICS.items() if m.task == setup.problem.task and not (m.binary and classes > 2)
    } | {setup.metric.name: setup.metric}
    metrics[setup.metric.name] = setup.metric  # one of the caller's own, too
    if setup.positive is not None:
        metrics = {name: with_positive(m, setup.positive) for name, m in metrics.items()}
    rows = torch.as_tensor(setup.test)
    y, weight = setup.prepared.y[rows].numpy(), setup.task.weights(setup.test)
    if setup.problem.task == "classification" and len(np.unique(y)) < 2:
        metrics.pop("roc_auc", None)  # which compares rows of two classes
    made, scale, baseline = outcome.final, setup.task.scale, outcome.baseline
    chosen = ensemble.metric_values(outcome.outputs, y, scale, made.decision, metrics, weight)
    bare: dict[str, float] = {}
    if baseline is not None and baseline.number in loaded:
        it, calibrate = loaded[baseline.number], setup.config.calibrate
        choice, folds = ensemble.Choice(it, it, ""), list(outcome.folds)
        own = ensemble.assemble(setup.task, seeds[baseline.number], choice, folds, "folds", calibrate=calibrate)
        small = setup.task.x[rows]  # of images perhaps fewer pixels than the final network takes
        bare = ensemble.metric_values(predict(own.network, small), y, scale, own.decision, metrics, weight)
    return TestScores(
        chosen, bare, {} if setup.problem.kind == "tensor" else _references(setup, metrics, outcome.linear)
    )


def _metric_of(setup: Setup, trial: Trial, every: Sequence[int]) -> float:
    """The metric out of fold, with the candidate's own temperature and decision."""
    outputs, rows = ensemble.out_of_fold(setup.task, trial, every)
    decision = (
        ensemble.decide(outputs, setup.task, rows, calibrate=setup.config.calibrate) if setup.task.classes else None
    )
    y = setup.task.y[torch.as_tensor(rows)].numpy()
    only = {setup.metric.name: setup.metric}
    return ensemble.metric_values(outputs, y, setup.task.scale, decision, only, setup.task.weights(rows))[
        setup.metric.name
    ]


def _references(setup: Setup, metrics: Mapping[str, Metric], linear: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Linear models and boosted trees from the same rows, as far as they are quick."""
    from threadpoolctl import threadpool_limits

    if texts.of_texts(setup.task):
        return _linear_of_texts(setup, metrics, linear)
    size = len(setup.pool) * setup.prepared.x[0].numel() * max(setup.task.classes, 1)
    named: dict[str, tuple[Any, np.ndarray]] = {}
    if size > LARGE:  # which is known before anything is made of the data
        setup.note("linear models and boosted trees are skipped: on a table of this size they would take too long.")
    else:
        x = setup.prepared.standardized().flatten(1).numpy().astype("float64")
        named = {name: (make(size), x) for name, make in references(setup.problem.task, quick=True).items()}
    if words := words_alone(setup.problem, setup.prepared):
        # Before boosted trees, which may take all the time that there is.
        named = dict(sorted({**named, words[0]: words[1:]}.items(), key=lambda one: one[0] == SLOWEST))
    y = setup.prepared.y.numpy()
    part, weight = (y[setup.pool], setup.task.weights(setup.pool)), setup.task.weights(setup.test)
    found: dict[str, dict[str, float]] = {}
    for name, (model, x) in named.items():
        try:
            # One thread: on a busy machine several wait for each other far longer than they save.
            with threadpool_limits(1):
                if (budget := setup.config.budget) is not None:
                    left = budget - min(FIGURES, LARGEST * budget) - (time.monotonic() - setup.started)
                    if left <= 0:
                        continue
                    if seconds_at_most(model, x[setup.pool], *part) > left:
                        setup.note(f"{name} is skipped: it would take longer than the budget.")
                        continue
                fit_reference(model, x[setup.pool], *part)
        except Exception as error:  # a reference that a library cannot fit, for whatever reason, is left out
            setup.note(f"{name} is left out: {type(error).__name__}: {error}")
            continue
        if setup.task.classes:
            out = torch.from_numpy(log_probabilities(model, x[setup.test], setup.task.classes))
            found[name] = ensemble.metric_values(out, y[setup.test], 1.0, Decision(), metrics, weight)
        else:
            out = torch.from_numpy(np.asarray(model.predict(x[setup.test]), dtype=np.float64).reshape(-1, 1))
            found[name] = ensemble.metric_values(out, y[setup.test], setup.task.scale, None, metrics, weight)
    return found


def _linear_of_texts(
    setup: Setup, metrics: Mapping[str, Metric], linear: Sequence[Trial]
) -> dict[str, dict[str, float]]:
    """Linear models of bags of words, fitted to the same rows."""
    rows = torch.as_tensor(setup.test)
    y, weight = setup.prepared.y[rows].numpy(), setup.task.weights(setup.test)
    found: dict[str, dict[str, float]] = {}
    for name, model in texts.linear_models(setup.task, linear).items():
        out = predict(model, setup.prepared.x[rows])
        decision = Decision() if setup.task.classes else None
        found[name] = ensemble.metric_values(out, y, setup.task.scale, decision, metrics, weight)
    return found
