"""From the race's finalists to one model: recipe, ensemble weights, temperature and decision rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import DashpotError
from dashpot.evaluation.calibration import fit_temperature
from dashpot.evaluation.decision import Decision, fit_decision
from dashpot.evaluation.metrics import Metric
from dashpot.evaluation.statistics import within_one_standard_error
from dashpot.nets.ensemble import Ensemble
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial

POOL, PICKS = 12, 12
"""Finalists that may enter an ensemble, and picks with repetition (Caruana et al., ICML 2004)."""


@dataclass(frozen=True)
class Choice:
    """The chosen recipe, and why.

    Attributes:
        chosen, best: the trial of the recipe to name, and the one with the lowest mean score.
        why: in words.
    """

    chosen: Trial
    best: Trial
    why: str


@dataclass(frozen=True)
class Final:
    """The final model.

    Attributes:
        network: without hooks, on the CPU, in evaluation mode; for classes it gives log probabilities.
        decision: temperature and offsets, for classes.
        members: (number of the candidate, weight) of what is in it.
        net: the options of a network that is not as in the race; None: of the chosen candidate.
        held_out: the out-of-fold outputs [rows, outputs] that decision and temperature were fitted on, and the rows.
    """

    network: nn.Module
    decision: Decision | None
    members: Sequence[tuple[int, float]]
    text: str
    held_out: tuple[Tensor, np.ndarray] = field(repr=False)
    net: Mapping[str, Any] | None = None


def choose(finalists: Sequence[Trial], *, simplest: bool = True) -> Choice:
    """The one-standard-error rule: the simplest recipe that is not clearly worse than the best.

    "Clearly" is by the differences fold by fold: a candidate whose mean loss exceeds the best one's by less than one
    standard error of those differences is chosen instead if it has fewer techniques (Breiman et al. 1984, with the
    paired error, since folds differ more from one another than candidates do).

    Args:
        simplest: or the best: the final network of images is trained for longer than those of the race, and what
            regularizes pays the more.
    """
    ranked = sorted(finalists, key=lambda r: r.score)
    best = ranked[0]
    chosen, why = best, "it has the lowest mean score"
    for other in sorted(ranked[1:], key=lambda r: (r.candidate.size, r.score)) if simplest else ():
        if other.candidate.size >= best.candidate.size or len(other.scores) != len(best.scores) or len(best.scores) < 3:
            continue
        if within_one_standard_error(np.array(other.scores) - np.array(best.scores), inclusive=True):
            what = (
                f"{other.candidate.size} technique{'s' * (other.candidate.size != 1)} instead of {best.candidate.size}"
            )
            chosen, why = other, f"the simplest within one standard error of the best (candidate {best.number}): {what}"
            break
    return Choice(chosen, best, why)


def averaged(trial: Trial, seeds: Sequence[Trial]) -> Trial:
    """A candidate with the mean scores of its seeds on each fold: the scores that selected it are biased."""
    scores = np.mean([r.scores for r in seeds], axis=0)
    gaps = [r.train_score for r in seeds if r.train_score is not None]
    return replace(trial, scores=[float(s) for s in scores], train_score=sum(gaps) / len(gaps) if gaps else None)


def out_of_fold(task: Task, trial: Trial, folds: Sequence[int]) -> tuple[Tensor, np.ndarray]:
    """Each validation row's output by the network that has not seen it, and the rows."""
    rows = np.concatenate([task.folds[f][1] for f in folds])
    return torch.cat(list(trial.outputs)), rows


def together(outputs: Sequence[Tensor], weights: Sequence[float], classes: bool) -> Tensor:
    """The outputs of an ensemble from those of its members."""
    total = sum(weights)
    if not classes:
        return torch.stack([out * (w / total) for out, w in zip(outputs, weights, strict=True)]).sum(0)
    return torch.stack(
        [out.log_softmax(dim=1) + math.log(w / total) for out, w in zip(outputs, weights, strict=True)]
    ).logsumexp(dim=0)


def by_candidate(finalists: Sequence[Trial]) -> dict[int, list[Trial]]:
    """The trials of each candidate, which differ in their seeds, by its number."""
    found: dict[int, list[Trial]] = {}
    for trial in finalists:
        found.setdefault(trial.number, []).append(trial)
    return found


def pick(task: Task, finalists: Sequence[Trial], folds: Sequence[int]) -> dict[int, int]:
    """Greedy choice with repetition: at each pick the candidate that lowers the out-of-fold score most, up to the
    number of picks that did best.

    A candidate with several seeds is their mean; single seeds would be picked for their noise.

    Returns:
        How often each candidate (by number) was picked.
    """
    seeds = by_candidate(finalists)
    ranked = sorted(seeds, key=lambda number: float(np.mean([r.score for r in seeds[number]])))[:POOL]
    rows = np.concatenate([task.folds[f][1] for f in folds])
    classes = task.classes > 0
    each: dict[int, Tensor] = {}
    for number in ranked:
        outputs = [out_of_fold(task, r, folds)[0].double() for r in seeds[number]]
        each[number] = torch.stack([out.softmax(1) if classes else out for out in outputs]).mean(0)
    counts: dict[int, int] = {}
    kept: dict[int, int] = {}
    total = torch.zeros_like(next(iter(each.values())))
    best = math.inf
    for n in range(1, PICKS + 1):
        found = {}
        for i in ranked:
            mean = (total + each[i]) / n
            found[i] = task.proper(mean.clamp(min=1e-12).log() if classes else mean, rows)
        winner = min(found, key=lambda i: found[i])
        total = total + each[winner]
        counts[winner] = counts.get(winner, 0) + 1
        # An uneven number of picks may be worse than the one before, and the next one better again.
        if found[winner] < best * (1 - 1e-4):
            best, kept = found[winner], dict(counts)
    return kept


def picked(task: Task, finalists: Sequence[Trial], choice: Choice, folds: Sequence[int], kind: str) -> dict[int, int]:
    """The candidates of the final model, by number, and how often each counts."""
    if kind == "finalists" and len(finalists) > 1:
        return pick(task, finalists, folds)
    return {r.number: 1 for r in finalists if same(r, choice.chosen)}


def assemble(
    task: Task, finalists: Sequence[Trial], choice: Choice, folds: Sequence[int], kind: str, *, calibrate: bool = True
) -> Final:
    """The final model from networks that the race has already trained.

    Args:
        finalists: complete candidates, the same recipe possibly with several seeds.
        kind: ``"folds"``: the chosen recipe's networks of all folds (and seeds); ``"finalists"``: a greedy ensemble of
            the finalists'.
    """
    counts = picked(task, finalists, choice, folds, kind)
    seeds = by_candidate(finalists)
    chosen = [(trial, n / len(seeds[number])) for number, n in counts.items() for trial in seeds[number]]
    networks: list[nn.Module] = []
    spread: list[float] = []
    for trial, weight in chosen:
        for tensors in trial.tensors:
            network = task.make(dict(trial.candidate.net))
            network.load_state_dict(dict(tensors), strict=False)
            networks.append(network.eval())
            spread.append(weight / len(trial.tensors))
    rows = np.concatenate([task.folds[f][1] for f in folds])
    outputs = together(
        [out_of_fold(task, r, folds)[0] for r, _ in chosen], [weight for _, weight in chosen], task.classes > 0
    )
    shares = [(number, n / sum(counts.values())) for number, n in counts.items()]
    linear = sum("linear" in seeds[number][0].candidate.params for number in counts)
    count = len(shares) - linear
    several = f" with {len(chosen) - linear} seeds in all," if len(chosen) > len(shares) else ""
    what = made_of(count, several, linear, len(folds))
    text = f"ensemble of {len(networks)} networks ({what})" if len(networks) > 1 else "one network"
    decision = decide(outputs, task, rows, calibrate=calibrate) if task.classes else None
    return Final(Ensemble(networks, spread, classes=task.classes > 0).eval(), decision, shares, text, (outputs, rows))


def made_of(candidates: int, seeds: str, linear: int, folds: int) -> str:
    """What an ensemble consists of, in words.

    >>> made_of(2, "", 1, 5), made_of(0, "", 3, 2)
    ('2 candidates and 1 linear model on 5 folds', '3 linear models on 2 folds')
    """
    parts = [f"{candidates} candidate{'s' * (candidates > 1)}{seeds}"] if candidates else []
    parts += [f"{linear} linear model{'s' * (linear > 1)}"] if linear else []
    return f"{' and '.join(parts)} on {folds} fold{'s' * (folds > 1)}"


def same(a: Trial, b: Trial) -> bool:
    """Whether two trials are the same candidate, perhaps with other seeds."""
    return [(s.epoch, dict(s.candidate.params)) for s in a.stages] == [
        (s.epoch, dict(s.candidate.params)) for s in b.stages
    ]


def decide(outputs: Tensor, task: Task, rows: np.ndarray, *, calibrate: bool, metric: Metric | None = None) -> Decision:
    """Temperature and decision rule, fitted on out-of-fold outputs."""
    y = task.y[torch.as_tensor(rows)].numpy()
    logits = outputs.double().numpy()
    try:
        weight = task.weights(rows)
        temperature = fit_temperature(logits, y, weight=weight) if calibrate else 1.0
        probabilities = Decision(temperature=temperature).probabilities(logits)
        return fit_decision(probabilities, y, metric or task.metric, temperature=temperature, weight=weight)
    except DashpotError:
        return Decision(note="not fitted: the out-of-fold predictions did not allow it")


def measured(
    final: Final, task: Task, outputs: Tensor, rows: np.ndarray, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """All metrics of the final model's outputs for some rows, by its own temperature and decision."""
    y, weight = task.y[torch.as_tensor(rows)].numpy(), task.weights(rows)
    return metric_values(outputs, y, task.scale, final.decision, metrics, weight)


def metric_values(
    outputs: Tensor,
    y: np.ndarray,
    scale: float,
    decision: Decision | None,
    metrics: Mapping[str, Metric],
    weight: np.ndarray | None = None,
) -> dict[str, float]:
    """Every metric of outputs (logits or standardized values) against the truth."""
    found: dict[str, float] = {}
    out: Any = outputs.detach().cpu().double().numpy()
    if decision is not None:
        p = decision.probabilities(out)
        codes = decision.decide(p)
        for name, metric in metrics.items():
            found[name] = float(metric(p if metric.kind == "probability" else codes, y, weight))
    else:
        values, truth = (np.asarray(v, dtype=np.float64).reshape(len(y), -1) * scale for v in (out, y))
        found = {name: float(metric(values, truth, weight)) for name, metric in metrics.items()}
    return found


def refit(task: Task, training: TrainingBudget, pool: np.ndarray, choice: Choice, folds: Final) -> Final:
    """One network of the chosen recipe, trained on the whole pool; temperature and decision stay those of the folds'
    held-out outputs.

    No row is left for early stopping, so it trains for as many epochs as were best for the folds.
    """
    whole = replace(task, folds=[(pool, pool[:1])])
    trial = choice.chosen.untrained(0)
    own = replace(training, epochs=choice.chosen.planned or training.epochs)
    Race(whole, own, [trial], folds=[0]).run(rungs=(), only=choice.chosen.best_epoch or None)
    if trial.state != "complete":
        return folds
    network = task.make(dict(trial.candidate.net))
    network.load_state_dict(dict(trial.tensors[0]), strict=False)
    return replace(
        folds,
        network=network.eval(),
        members=[(trial.number, 1.0)],
        text=f"one network, refit on all {len(pool):,} rows but the test part",
    )
