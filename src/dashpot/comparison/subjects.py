"""What robustness is measured of: a network with rows, whatever it came in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.comparison.corruptions import (
    Columns,
    Corruption,
    of_images,
    of_signals,
    of_tables,
    of_text_columns,
    of_texts,
)
from dashpot.core.errors import ConfigError, DataError
from dashpot.core.running.batch import unit_range
from dashpot.data import Problem, Target, load_problem
from dashpot.data.kinds import Prepares
from dashpot.data.new_rows import new_inputs
from dashpot.data.rows import Rows
from dashpot.data.tables.preprocessing import Preprocessing
from dashpot.data.texts.rows import as_texts
from dashpot.evaluation.decision import Decision
from dashpot.evaluation.losses import metrics_of, predict, targets_of
from dashpot.runs.data_of_run import trained_on
from dashpot.runs.saved import load_decision, load_run

KINDS = {2: "table", 3: "signal", 4: "image"}


@dataclass(frozen=True)
class Subject:
    """A network and the rows on which it is scored.

    Attributes:
        name: of the data.
        kind: ``"table"``, ``"image"``, ``"signal"`` or ``"text"``.
        network: takes what corruptions give.
        inputs: before they are made worse: features, pixels, signals, or texts as objects [n, columns].
        y: classes or values, in the target's own units.
        targets: ``"classes"`` or ``"values"``.
        how: the inputs were prepared, where that is known.
        weight: of the rows, or None.
        decision: temperature and decision rule for classes, or None.
        units: mean and scale of values.
        rows: of a table as they were before they became features, where that is known.
    """

    name: str
    kind: str
    network: nn.Module
    inputs: Any = field(repr=False)
    y: Tensor = field(repr=False)
    targets: str
    how: Prepares | None = None
    weight: Tensor | None = None
    decision: Decision | None = None
    units: tuple[Any, Any] = (0.0, 1.0)
    rows: Rows | None = field(default=None, repr=False)

    def corruptions(self) -> list[Corruption]:
        """What makes these inputs worse."""
        if self.kind == "text":
            return of_texts(self._prepared)
        if self.kind == "image":
            return of_images()
        if self.kind == "signal":
            return of_signals(self.inputs)
        found = of_tables(Columns.of(self.how, self.inputs), self.inputs)
        if self.rows is not None and isinstance(self.how, Preprocessing):
            found += of_text_columns(self.how, self.rows)
        return found

    def clean(self) -> Any:
        """The inputs as the network takes them."""
        if self.kind == "text":
            return self._prepared(self.inputs)
        return unit_range(self.inputs) if self.kind == "image" else self.inputs

    def score(self, x: Tensor, metric: str) -> float:
        """Of the network's answers to inputs of these rows."""
        out = predict(self.network, x).double().cpu()
        if self.targets == "values":
            out = out.reshape(self.y.shape) * self.units[1] + self.units[0]
        elif self.decision is not None:
            chances = torch.from_numpy(self.decision.probabilities(out.reshape(len(out), -1).numpy())).log()
            # Offsets decide, and are no part of what a loss is taken of.
            offsets = torch.tensor(self.decision.offsets if metric != "loss" else (), dtype=torch.float64)
            out = chances + offsets if len(offsets) else chances
        return metrics_of(out, self.y, weight=self.weight, targets=self.targets)[metric]

    def _prepared(self, texts: np.ndarray) -> Tensor:
        assert self.how is not None
        return torch.from_numpy(self.how.transform(texts))


def subject_of(
    model: Any,
    data: Any,
    modality: str | None,
    make: Callable[..., nn.Module] | None = None,
    tokenizer: Any = None,
) -> Subject:
    """What is scored; see :func:`dashpot.robustness`.

    Raises:
        ConfigError, DataError: model and data do not fit each other.
    """
    if isinstance(model, str | Path):
        return _of_run(model, data, make, tokenizer)
    if tokenizer is not None:
        raise ConfigError("tokenizer", "given for the folder of a run", str(tokenizer), "Other models have theirs.")
    if hasattr(model, "preprocessing_"):
        return _of_estimator(model, data)
    if hasattr(model, "prepared") and hasattr(model, "predictor"):
        return _of_search(model, data)
    network = model if isinstance(model, nn.Module) else getattr(model, "predictor", None)
    if not isinstance(network, nn.Module):
        rule = "the folder of a run, a fitted estimator, the result of fit or tune, or a module"
        raise ConfigError("model", rule, type(model).__name__)
    modality = modality or getattr(model, "modality", None)
    return _of_module(network, data, modality, getattr(model, "targets", None))


def _parts(data: Any) -> tuple[Any, ...]:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise DataError(f"data must be (x, y) or (x, y, weight), got {type(data).__name__}.")
    return tuple(data)


def _of_module(network: nn.Module, data: Any, modality: str | None, targets: str | None) -> Subject:
    x, y, *weight = (torch.as_tensor(part) for part in _parts(data))
    kind = KINDS.get(x.ndim, "")
    if not kind or modality not in (None, kind):
        rule = "table for [n, features], signal for [n, channels, steps], image for [n, channels, height, width]"
        got = f"{modality} for {list(x.shape)}"
        raise ConfigError("modality", rule, got, "Texts are taken from runs and estimators.")
    if kind == "image" and x.dtype != torch.uint8 and (float(x.min()) < 0 or float(x.max()) > 1):
        span = f"{float(x.min()):g} to {float(x.max()):g}"
        raise DataError(f"images must be bytes or numbers in [0, 1], got {span}. Standardize inside of the model.")
    if len(x) != len(y):
        raise DataError(f"data must have a target for each row, got {len(x)} rows and {len(y)} targets.")
    out = predict(network, (unit_range(x) if kind == "image" else x)[:1])
    found = targets or targets_of(out, y[:1])
    if found not in ("classes", "values"):
        raise ConfigError("targets", "classes or values", found)
    y = y.long() if found == "classes" else y.double()
    counts = weight[0].cpu() if weight else None
    return Subject("data", kind, network, x, y.cpu(), found, weight=counts)


def _of_run(folder: str | Path, data: Any, make: Callable[..., nn.Module] | None, tokenizer: Any) -> Subject:
    network, how, target = load_run(folder, make=make, tokenizer=tokenizer)
    decision = load_decision(folder)
    if data is not None and not isinstance(data, str | Path):
        x, y, *given = _parts(data)
        codes = _codes(np.asarray(y), target)
        counts = torch.as_tensor(np.asarray(given[0])) if given else None
        return _prepared("data", network, how, target, _raw(x, how, target), codes, counts, decision)
    names = target.name or None, target.task, target.weight or None
    if data is None or Path(data).is_dir() or Path(data).suffix == ".npz":
        names = None, target.task, None  # no table
    kind = how.kind if how.kind in ("text", "signal") and names[0] is not None else None
    problem, rows = load_problem(data, *names, kind=kind), None
    if problem.fingerprint == (known := trained_on(Path(folder)))[0]:
        rows = problem.split(known[1]).test
    elif isinstance(how, Preprocessing) and how.nominal:
        # Of what was nominal in training the new rows alone may read as numbers.
        problem = load_problem(data, *names, categorical=tuple(how.nominal))
    if problem.kind != how.kind:
        raise DataError(f"{problem.name} must be of kind {how.kind}, as in training, got {problem.kind}.")
    name = problem.name if rows is None else f"{problem.name}, test rows of the run"
    return of_rows(name, network, how, target, problem, np.arange(problem.n) if rows is None else rows, decision)


def of_rows(
    name: str,
    network: nn.Module,
    how: Prepares,
    target: Target,
    problem: Problem,
    rows: np.ndarray,
    decision: Decision | None = None,
) -> Subject:
    """A network and some rows of the data of its kind.

    Args:
        how, target: as in its training.
        problem, rows: the data, and which of them.
        decision: as in :class:`Subject`.
    """
    labels, given = problem.labels[rows], problem.inputs
    labels = np.array(problem.classes)[labels] if problem.classes else labels
    inputs = given[rows] if isinstance(given, np.ndarray) else given.take(rows)
    raw: Any = inputs if how.kind == "text" else torch.from_numpy(np.asarray(how.transform(inputs)))
    weight = None if problem.weights is None else problem.weights[rows]
    found = _prepared(name, network, how, target, raw, _codes(labels, target), weight, decision)
    return replace(found, rows=inputs) if isinstance(inputs, Rows) else found


def _of_search(result: Any, data: Any) -> Subject:
    prepared, target = result.prepared, result.prepared.target
    if data is None:
        if prepared.modality == "text":
            raise ConfigError("data", "given for texts, as (X, y)", None, "Only words are left in the result.")
        x, y, *weight = prepared.part(result.test)
        if target.task == "regression":
            y = y.double() * target.scale + target.mean
        counts = weight[0] if weight else None
        return _prepared("test rows", result.predictor, prepared.preprocessing, target, x, y, counts, result.decision)
    x, y, *weight = _parts(data)
    labels = np.asarray(y)
    if result.labels is not None and target.task == "classification":
        labels = np.array([str(target.classes[k]) for k in _places(labels, np.asarray(result.labels))])
    how, counts = prepared.preprocessing, torch.as_tensor(np.asarray(weight[0])) if weight else None
    raw = _raw(x, how, target)
    return _prepared("data", result.predictor, how, target, raw, _codes(labels, target), counts, result.decision)


def _of_estimator(model: Any, data: Any) -> Subject:
    x, y, *weight = _parts(data)
    rows, how, kind = model._inputs(x, reset=False), model.preprocessing_, model._kind
    raw: Any = rows if kind == "text" else torch.from_numpy(np.asarray(how.transform(rows)))
    table = rows if isinstance(rows, Rows) else None
    classes = getattr(model, "classes_", None)
    counts = torch.as_tensor(np.asarray(weight[0])) if weight else None
    averaged = "values" if classes is None else "classes"
    network = model.model_ if model.tta_ is None else model.tta_.network(model.model_, averaged).eval()
    if classes is not None:
        codes = torch.from_numpy(_places(np.asarray(y), np.asarray(classes)))
        return Subject("data", kind, network, raw, codes, averaged, how, counts, model.decision_, rows=table)
    values, units = torch.from_numpy(np.asarray(y, dtype=np.float64)), _tensors(model._mean, model._scale)
    return Subject("data", kind, network, raw, values, averaged, how, counts, None, units, table)


def _tensors(mean: Any, scale: Any) -> tuple[Any, Any]:
    return torch.as_tensor(np.asarray(mean, dtype=np.float64)), torch.as_tensor(np.asarray(scale, dtype=np.float64))


def _raw(x: Any, how: Prepares, target: Target) -> Any:
    """Inputs as corruptions take them."""
    if how.kind == "text":
        return as_texts("X", x)
    return torch.from_numpy(new_inputs(x, how, target.name, target.weight))


def _prepared(
    name: str,
    network: nn.Module,
    how: Prepares,
    target: Target,
    x: Any,
    y: Tensor,
    weight: Tensor | None,
    decision: Decision | None,
) -> Subject:
    if len(x) != len(y):
        raise DataError(f"data must have a target for each row, got {len(x)} rows and {len(y)} targets.")
    if target.task == "regression":
        return Subject(name, how.kind, network, x, y, "values", how, weight, None, (target.mean, target.scale))
    return Subject(name, how.kind, network, x, y, "classes", how, weight, decision)


def _codes(labels: np.ndarray, target: Target) -> Tensor:
    if target.task == "regression":
        return torch.from_numpy(labels.astype(np.float64))
    return torch.from_numpy(_places(np.array([str(label) for label in labels.tolist()]), np.array(target.classes)))


def _places(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Of labels among classes.

    Raises:
        DataError: a label that is none of them.
    """
    known: dict[Any, int] = {name: k for k, name in enumerate(classes.tolist())}
    unknown = [label for label in dict.fromkeys(labels.tolist()) if label not in known]
    if unknown:
        shown = ", ".join(map(repr, unknown[:3]))
        raise DataError(f"targets must be classes that the model knows ({', '.join(map(repr, known))}), got {shown}.")
    return np.array([known[label] for label in labels.tolist()], dtype=np.int64)
