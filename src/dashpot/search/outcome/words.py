"""What a search's report says of texts: words that count, mistakes, and whether a table's words alone are enough."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from torch import Tensor

from dashpot.comparison.words_alone import SECONDS, words_beside
from dashpot.runs.text_report import TextAnswers, text_answers
from dashpot.search.outcome.ensemble import Final
from dashpot.search.setup import Setup

LEFT = 0.5
"""Of what a budget has left as much at most: figures and the page come after."""


def final_words(setup: Setup, made: Final, outputs: Tensor | None, fold: int) -> TextAnswers | None:
    """Of the final model; None for other data than texts and tables with columns of texts.

    Args:
        outputs: for the test rows; None where there are none.
        fold: the one whose held-out rows compare the words alone with the final model, whose answers for them are by
            the networks that have not seen them.
    """
    found = text_answers(
        setup.problem, setup.prepared, setup.test, made.network, made.decision, outputs, train=setup.pool
    )
    if found is None or setup.hurried or setup.problem.kind == "text":
        return found
    budget, seconds = setup.config.budget, SECONDS
    if budget is not None:
        seconds = min(seconds, LEFT * (budget - (time.monotonic() - setup.started)))
    train, valid = setup.task.folds[fold]
    out, rows = made.held_out
    own = np.isin(rows, valid)
    alone = words_beside(
        setup.problem,
        setup.prepared,
        train,
        rows[own],
        lambda: out[own],
        metric=setup.metric,
        scale=setup.task.scale,
        seconds=seconds,
        note=setup.note,
    )
    return replace(found, alone=alone)
