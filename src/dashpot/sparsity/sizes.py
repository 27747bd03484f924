"""The score of a network against its size: one that became so small while it trained, for each of several sizes."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.core.fields.codec import to_text
from dashpot.core.fields.domains import check_whole
from dashpot.core.language import say
from dashpot.core.recipe import Recipe
from dashpot.core.records import finite
from dashpot.core.technique import Technique
from dashpot.evaluation.cross_validation import choose, folds
from dashpot.evaluation.losses import is_classification, metrics_of, predict
from dashpot.evaluation.metrics import DEFAULT
from dashpot.evaluation.statistics import standard_error
from dashpot.report.sizes.record import SizesRecord
from dashpot.shrinking.channels import channels_of
from dashpot.shrinking.shrink import size_of
from dashpot.shrinking.timing import BATCHES, latencies, rows_like
from dashpot.sparsity.asked_sizes import read_sizes, sizes_between
from dashpot.sparsity.points import Training, as_inputs, check_targets, fold_done, fresh_model, present_rows
from dashpot.techniques.penalties.compress import Compress
from dashpot.techniques.penalties.on_channels import chosen_in
from dashpot.techniques.stopping.best_weights import HELD_OUT, Stopping
from dashpot.training.cutting import called_with
from dashpot.training.loop import DivergenceWarning, fit
from dashpot.training.task import outputs_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dashpot.sparsity.path import MakeModel, Note, Prepare

POINTS = 6
"""Sizes where nobody names any, evenly spaced on a logarithmic scale."""


@dataclass(frozen=True)
class SizePath:
    """Networks from small to large; every sequence has one entry per size.

    Attributes:
        record: scores, sizes and times, as they are written.
        models: those of all rows, each of its size, in evaluation mode.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)); y = x[:, 0] * x[:, 1]
        >>> make = lambda: torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
        >>> result = dashpot.size_path(make, (x, y), ("0.2x parameters", "1x parameters"), cv=2, epochs=5)
        >>> result.record.parameters
        [37, 193]
        >>> result.model(0)[0].out_features
        6
    """

    record: SizesRecord
    models: tuple[nn.Module, ...] = field(repr=False)

    def model(self, point: int | None = None) -> nn.Module:
        """One of them; the one-standard-error choice where none is named."""
        return self.models[self.record.one_se if point is None else point]

    def figure(self) -> Figure:
        """Scores against sizes as a matplotlib figure."""
        from dashpot.report.sizes.figure import draw_sizes

        return draw_sizes(self.record)

    def _repr_html_(self) -> str | None:
        return self.record._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.record.to_dict()


def size_path(
    model_fn: Callable[[], nn.Module],
    data: tuple[Any, Any],
    sizes: Sequence[str] | Compress | str | None = None,
    *,
    recipe: Recipe | Technique | str | Sequence[Any] | None = None,
    points: int = POINTS,
    cv: int = 5,
    sample_weight: Any = None,
    epochs: int = 50,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    device: str | torch.device = "auto",
    note: Note | None = None,
) -> SizePath:
    """How small a network may become: for each size one that becomes so small while it trains, scored by
    cross-validation, and then fitted to all rows, counted and timed.

    Args:
        model_fn: returns a fresh model; it is called under a random state of its own, so that all points start from the
            same initial weights.
        data: ``(x, y)``, tensors or arrays, as for :func:`dashpot.path`.
        sizes: as :class:`~dashpot.Compress` takes them, ``"1x parameters"`` is the full network. Or a
            :class:`~dashpot.Compress` (or its text) whose size is the smallest one: ``points`` sizes from there to the
            full one, evenly spaced on a logarithmic scale. By default from 0.05x parameters, or what the network needs
            with one unit in each layer where that is more.
        recipe: techniques beside it, in every training.
        points: how many sizes where they are not named, at least 2.
        cv: folds, at least 2; stratified by class.
        sample_weight: how much each row counts [n], as for :func:`dashpot.path`.
        epochs, batch_size, lr, device: of each training, as in :func:`dashpot.fit`.
        seed: of the folds, the initial weights and the training.
        note: called with messages for the user.

    Returns:
        The networks, from small to large.

    Raises:
        ConfigError: a size that cannot be read, bad numbers, or more folds than rows of a class.
        ConflictError: a network that cannot be shrunk, or not so far, or a technique that watches validation rows.
        DataError: x and y of different lengths, or weights that are not one finite number >= 0 for each row.
    """
    x, y, weight = present_rows(data, sample_weight)
    technique, asked = read_sizes(sizes)
    return run_sizes(
        lambda columns: model_fn(),
        lambda rows: (x, y),
        len(x),
        technique,
        sizes=asked,
        recipe=recipe,
        points=points,
        cv=cv,
        weight=weight,
        weights=None if sample_weight is None else "sample_weight",
        training=Training(check_whole("epochs", epochs), check_whole("batch_size", batch_size), lr, seed, device),
        note=note,
    )


def run_sizes(
    model_for: MakeModel,
    prepare: Prepare,
    rows: int,
    technique: Compress | None,
    *,
    sizes: Sequence[str] | None = None,
    recipe: Any = None,
    points: int = POINTS,
    cv: int = 5,
    weight: Tensor | None = None,
    weights: str | None = None,
    training: Training,
    note: Note | None = None,
) -> SizePath:
    """As :func:`size_path`, with inputs prepared afresh for each fold.

    Args:
        model_for: from the number of input columns to a fresh model.
        prepare: from row numbers to all rows as (x, y), with statistics of those rows only.
        rows: how many there are.
        technique: its ``to`` is the smallest size, where ``sizes`` are not named; None for the default.
        weight: of the rows [rows], above 0; None: each counts once.
    """
    started, tell = time.perf_counter(), note or (lambda text: None)
    cv, seed = check_whole("cv", cv, low=2), check_whole("seed", training.seed, low=0)
    x, y = prepare(np.arange(rows))

    def make(columns: int) -> nn.Module:
        return fresh_model(lambda: model_for(columns), seed)

    model = make(x.shape[1])
    check_targets(y, outputs_of(model, as_inputs(model, x[:2])))
    args, kwargs = called_with(model, as_inputs(model, x))
    by = technique or Compress()
    every = [name for name, _ in model.named_parameters()]
    channels = channels_of(model, args, kwargs, every, chosen_in(model, by.on))
    asked = sizes_between(sizes, technique, channels, check_whole("points", points, low=2), type(model).__name__)
    others = Recipe.coerce(recipe)
    for watcher in (t for t in others if isinstance(t, Stopping) and any(m.startswith(HELD_OUT) for m in t.watching)):
        raise ConflictError(
            f"{watcher} watches a validation score, and a path of sizes holds no rows back from training: those of each"
            " fold score its networks afterwards. Use monitor='train_loss', or leave it out."
        )

    def fitted(x: Tensor, y: Tensor, weight: Tensor | None) -> list[nn.Module]:
        found = []
        for size in asked:
            network = make(x.shape[1])
            own = () if weight is None else (weight,)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DivergenceWarning)
                result = fit(
                    network,
                    (as_inputs(network, x), as_inputs(network, y), *own),
                    recipe=others | dataclasses.replace(by, to=size),
                    **dataclasses.asdict(training),
                    progress=False,
                )
            found.append(result.model.eval())
        return found

    metric = DEFAULT["classification" if is_classification(y) else "regression"]
    splits = folds(y, cv, seed)
    losses, values = np.empty((cv, len(asked))), np.empty((cv, len(asked)))
    for fold, (train, valid) in enumerate(splits):
        inputs, targets = prepare(train)
        own, held = (None if weight is None else weight[part] for part in (train, valid))
        for i, network in enumerate(fitted(inputs[train], targets[train], own)):
            measured = metrics_of(predict(network, as_inputs(network, inputs[valid])), targets[valid], weight=held)
            losses[fold, i], values[fold, i] = measured["loss"], measured[metric]
        tell(fold_done(fold, cv, losses[fold].min()))
    models = [network.cpu() for network in fitted(x, y, weight)]
    tell(say("all rows: done"))
    best, one_se = choose(losses, values)
    measured_sizes = [size_of(network, args, kwargs) for network in models]
    times = [latencies([(network, rows_like(args, kwargs, batch)) for network in models]) for batch in BATCHES]
    means = [finite(part.tolist()) for part in (values.mean(0), standard_error(values), losses.mean(0))]
    record = SizesRecord(
        technique=to_text(by),
        metric=metric,
        rows=rows,
        features=x.shape[1],
        folds=cv,
        seconds=time.perf_counter() - started,
        best=best,
        one_se=one_se,
        sizes=asked,
        fold_scores=finite(values.tolist()),
        fold_losses=finite(losses.tolist()),
        score=means[0],
        score_se=means[1],
        loss=means[2],
        loss_se=finite(standard_error(losses).tolist()),
        parameters=[size.parameters for size in measured_sizes],
        macs=[size.macs for size in measured_sizes],
        bytes=[size.bytes for size in measured_sizes],
        ms_1=[1000 * seconds for seconds in times[0]],
        ms_64=[1000 * seconds for seconds in times[1]],
        weights=weights,
    )
    return SizePath(record, tuple(models))
