"""A problem: data with a target, ready to be split and prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.requires import MODALITIES
from dashpot.core.running.batch import unit_range
from dashpot.core.running.tensor_rows import TensorRows
from dashpot.core.weights import as_counts, checked_weights
from dashpot.data.fingerprint import fingerprint_of
from dashpot.data.kinds import KINDS, Prepares, kind_of
from dashpot.data.pictures.images import ImagePreprocessing
from dashpot.data.rows import Rows
from dashpot.data.splitting import Split, split_rows, warn_of_rare
from dashpot.data.tables.columnar import texts_of
from dashpot.data.tables.columns import mean_and_scale
from dashpot.data.tables.targets import encoded, numbers_of


@dataclass(frozen=True)
class Target:
    """How targets are read: classes by name, values standardized by the training rows. ``name`` and ``weight`` are the
    columns that are no inputs.
    """

    task: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    name: str = ""
    weight: str = ""


@dataclass(frozen=True)
class Prepared:
    """All rows as tensors, prepared with the statistics of the training rows.

    Attributes:
        x: float32 features [n, features]; pixels [n, channels, height, width] in their own range, as bytes (uint8) or
            float32 in [0, 1]; standardized signals [n, channels, steps]; or rows of words, int32 [n, length].
        y: int64 classes [n], or standardized float32 values [n].
        preprocessing: what was learned.
        target: how ``y`` is read.
        feature_names: of the columns of ``x``, for tables.
        weight: of the rows, float32 [n], above 0; None where each counts once.
    """

    x: Tensor
    y: Tensor
    preprocessing: Prepares
    target: Target
    feature_names: tuple[str, ...] = ()
    weight: Tensor | None = None

    def part(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """``(x, y)`` of some rows, or ``(x, y, weight)``."""
        parts = (self.x, self.y) if self.weight is None else (self.x, self.y, self.weight)
        return tuple(part[rows] for part in parts)

    def subset(self, rows: np.ndarray) -> tuple[Any, ...]:
        """The same for a training or an evaluation: images stay where they are, and each batch is copied by itself."""
        x, *others = (self.x, self.y) if self.weight is None else (self.x, self.y, self.weight)
        return (TensorRows(x, rows) if x.ndim > 2 else x[rows], *(part[rows] for part in others))

    @property
    def modality(self) -> str | None:
        """``"table"``, ``"image"``, ``"signal"`` or ``"text"``; None for tensors that are used as they are."""
        kind = getattr(self.preprocessing, "kind", None)
        return kind if kind in MODALITIES else None

    @property
    def stage(self) -> dict[str, list[float]]:
        """What a network for ``x`` standardizes first: ``mean`` and ``std`` of each channel; empty for tables."""
        return dict(getattr(self.preprocessing, "stage", {}))

    def with_pictures(self, kind: str | None) -> Prepared:
        """The same, of images that the caller says are ``"photo"`` or ``"glyph"``; None: as found.

        Raises:
            ConfigError: of other data.
        """
        if kind is None:
            return self
        if not isinstance(self.preprocessing, ImagePreprocessing):
            raise ConfigError("pictures", "None for other data than images", kind, "Leave it out.")
        return replace(self, preprocessing=replace(self.preprocessing, pictures=kind))

    def standardized(self) -> Tensor:
        """``x`` for models that standardize nothing themselves, such as linear ones: float32 of the same shape."""
        if not self.stage:
            return self.x
        mean, std = (torch.tensor(part).reshape(-1, 1, 1) for part in self.stage.values())
        result: Tensor = (unit_range(self.x) - mean) / std
        return result


class Problem:
    """Data with a target.

    Attributes:
        name: for titles.
        kind: a name in :data:`dashpot.data.kinds.KINDS`: ``"table"``, ``"image"``, ``"signal"`` or ``"text"``.
        task: ``"classification"`` or ``"regression"``.
        n: rows.
        classes: their names, sorted; empty for regression.
        labels: class codes (int64) or values (float64).
        fixed_test: the rows that the source itself names as its test part, if any.
        weight: of the rows, above 0, as numbers of rows; None where each counts once. Rows of weight 0 are absent.
        kept: the rows of the source that are left, where some are absent.
        how: what else the preprocessing of the kind is fitted with; of texts their columns and the tokenizer.
    """

    def __init__(
        self,
        name: str,
        inputs: Rows | np.ndarray,
        target: np.ndarray,
        task: str | None = None,
        fixed_test: np.ndarray | None = None,
        target_name: str = "",
        weight: Any = None,
        weight_name: str = "",
        how: Mapping[str, Any] | None = None,
    ) -> None:
        if task not in (None, "classification", "regression"):
            raise ConfigError("task", "classification or regression", task)
        self.target_name, self.weight_name = target_name, weight_name
        if len(inputs) == 0:
            raise DataError(f"{name} must have rows, got an empty table.")
        self.kept: np.ndarray | None = None
        self.weight: np.ndarray | None = None
        if weight is not None:
            values = checked_weights(weight_name or "weight", weight, len(inputs))
            kept = np.flatnonzero(values)
            self.weight = as_counts(values[kept])
            if len(kept) < len(values):
                self.kept, target = kept, target[kept]
                inputs = inputs.take(kept) if isinstance(inputs, Rows) else inputs[kept]
                fixed_test = None if fixed_test is None else np.flatnonzero(np.isin(kept, fixed_test))
        self.name, self.inputs, self.fixed_test = name, inputs, fixed_test
        self.how = dict(how or {})
        self.kind = kind_of(inputs).name
        self.n = len(inputs)
        self.task = task or guess_task(target)
        self.classes: tuple[str, ...] = ()
        if self.task == "classification":
            self.classes, self.labels = encode(target)
            _demand_enough(self.classes, self.labels)
        else:
            self.labels = _values(target)
            if self.n < 5:
                raise DataError(f"{name} must have at least 5 rows to be split in three, got {self.n}.")
            if np.ptp(self.labels) == 0:
                raise DataError(f"the target must vary, got {self.labels[0]:g} in every row.")
            mean_and_scale(self.labels)
        if fixed_test is not None:
            self._demand_pool(fixed_test)

    @property
    def fingerprint(self) -> str:
        """A short hash of inputs and target."""
        given = self.inputs
        parts = [given] if isinstance(given, np.ndarray) else [given.column(name) for name in given.names]
        return fingerprint_of([*parts, self.labels, *([] if self.weight is None else [self.weight])])

    def split(self, seed: int) -> Split:
        """60 / 20 / 20, stratified by class: the first row of a class is for training, the second one for validation.
        Where the source has a test part of its own, that is the test part and the rest is split 75 / 25.
        """
        groups = self.labels if self.task == "classification" else np.zeros(self.n, dtype=np.int64)
        return split_rows(groups, self.fixed_test, seed)

    def pool_and_test(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows for cross-validation (training and validation), and the test rows of :meth:`split`, in order.

        Example:
            >>> problem = Problem("even", Rows(("a",), matrix=np.arange(20.0)[:, None]), np.arange(20) % 2)
            >>> pool, test = problem.pool_and_test(0)
            >>> len(pool), len(test), np.array_equal(test, problem.split(0).test)
            (16, 4, True)
        """
        split = self.split(seed)
        return np.sort(np.concatenate([split.train, split.valid])), split.test

    def _demand_pool(self, fixed_test: np.ndarray) -> None:
        """Check the source's own test part: what is in no row outside of it cannot be learned."""
        pool = np.setdiff1d(np.arange(self.n), fixed_test)
        if len(fixed_test) == 0 or len(pool) < 4:
            raise DataError(
                f"{self.name} must have test rows, and at least 4 rows besides them, got {len(fixed_test)} and"
                f" {len(pool)}."
            )
        if self.task == "regression":
            return
        count = np.bincount(self.labels[pool], minlength=len(self.classes))
        none = [name for name, rows in zip(self.classes, count, strict=True) if not rows]
        if none or count.max() < 2:
            shown = f"none have: {', '.join(map(repr, none[:8]))}" if none else "and one of them 2"
            raise DataError(
                f"every class must have a row outside of the test part; {shown}. Merge or remove them, or leave the"
                " test part to be drawn."
            )

    def prepare(self, train: np.ndarray, *, scaling: str = "standard") -> Prepared:
        """Everything as tensors; each statistic is from the rows ``train`` only.

        Args:
            scaling: of a table's numeric columns, ``"standard"`` or ``"robust"`` (:class:`Preprocessing`); pixels keep
                their range, and are standardized by the network (:attr:`Prepared.stage`).
        """
        target = Target(self.task, self.classes, name=self.target_name, weight=self.weight_name)
        if self.task == "classification":
            y = torch.from_numpy(self.labels)
        else:
            mean, scale = mean_and_scale(self.labels[train], None if self.weight is None else self.weight[train])
            target = Target(self.task, (), float(mean), float(scale), self.target_name, self.weight_name)
            y = torch.from_numpy(((self.labels - target.mean) / target.scale).astype(np.float32))
        fit = KINDS[self.kind].preprocessing.fit
        how: Prepares = fit(self.inputs, train, scaling=scaling, weight=self.weight, **self.how)
        x = torch.from_numpy(how.transform(self.inputs))
        return Prepared(x, y, how, target, how.feature_names, self.weights)

    @property
    def weights(self) -> Tensor | None:
        """:attr:`weight` as float32."""
        return None if self.weight is None else torch.from_numpy(self.weight.astype(np.float32))


def guess_task(target: np.ndarray) -> str:
    """Text, booleans and up to 20 distinct whole numbers (three rows each at least) are classes; everything else is
    values.
    """
    if target.dtype == object or target.dtype.kind in "bUS":
        return "classification"
    finite = target[np.isfinite(target.astype(np.float64))]
    whole = np.all(finite == np.round(finite))
    distinct = len(np.unique(finite))
    return "classification" if whole and distinct <= 20 and len(finite) >= 3 * distinct else "regression"


def encode(target: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names in order, and the code of each row.

    Raises:
        DataError: missing targets, or one class only.
    """
    missing = _missing(target)
    if missing:
        raise DataError(
            f"the target must be there in every row; it is missing in {missing} of {len(target)}. Remove those rows."
        )
    if target.dtype == object:
        names, codes = encoded(target)
    else:
        values, codes = np.unique(target, return_inverse=True)
        names = tuple(_text(value) for value in values)
    if len(names) < 2:
        raise DataError(f"the target must have at least 2 classes, got only {names[0]!r}.")
    return names, codes.astype(np.int64)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, np.floating) and float(value).is_integer() else str(value)


def _missing(target: np.ndarray) -> int:
    if target.dtype == object:
        return list(target).count(None)
    return int(np.isnan(target).sum()) if target.dtype.kind == "f" else 0


def _values(target: np.ndarray) -> np.ndarray:
    if target.dtype == object or target.dtype.kind in "US":
        target = numbers_of(texts_of(target))
    values = target.astype(np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise DataError(
            f"the target must be a finite number in every row; it is missing or infinite in {bad} of {len(values)}."
            " Remove those rows."
        )
    return values


def _demand_enough(classes: tuple[str, ...], codes: np.ndarray) -> None:
    if len(codes) < 3 * len(classes):
        raise DataError(
            f"there must be at least 3 rows per class, got {len(codes)} rows for {len(classes)} classes. If the target"
            " is a number, ask for regression."
        )
    warn_of_rare(classes, codes, 3, "part of the data (training, validation, test)")
