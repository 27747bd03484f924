"""The texts of a problem as a bag of words reads them, also columns of texts among others."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import DataError
from dashpot.data import Prepared, Problem
from dashpot.data.rows import Rows
from dashpot.data.tables.columnar import DataWarning, is_missing
from dashpot.data.tables.preprocessing import Preprocessing
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.nets.text_bag import TextBag
from dashpot.nets.text_linear import RIDGE, fit_linear

MOST = 5_000
"""Rows of a table that its words are weighed by: a second or two, whatever is left of a budget."""


def has_texts(problem: Problem, prepared: Prepared) -> bool:
    """Whether its rows are texts, or have columns of texts among others."""
    how = prepared.preprocessing
    return isinstance(how, TextPreprocessing) or (isinstance(how, Preprocessing) and bool(how.text))


@dataclass(frozen=True)
class WordRows:
    """Training rows as words.

    Attributes:
        how: columns and lexicon.
        x: rows of the lexicon, int32 [n, length].
        rows: of the problem, [n].
    """

    how: TextPreprocessing
    x: Tensor
    rows: np.ndarray

    @staticmethod
    def of(problem: Problem, prepared: Prepared, train: np.ndarray) -> WordRows | None:
        """The training rows ``train``; of a table its columns of texts, of at most 5,000 rows, evenly spread. None
        where there are no texts, or no word in them.
        """
        how = prepared.preprocessing
        if isinstance(how, TextPreprocessing):
            return WordRows(how, prepared.x[torch.as_tensor(train)], train)
        if not isinstance(how, Preprocessing) or not how.text or not isinstance(problem.inputs, Rows):
            return None
        picked = np.sort(train)
        picked = picked[np.unique(np.linspace(0, len(picked) - 1, min(len(picked), MOST)).astype(np.int64))]
        texts = np.stack([problem.inputs.column(name)[picked] for name in how.text], axis=1)
        with warnings.catch_warnings():
            # What is left out of a list of words is no news: the model itself reads topics of all.
            warnings.simplefilter("ignore", DataWarning)
            try:
                own = TextPreprocessing.fit(texts, np.arange(len(picked)), columns=tuple(how.text))
            except DataError:  # no token
                return None
        return WordRows(own, torch.from_numpy(own.transform(texts)), picked)

    def linear(self, prepared: Prepared, classes: int) -> TextBag:
        """A linear model of the bags of words of the rows: logistic regression, or ridge regression of values."""
        bag = TextBag.of(self.how.lexicon, max(classes, 1), width=0, before=self.how.before)
        rows = torch.as_tensor(self.rows)
        weight = None if prepared.weight is None else prepared.weight[rows]
        fit_linear(bag, self.x, prepared.y[rows], how="logistic" if classes else RIDGE, weight=weight)
        return bag


def told_rows(problem: Problem, rows: list[int]) -> list[str]:
    """Rows of a problem to read: what their columns hold with ``|`` between, without what is missing."""
    inputs = problem.inputs
    if isinstance(inputs, Rows):
        columns = [inputs.column(name) for name in inputs.names]
        some = [[column[row] for column in columns] for row in rows]
    else:
        some = [np.asarray(inputs[row], dtype=object).tolist() for row in rows]
    return [" | ".join(_told(value) for value in row if not is_missing(value)) for row in some]


def _told(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
