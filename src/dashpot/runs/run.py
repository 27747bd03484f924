"""``load_run``: a saved run that predicts, like a fitted estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dashpot.core.errors import UsageError
from dashpot.data import Target
from dashpot.data.kinds import Prepares
from dashpot.data.new_rows import new_inputs
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import predict
from dashpot.runs import saved


@dataclass(frozen=True)
class Run:
    """A finished run: its network with how inputs are prepared and answers read.

    Attributes:
        folder: that it was loaded from.
        network: in evaluation mode, for prepared inputs; with the run's test-time augmentation.
        target: task, classes and column names.
        decision: temperature and decision rule.
        preprocessing: how inputs are prepared.
    """

    folder: Path
    network: nn.Module
    target: Target
    decision: Decision
    preprocessing: Prepares = field(repr=False)

    @property
    def classes_(self) -> np.ndarray:
        """The names of the classes, in the order of the columns of :meth:`predict_proba`; none for values."""
        return np.array(self.target.classes, dtype=object)

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row by its name, or its value.

        Args:
            X: rows as in training: a frame, an array, or a list of texts; columns of a frame are found by name.

        Raises:
            DataError: they are of another kind, or lack columns.
        """
        if not self.target.classes:
            out = self._outputs(X)[:, 0]
            return np.asarray(out * self.target.scale + self.target.mean)
        return np.asarray(self.classes_[self.decision.decide(self.predict_proba(X))])

    def predict_proba(self, X: Any) -> np.ndarray:
        """The calibrated probability of each class, [rows, classes].

        Raises:
            UsageError: the run predicts values.
        """
        if not self.target.classes:
            raise UsageError(f"{self.folder} predicts values, which have no probabilities: call predict.")
        return self.decision.probabilities(self._outputs(X))

    def _outputs(self, X: Any) -> np.ndarray:
        x = torch.from_numpy(np.asarray(new_inputs(X, self.preprocessing, self.target.name, self.target.weight)))
        out = predict(self.network, x).double().cpu().numpy()
        return np.asarray(out.reshape(len(out), -1))


def load_run(
    folder: str | Path,
    *,
    make: Callable[..., nn.Module] | None = None,
    tta: Any = saved.SAVED,
    tokenizer: Any = None,
    encoder: Any = None,
) -> Run:
    """A finished ``dashpot fit``, ``tune`` or ``shrink``, to predict with. No code of the folder is run.

    Args:
        folder: of the run.
        make: of a run whose network is your own the function that made it.
        tta: test-time augmentation; by default the run's own.
        tokenizer, encoder: of a run on texts the user's own tokenizer, and the folder of an encoder that was moved.

    Raises:
        ConfigError: ``make`` or another argument that the run needs is missing, or is not that of the run.
        StorageError: it is no finished run, or a file is damaged.

    Example: ``dashpot.load_run("runs/fit-1").predict(frame)``.
    """
    network, how, target = saved.load_run(folder, tta, make, tokenizer, encoder)
    return Run(Path(folder), network, target, saved.load_decision(folder) or Decision(), how)
