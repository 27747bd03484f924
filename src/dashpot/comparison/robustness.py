"""How a model's score falls as its inputs get worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dashpot.comparison.corruptions import Corruption, named
from dashpot.comparison.subjects import Subject, subject_of
from dashpot.core.environment import machine, versions
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import check_whole
from dashpot.core.rng import derive, stream
from dashpot.evaluation.losses import SCORES
from dashpot.evaluation.metrics import bounds_of
from dashpot.evaluation.statistics import corrected_interval
from dashpot.report.robustness.figure import draw_robustness, robustness_figure
from dashpot.report.robustness.record import Cell, RobustnessRecord
from dashpot.report.robustness.table import robustness_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RobustnessResult:
    """What :func:`robustness` found.

    Attributes:
        record: everything that was measured; ``record.to_dict()`` is its plain JSON.
    """

    record: RobustnessRecord = field(repr=False)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each model, corruption and strength: ready for a data frame."""
        names = ("model", "corruption", "strength", "amount", "mean", "low", "high")
        return [{name: getattr(cell, name) for name in names} for cell in self.record.cells]

    def summary(self) -> str:
        """The table as text."""
        return robustness_text(self.record)

    def figure(self) -> Figure:
        """The curves as a matplotlib figure, which a notebook shows and ``savefig`` writes."""
        return draw_robustness(self.record)

    def plot(self, stem: str | Path) -> tuple[Path, Path]:
        """Write the figure as ``stem.png`` and ``stem.svg``.

        Raises:
            StorageError: a file could not be written.
        """
        return robustness_figure(self.record, stem)

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str | None:
        return self.record._repr_html_()


def robustness(
    model: Any,
    data: Any = None,
    *,
    metric: str | None = None,
    corruptions: Any = None,
    draws: int = 5,
    seed: int = 0,
    modality: str | None = None,
    make: Callable[..., nn.Module] | None = None,
    tokenizer: Any = None,
) -> RobustnessResult:
    """Score a model, or several beside each other, as inputs get worse in five strengths.

    Tables: Gaussian noise, shifts and scales of the numbers, missing values and missing columns. Images: noise, blur,
    brightness, contrast, rotation, erasing. Signals: noise, shifts in time, amplitude, lost steps. Texts, and columns
    of texts in a table that comes with its rows: typing errors, neighbouring keys, deleted words. Nothing is trained.

    Args:
        model: a folder of a finished run, a fitted estimator, the result of ``fit`` or ``tune``, or a module; or
            several of these by name, such as ``{"plain": first, "with the recipe": second}``. All see the same draws.
        data: rows that no model has learned from, with their targets: for a run a file or folder as for ``dashpot
            fit`` (of the one that it was trained on, its test rows); for an estimator ``(X, y)`` or ``(X, y,
            weight)``; for modules tensors or arrays. For the result of ``tune`` None is its test rows.
        metric: ``"accuracy"`` or ``"r2"`` by default; ``"balanced_accuracy"``, ``"rmse"`` or ``"loss"``.
        corruptions: names of those to try; all by default.
        draws: for each strength of what is drawn, >= 1; intervals are over them, and say nothing of other test rows.
        seed: of the draws.
        modality: of a module's inputs; by default [n, features] is a table, [n, channels, steps] a signal and four axes
            are an image.
        make: of runs whose network is the user's own the function that made it.
        tokenizer: of folders of runs whose tokenizer is a function of your own that function, or its name.

    Raises:
        ConfigError, DataError, UnknownNameError: data that do not fit, or a metric or corruption that is not there.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> model = torch.nn.Linear(3, 1)
        >>> with torch.no_grad():
        ...     result = dashpot.robustness(model, (x, model(x)[:, 0]), corruptions=["noise"], draws=2)
        >>> [row["strength"] for row in result.table], result.table[0]["mean"] > result.table[4]["mean"]
        ([1, 2, 3, 4, 5], True)

    Paper: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019, for images; the corruptions and strengths here are Dashpot's own, so numbers are not those of ImageNet-C.

    When not to use it: what a model meets in use may be none of this. A strength of one corruption is no measure for
    that of another.
    """
    draws, seed = check_whole("draws", draws), check_whole("seed", seed, low=0)
    models = dict(model) if isinstance(model, Mapping) else {"model": model}
    if not models:
        raise ConfigError("model", "one model or more", model)
    subjects = {str(name): subject_of(one, data, modality, make, tokenizer) for name, one in models.items()}
    first = next(iter(subjects.values()))
    for name, subject in subjects.items():
        if (subject.kind, subject.targets, len(subject.y)) != (first.kind, first.targets, len(first.y)):
            raise ConfigError("model", f"models of one task on one kind of data; {name!r} differs", subject.kind)
    known = SCORES[first.targets]
    chosen = metric or ("r2" if first.targets == "values" else "accuracy")
    if chosen not in known:
        raise UnknownNameError("metric", chosen, known)
    clean: dict[str, float] = {}
    cells: list[Cell] = []
    units: dict[str, str] = {}
    for name, subject in subjects.items():
        clean[name] = subject.score(subject.clean(), chosen)
        for corruption in _wanted(named(subject.corruptions()), corruptions):
            units[corruption.name] = corruption.unit
            cells += [
                cell_of(name, subject, corruption, k, chosen, draws, seed) for k in range(len(corruption.amounts))
            ]
    record = RobustnessRecord(
        dataset=first.name,
        kind=first.kind,
        task="regression" if first.targets == "values" else "classification",
        rows=len(first.y),
        metric=chosen,
        clean=clean,
        units=units,
        cells=tuple(cells),
        draws=draws,
        seed=seed,
        versions=versions(),
        machine=machine(),
    )
    return RobustnessResult(record)


def _wanted(known: Mapping[str, Corruption], names: Any) -> list[Corruption]:
    if names is None:
        return list(known.values())
    found = [names] if isinstance(names, str) else list(names)
    for name in found:
        if name not in known:
            raise UnknownNameError("corruptions", str(name), known)
    return [known[name] for name in dict.fromkeys(found)]


@torch.no_grad()
def cell_of(
    name: str, subject: Subject, corruption: Corruption, strength: int, metric: str, draws: int, seed: int
) -> Cell:
    """One corruption in one strength, counted from 0, over some draws."""
    amount, scores = corruption.amounts[strength], []
    for draw in range(draws if corruption.drawn else 1):
        # The same for all models, which are thereby compared in pairs.
        key = derive(stream(seed, corruption.name), strength, draw) >> 1
        scores.append(subject.score(corruption.change(subject.inputs, amount, key), metric))
    finite = bool(np.isfinite(scores).all())
    interval = corrected_interval(scores, test_share=0.0, bounds=bounds_of(metric)) if finite else None
    mean = interval.mean if interval is not None else float("nan")
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Cell(name, corruption.name, strength + 1, amount, mean, low, high, tuple(scores))
