"""``Task``: data with folds, a network factory and a proper score; what a worker needs besides a candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.rng import mix, stream
from dashpot.core.running.tensor_rows import TensorRows
from dashpot.evaluation.calibration import fit_temperature
from dashpot.evaluation.losses import Criterion
from dashpot.evaluation.metrics import Metric
from dashpot.population.cache import ArchitectureCache
from dashpot.population.members import Member, initial
from dashpot.search.space.space import Candidate
from dashpot.techniques.penalties.strengths import resolve_strengths
from dashpot.techniques.stopping.best_weights import watches_held_out

Factory = Callable[[Mapping[str, Any]], nn.Module]
ENOUGH = 10_000
"""Rows at most for one temperature."""
WATCHED = 0.15
"""The share of a fold's training rows that early stopping watches, so that it never sees the rows that candidates are
ranked by.
"""


@dataclass(frozen=True)
class Task:
    """Data, folds and the network; the same in every worker.

    Attributes:
        x, y: all rows; values are standardized.
        folds: (training rows, validation rows), positions in ``x``.
        make: from the network's options to a network.
        metric: what the user asked for.
        classes: 0 for regression.
        scale: what standardized values are multiplied with to be in the target's units.
        seed: of everything.
        loss: a criterion of the user's own, or None.
        calibrated: score classes at the one temperature that suits the outputs best, as the final model will have one.
        device, bfloat16, stack: as in :class:`~dashpot.population.population.Population`.
        modality: what the inputs are, as in :func:`dashpot.fit`.
        weight: of the rows, > 0, in training and in every score of a fold; the folds count alike. None: all the same.
        populations: in how many threads a race trains, each with a population of its own; None: as many as there are.
        known: what populations measured of the architectures so far.
    """

    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    folds: Sequence[tuple[np.ndarray, np.ndarray]] = field(repr=False)
    make: Factory = field(repr=False)
    metric: Metric
    classes: int
    seed: int
    scale: float = 1.0
    loss: Criterion | None = None
    calibrated: bool = False
    device: str = "auto"
    bfloat16: bool | None = None
    stack: bool = True
    modality: str | None = None
    weight: Tensor | None = field(default=None, repr=False)
    populations: int | None = None
    known: ArchitectureCache = field(default_factory=ArchitectureCache, repr=False, compare=False)

    @property
    def own_score(self) -> bool:
        """Whether candidates are ranked by the user's own loss: what it aims at (a quantile, say) need not be what RMSE
        aims at.
        """
        return self.loss is not None and not self.classes

    def member(self, candidate: Candidate, fold: int, repeat: int = 0) -> Member:
        """A candidate on a fold. All candidates share a fold's seed, so that they are compared in pairs."""
        train, watch = self.folds[fold][0], None
        if watches_held_out(candidate.recipe):
            train, watch = held_out(train, self.y, mix(stream(self.seed, "watched"), fold))
        seed = mix(stream(self.seed, "fold"), fold + 1000 * repeat) >> 33
        net = dict(candidate.net)
        member = Member(
            make=lambda: self.make(net),
            recipe=candidate.recipe,
            lr=candidate.lr,
            seed=int(seed),
            rows=train,
            watch=watch,
            shape=tuple(sorted((name, str(value)) for name, value in net.items())),
            batch_size=candidate.batch_size,
        )
        if all(getattr(t, "relative", None) is None for t in candidate.recipe):
            return member
        # Relative to what this fold's training rows give at the member's own initial weights, as in dashpot.fit.
        index = torch.as_tensor(train)
        x = TensorRows(self.x, index) if self.x.ndim > 2 else self.x[index]  # of images no copy is made
        rows = (x, self.y[index], *(() if self.weight is None else (self.weight[index],)))
        return replace(member, recipe=resolve_strengths(candidate.recipe, initial(member), rows, self.loss))

    def proper(self, out: Tensor, rows: np.ndarray) -> float:
        """The proper score of outputs for rows, low is good: log-loss, calibrated where that is asked for, or RMSE in
        the target's units; for values the user's own loss, where there is one.
        """
        if self.own_score and self.loss is not None:
            each = self.loss(out.detach().cpu().to(self.y.dtype), self.y[torch.as_tensor(rows)].cpu()).double()
            return float(np.average(each.reshape(len(each), -1).mean(dim=1).numpy(), weights=self.weights(rows)))
        return self.scores([out], [rows])[0]

    def scores(self, outs: Sequence[Tensor], rows: Sequence[np.ndarray]) -> list[float]:
        """The proper score of each fold's outputs; with a temperature, one for all of them together, as few rows of one
        fold would leave it to chance.
        """
        if self.own_score:
            return [self.proper(out, own) for out, own in zip(outs, rows, strict=True)]
        truth = [self.y[torch.as_tensor(own)] for own in rows]
        return [
            proper_score(out, y, self.scale, self.weights(own))
            for out, y, own in zip(self._calibrated(outs, truth, rows), truth, rows, strict=True)
        ]

    def row_scores(self, out: Tensor, rows: np.ndarray) -> np.ndarray:
        """A number for each row, [n]: their mean is the proper score of the rows, and their spread tells its standard
        error. Of a root mean square it is the row's part of the mean, to first order.
        """
        y, weight = self.y[torch.as_tensor(rows)].cpu(), self.weights(rows)
        if self.own_score and self.loss is not None:
            return self.loss(out.detach().cpu().to(y.dtype), y).double().reshape(len(y), -1).mean(dim=1).numpy()
        (out,) = self._calibrated([out.detach().cpu().double()], [y], [rows])
        if self.classes:
            return torch.nn.functional.cross_entropy(out, y, reduction="none").numpy()
        each = (out.reshape(len(y), -1) - y.reshape(len(y), -1).double()).square().mean(dim=1).numpy()
        mean = float(np.average(each, weights=weight))
        root = max(mean, 1e-300) ** 0.5
        return np.asarray(self.scale * (root + (each - mean) / (2 * root)))

    def _calibrated(
        self, outs: Sequence[Tensor], truth: Sequence[Tensor], rows: Sequence[np.ndarray]
    ) -> Sequence[Tensor]:
        """Logits over one temperature, where one is used."""
        logits = torch.cat([out.detach().cpu().double() for out in outs])
        if self.classes and self.calibrated and bool(logits.isfinite().all()):
            every = 1 + len(logits) // ENOUGH
            some = None if self.weight is None else self.weights(np.concatenate(rows)[::every])
            known = torch.cat(list(truth))[::every].cpu().numpy()
            temperature = fit_temperature(logits[::every].numpy(), known, weight=some)
            return [out / temperature for out in outs]
        return outs

    def weights(self, rows: np.ndarray) -> np.ndarray | None:
        """Of some rows, float64, or None."""
        return None if self.weight is None else self.weight[torch.as_tensor(rows)].double().numpy()


def proper_score(out: Tensor, y: Tensor, scale: float = 1.0, weight: np.ndarray | None = None) -> float:
    """Log-loss of logits [n, classes], or RMSE of values [n, k]."""
    out = out.detach().cpu().double()
    if y.is_floating_point():
        each = (out.reshape(len(y), -1) - y.reshape(len(y), -1).double()).square().mean(dim=1)
        return float(np.sqrt(np.average(each.numpy(), weights=weight))) * scale
    each = torch.nn.functional.cross_entropy(out, y, reduction="none")
    return float(np.average(each.numpy(), weights=weight))


def held_out(train: np.ndarray, y: Tensor, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and rows to watch, stratified by class."""
    rng = np.random.default_rng(key)
    labels = y[torch.as_tensor(train)].numpy()
    groups = [train] if y.is_floating_point() else [train[labels == c] for c in np.unique(labels)]
    if max(map(len, groups)) < 2:  # no class has a row to spare
        groups = [train]
    watch = [rng.permutation(group)[: max(1, round(WATCHED * len(group)))] for group in groups if len(group) > 1]
    chosen = np.sort(np.concatenate(watch))
    return np.setdiff1d(train, chosen), chosen


def equal_folds(folds: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds with equally many training rows each, so that members of all folds make one stack: at most a row per class
    is left out at random.
    """
    size = min(len(train) for train, _ in folds)
    rng = np.random.default_rng([seed, 5])
    return [(np.sort(rng.permutation(train)[:size]) if len(train) > size else train, valid) for train, valid in folds]
