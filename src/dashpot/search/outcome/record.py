"""The record of a search: every candidate, the choice, scores on the test rows, and what stands beside."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dashpot.comparison.reference_models import fit_reference, references, seconds_at_most
from dashpot.core.environment import machine, peak_memory, versions
from dashpot.core.errors import DashpotError
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import predict
from dashpot.evaluation.metrics import METRICS, proper_of
from dashpot.search.outcome import ablation as effects
from dashpot.search.outcome import ensemble as final
from dashpot.search.outcome.importance import importance
from dashpot.search.racing import budget as courses
from dashpot.search.racing.trial import TrainingBudget, Trial, stages, summary

if TYPE_CHECKING:
    from dashpot.search.search import Search

LATE, REFERENCES = 0.95, 1.05
"""Shares of the budget: after the first no reference is begun, and by the second boosted trees must be ready; the
report comes after them.
"""
LARGE = 10_000_000
"""Values in a table (rows x columns x classes) beyond which linear models and boosted trees are not fitted beside."""


def record(
    search: Search,
    runners: Sequence[Trial],
    finalists: Sequence[Trial],
    choice: final.Choice,
    made: final.Final,
    course: TrainingBudget,
    found: effects.Effects,
    plain: Trial | None,
    member_steps: int,
    every: Sequence[int],
) -> dict[str, Any]:
    """Everything that was measured, as plain JSON; ``dashpot.report`` draws it.

    Args:
        runners: every candidate of the study.
        finalists: those with networks on the folds ``every``, some with several seeds.
        choice, made, found: the recipe, the model, and what each ingredient earned.
        plain: the network without ingredients, if it was trained to its end.
    """
    seeds: dict[int, list[Trial]] = {}
    for runner in finalists:
        seeds.setdefault(runner.number, []).append(runner)
    loaded = {number: final.averaged(own[0], own) if len(own) > 1 else own[0] for number, own in seeds.items()}
    names = {
        r.number: "default"
        for r in runners
        if not r.lineage and dict(r.candidate.params) == dict(search.space.default().params)
    }
    names |= {r.number: "plain" for r in runners if plain is not None and r.number == plain.number}
    metrics = {
        name: m
        for name, m in METRICS.items()
        if m.task == search.problem.task and not (m.binary and len(search.problem.classes) > 2)
    }
    scored = {n: float(np.mean([_metric_of(search, r, every) for r in own])) for n, own in seeds.items()}
    test: dict[str, Any] = {"chosen": {}, "plain": {}, "references": {}}
    if len(search.test):
        y = search.prepared.y[torch.as_tensor(search.test)].numpy()
        x = search.prepared.x[torch.as_tensor(search.test)]
        test["chosen"] = final.metric_values(predict(made.network, x), y, search.task.scale, made.decision, metrics)
        if plain is not None and plain.number in loaded:
            it = loaded[plain.number]
            own = final.assemble(
                search.task,
                seeds[plain.number],
                final.Choice(it, it, ""),
                list(every),
                "folds",
                calibrate=search.options.calibrate,
            )
            test["plain"] = final.metric_values(predict(own.network, x), y, search.task.scale, own.decision, metrics)
        test["references"] = {} if search.problem.kind == "tensor" else _references(search, metrics)
    return {
        "dataset": search.problem.name,
        "task": search.problem.task,
        "metric": search.metric.name,
        "better": search.metric.better,
        "proper": "loss" if search.task.own_score else proper_of(search.metric).name,
        "rows": search.problem.n,
        "train_rows": len(search.pool),
        "test_rows": len(search.test),
        "features": int(search.prepared.x[0].numel()),
        "classes": len(search.problem.classes),
        "folds": len(search.task.folds),
        "epochs": course.epochs,
        "batch_size": course.batch_size,
        "race": courses.to_dict(course),
        "strengths": stages(choice.chosen),
        "budget_s": search.options.budget,
        "seconds": time.monotonic() - search.started,
        "seed": search.options.seed,
        "members_trained": sum(len(r.scores) for r in runners),
        "member_steps": member_steps,
        "versions": versions(),
        "machine": machine(),
        "peak_memory_mb": peak_memory(),
        "space": search.space.describe(),
        "candidates": [
            {**summary(loaded.get(r.number, r), names, scored.get(r.number)), "seeds": len(seeds.get(r.number, [r]))}
            for r in runners
        ],
        "plain": plain.number if plain is not None else None,
        "best": choice.best.number,
        "chosen": choice.chosen.number,
        "why": choice.why,
        "final": made.text,
        "final_members": [[n, w] for n, w in made.members],
        "test": test,
        "contributions": found.contributions,
        "importance": importance(runners, search.space),
        "interactions": found.interactions,
        "decision": made.decision.to_dict() if made.decision else None,
    }


def _metric_of(search: Search, runner: Trial, every: Sequence[int]) -> float:
    """The metric out of fold, with the candidate's own temperature and decision."""
    outputs, rows = final.out_of_fold(search.task, runner, every)
    decision = (
        final.decide(outputs, search.task, rows, calibrate=search.options.calibrate) if search.task.classes else None
    )
    y = search.task.y[torch.as_tensor(rows)].numpy()
    return final.metric_values(outputs, y, search.task.scale, decision, {search.metric.name: search.metric})[
        search.metric.name
    ]


def _references(search: Search, metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Linear models and boosted trees from the same rows, as far as they are quick."""
    from threadpoolctl import threadpool_limits

    x, y = search.prepared.standardized().flatten(1).numpy().astype("float64"), search.prepared.y.numpy()
    size = len(search.pool) * x.shape[1] * max(search.task.classes, 1)
    found: dict[str, dict[str, float]] = {}
    if size > LARGE:
        search.note(
            "linear models and boosted trees are not fitted beside: on a table of this size they would take longer than"
            " they are worth."
        )
    for name, make in references(search.problem.task).items():
        late = search.options.budget is not None and time.monotonic() - search.started > LATE * search.options.budget
        if size > LARGE or "L1" in name or late:
            continue  # they only stand beside, and must not cost minutes
        model = make(size)
        try:
            # One thread: on a busy machine several wait for each other far longer than they save.
            with threadpool_limits(1):
                if search.options.budget is not None:
                    left = REFERENCES * search.options.budget - (time.monotonic() - search.started)
                    if seconds_at_most(model, x[search.pool], y[search.pool]) > left:
                        search.note(f"{name} is not fitted beside: it would take longer than the budget.")
                        continue
                fit_reference(model, x[search.pool], y[search.pool])
        except (ValueError, DashpotError):
            continue
        if search.task.classes:
            out = torch.from_numpy(np.log(np.clip(model.predict_proba(x[search.test]), 1e-12, 1)))
            found[name] = final.metric_values(out, y[search.test], 1.0, Decision(), metrics)
        else:
            out = torch.from_numpy(np.asarray(model.predict(x[search.test]), dtype=np.float64).reshape(-1, 1))
            found[name] = final.metric_values(out, y[search.test], search.task.scale, None, metrics)
    return found
