"""``PathResult``: scores at every strength of a penalty, and the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from dashpot.core.records import finite
from dashpot.report.path.record import PathRecord
from dashpot.techniques.penalties.penalty import Penalty

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PathResult:
    """A regularization path, from the strongest penalty to the weakest; every sequence has one entry per strength.

    Attributes:
        strengths: falling.
        technique: the penalty; its own strength is not used.
        metric: ``"accuracy"`` for classes, ``"r2"`` for values.
        fold_scores, fold_losses: on the validation part of each fold, [folds, points].
        score, score_se, loss, loss_se: their means over the folds, and the standard errors of those.
        zeros: the exact zeros among the penalized weights, as a share, for the model of all rows.
        selected: the input columns with any non-zero weight in its first weight layer.
        coefficients: for a model of one linear layer its weights [points, outputs, features], in float64; else None.
        best: the index of the lowest mean validation loss.
        one_se: the index of the strongest penalty whose mean validation loss is within one standard error of the lowest
            (Breiman et al. 1984), and whose score is less than one standard error below that of ``best``, fold by fold.
        converged: the solution is exact to a relative 1e-7 (one linear layer), or training stayed finite (other
            networks), on all rows and in all folds.
        feature_names: of the input columns, or their numbers.
        rows: of the data.
        order: in which the strengths were gone through.
        seconds: what it took.
        states: the weights of the models of all rows.
        weights: what the weights of rows are called where they had any, ``"sample_weight"`` or a column; else None.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)); y = x[:, :1] - x[:, 1:2]
        >>> penalty = dashpot.L1(strength=1.0)
        >>> result = dashpot.path(lambda: torch.nn.Linear(4, 1), (x, y), technique=penalty, points=5, cv=3)
        >>> result.strengths[0] > result.strengths[-1], result.coefficients.shape
        (True, (5, 1, 4))
        >>> int((result.model().weight != 0).sum())
        2
    """

    strengths: tuple[float, ...]
    technique: Penalty
    metric: str
    fold_scores: np.ndarray
    fold_losses: np.ndarray
    score: np.ndarray
    score_se: np.ndarray
    loss: np.ndarray
    loss_se: np.ndarray
    zeros: tuple[float, ...]
    selected: tuple[int, ...]
    coefficients: np.ndarray | None
    best: int
    one_se: int
    converged: tuple[bool, ...]
    feature_names: tuple[str, ...]
    rows: int
    order: str
    seconds: float
    states: tuple[dict[str, Tensor], ...] = field(repr=False)
    make: Callable[[], nn.Module] = field(repr=False)
    weights: str | None = None

    def model(self, point: int | None = None) -> nn.Module:
        """A fresh model with the weights of one point, in evaluation mode; of ``one_se`` where none is named."""
        model = self.make()
        model.load_state_dict(self.states[self.one_se if point is None else point])
        return model.eval()

    def record(
        self,
        *,
        dataset: str | None = None,
        network: str | None = None,
        task: str | None = None,
        seed: int | None = None,
        stability: Mapping[str, float] | None = None,
    ) -> PathRecord:
        """What is written as ``path.json``: coefficients as the columns that are not zero, with their values per
        output; None for what is not finite.

        Args:
            dataset, network, task, seed, stability: of the run, as in :class:`~dashpot.report.path.record.PathRecord`.
        """
        from dashpot.core.fields.codec import to_text

        sparse: list[Mapping[str, Any]] | None = None
        if self.coefficients is not None:
            columns = [np.flatnonzero((point != 0).any(axis=0)) for point in self.coefficients]
            sparse = [
                {"columns": c.tolist(), "values": p[:, c].tolist()}
                for c, p in zip(columns, self.coefficients, strict=True)
            ]
        return PathRecord(
            technique=to_text(self.technique),
            metric=self.metric,
            rows=self.rows,
            features=len(self.feature_names),
            folds=len(self.fold_losses),
            order=self.order,
            seconds=self.seconds,
            best=self.best,
            one_se=self.one_se,
            strengths=list(self.strengths),
            fold_scores=finite(self.fold_scores.tolist()),
            fold_losses=finite(self.fold_losses.tolist()),
            score=finite(self.score.tolist()),
            score_se=finite(self.score_se.tolist()),
            loss=finite(self.loss.tolist()),
            loss_se=finite(self.loss_se.tolist()),
            zeros=list(self.zeros),
            selected=list(self.selected),
            converged=list(self.converged),
            feature_names=list(self.feature_names),
            coefficients=sparse,
            dataset=dataset,
            network=network,
            task=task,
            seed=seed,
            stability=stability,
            weights=self.weights,
        )

    def figure(self) -> Figure:
        """Scores and coefficients along the strengths as a matplotlib figure."""
        from dashpot.report.path.figure import draw_path

        return draw_path(self.record())

    def _repr_html_(self) -> str | None:
        return self.record()._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: :meth:`record` as a dictionary."""
        return self.record().to_dict()
