"""Robustness for the report of a training: on some test rows, by few draws, within seconds."""

from __future__ import annotations

import time

import numpy as np
from torch import nn

from dashpot.comparison.corruptions import Corruption
from dashpot.comparison.robustness import cell_of
from dashpot.comparison.subjects import Subject, of_rows
from dashpot.core.environment import machine, versions
from dashpot.data import Prepared, Problem
from dashpot.data.kinds import KINDS
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.evaluation.decision import Decision
from dashpot.report.robustness.record import Cell, RobustnessRecord

ROWS, FEWEST = 256, 32
"""Of the test rows as many at most; where there is no time for these, half of them, and again, to this number."""
DRAWS = 3
SECONDS = 5.0
"""At most, for everything."""
SHARE = 0.01
"""Of a budget at most."""


def seconds_for(budget: float | None) -> float:
    """How long it may take in a training or a search with a budget.

    >>> seconds_for(None), seconds_for(60.0)
    (5.0, 0.6)
    """
    return SECONDS if budget is None else min(SECONDS, SHARE * budget)


def brief_robustness(
    problem: Problem,
    prepared: Prepared,
    network: nn.Module,
    rows: np.ndarray,
    decision: Decision | None = None,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
) -> RobustnessRecord | None:
    """How the score of a trained network falls as the inputs of some held-out rows get worse.

    The rows are :data:`ROWS` of those given, drawn by the seed, fewer only where the network is slow. Corruptions come
    in turn; one for which no time is left is left out whole.

    Args:
        problem, prepared: the data, as in the training.
        network: what predicts, on prepared inputs.
        rows: that it has not learned from.
        decision: its temperature and decision rule.
        seconds: at most, and what one answer takes.
        seed: of the rows and the draws.

    Returns:
        None where there is nothing to measure: fewer than two rows or one class among them, inputs that are no
        tables, images, signals or texts, texts behind an encoder, or no time for one corruption.
    """
    started, how = time.monotonic(), prepared.preprocessing
    encoded = isinstance(how, TextPreprocessing) and how.before
    if prepared.modality not in KINDS or encoded or len(rows) < 2 or prepared.y.ndim > 1:
        return None
    drawn = np.random.default_rng(seed).permutation(np.asarray(rows))[:ROWS]

    def subject_on(count: int) -> Subject:
        return of_rows(problem.name, network, how, prepared.target, problem, np.sort(drawn[:count]), decision)

    few = min(len(drawn), FEWEST)
    subject = subject_on(few)
    metric = "r2" if subject.targets == "values" else "accuracy"
    if bool((subject.y == subject.y[0]).all()):
        return None
    subject.score(subject.clean(), metric)  # the first one is slower
    before = time.monotonic()
    subject.score(subject.clean(), metric)
    per_row = (time.monotonic() - before) / few
    corruptions = subject.corruptions()
    answers = sum(_answers(corruption) for corruption in corruptions)
    count = len(drawn)
    while count > FEWEST and per_row * count * answers > seconds - (time.monotonic() - started):
        count //= 2
    subject = subject_on(count)
    clean = subject.score(subject.clean(), metric)
    cells: list[Cell] = []
    units: dict[str, str] = {}
    for corruption in subject.corruptions():
        of_it: list[Cell] = []
        for strength in range(len(corruption.amounts)):
            if time.monotonic() - started > seconds:
                break
            of_it.append(cell_of("model", subject, corruption, strength, metric, DRAWS, seed))
        if len(of_it) == len(corruption.amounts):
            cells, units[corruption.name] = [*cells, *of_it], corruption.unit
    if not cells or not np.isfinite(clean):
        return None
    return RobustnessRecord(
        dataset=f"{problem.name}, test rows",
        kind=subject.kind,
        task="regression" if subject.targets == "values" else "classification",
        rows=count,
        metric=metric,
        clean={"model": clean},
        units=units,
        cells=tuple(cells),
        draws=DRAWS,
        seed=seed,
        left_out=tuple(corruption.name for corruption in corruptions if corruption.name not in units),
        versions=versions(),
        machine=machine(),
    )


def _answers(corruption: Corruption) -> int:
    return len(corruption.amounts) * (DRAWS if corruption.drawn else 1)
