"""A problem: data with a target, ready to be split and prepared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.requires import MODALITIES
from dashpot.core.running.batch import unit_range
from dashpot.data.kinds import KINDS, Prepares, kind_of
from dashpot.data.rows import Rows


@dataclass(frozen=True)
class Split:
    """Row indices of the training, validation and test part."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Target:
    """How targets are read: classes by name, values standardized by the training rows."""

    task: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    name: str = ""


@dataclass(frozen=True)
class Prepared:
    """All rows as tensors, prepared with the statistics of the training rows.

    Attributes:
        x: float32 features [n, features]; or pixels [n, channels, height, width] in their own range, as bytes (uint8)
            or float32 in [0, 1].
        y: int64 classes [n], or standardized float32 values [n].
        preprocessing: what was learned.
        target: how ``y`` is read.
        feature_names: of the columns of ``x``, for tables.
    """

    x: Tensor
    y: Tensor
    preprocessing: Prepares
    target: Target
    feature_names: tuple[str, ...] = ()

    @property
    def modality(self) -> str | None:
        """``"table"`` or ``"image"``; None for tensors that are used as they are."""
        kind = getattr(self.preprocessing, "kind", None)
        return kind if kind in MODALITIES else None

    @property
    def stage(self) -> dict[str, list[float]]:
        """What a network for ``x`` standardizes first: ``mean`` and ``std`` of each channel; empty for tables."""
        return dict(getattr(self.preprocessing, "stage", {}))

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
        kind: a name in :data:`dashpot.data.kinds.KINDS`: ``"table"`` or ``"image"``.
        task: ``"classification"`` or ``"regression"``.
        n: rows.
        classes: their names, sorted; empty for regression.
        labels: class codes (int64) or values (float64).
        fixed_test: the rows that the source itself names as its test part, if any.
    """

    def __init__(
        self,
        name: str,
        inputs: Rows | np.ndarray,
        target: np.ndarray,
        task: str | None = None,
        fixed_test: np.ndarray | None = None,
        target_name: str = "",
    ) -> None:
        if task not in (None, "classification", "regression"):
            raise ConfigError("task", "classification or regression", task)
        self.target_name = target_name
        self.name, self.inputs, self.fixed_test = name, inputs, fixed_test
        self.kind = kind_of(inputs).name
        self.n = len(inputs)
        if self.n == 0:
            raise DataError(f"{name} must have rows, got an empty table.")
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
        if fixed_test is not None:
            self._demand_pool(fixed_test)

    @property
    def fingerprint(self) -> str:
        """A short hash of inputs and target."""
        digest = hashlib.sha256()
        parts = (
            [self.inputs]
            if isinstance(self.inputs, np.ndarray)
            else [self.inputs.column(name) for name in self.inputs.names]
        )
        for part in [*parts, self.labels]:
            digest.update(
                repr(part.tolist()).encode() if part.dtype == object else np.ascontiguousarray(part).tobytes()
            )
        return digest.hexdigest()[:16]

    def split(self, seed: int) -> Split:
        """60 / 20 / 20, stratified by class. Where the source has a test part of its own, that is the test part and the
        rest is split 75 / 25.
        """
        rng = np.random.default_rng([seed, 60_20_20])
        groups = self.labels if self.task == "classification" else np.zeros(self.n, dtype=np.int64)
        pool = np.arange(self.n) if self.fixed_test is None else np.setdiff1d(np.arange(self.n), self.fixed_test)
        train, valid, test = [], [], [] if self.fixed_test is None else [self.fixed_test]
        for group in np.unique(groups):
            rows = rng.permutation(pool[groups[pool] == group])
            held = max(1, round(0.2 * len(rows))) if self.fixed_test is None else 0
            watched = max(1, round((0.2 if self.fixed_test is None else 0.25) * len(rows)))
            test.append(rows[:held])
            valid.append(rows[held : held + watched])
            train.append(rows[held + watched :])
        return Split(*(np.sort(np.concatenate(part)) for part in (train, valid, test)))

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
        """Check the source's own test part: every class needs a row for training and one for validation outside it."""
        pool = np.setdiff1d(np.arange(self.n), fixed_test)
        if len(fixed_test) == 0 or len(pool) < 4:
            raise DataError(
                f"{self.name} must have test rows, and at least 4 rows besides them, got {len(fixed_test)} and"
                f" {len(pool)}."
            )
        if self.task == "regression":
            return
        counts = np.bincount(self.labels[pool], minlength=len(self.classes))
        small = [name for name, count in zip(self.classes, counts, strict=True) if count < 2]
        if small:
            shown = ", ".join(map(repr, small[:8]))
            raise DataError(
                f"every class must have at least 2 rows outside of the test part; fewer have: {shown}. Merge or remove"
                " them."
            )

    def prepare(self, train: np.ndarray, *, scaling: str = "standard") -> Prepared:
        """Everything as tensors; each statistic is from the rows ``train`` only.

        Args:
            scaling: of a table's numeric columns, ``"standard"`` or ``"robust"`` (:class:`Preprocessing`); pixels keep
                their range, and are standardized by the network (:attr:`Prepared.stage`).
        """
        target = Target(self.task, self.classes, name=self.target_name)
        if self.task == "classification":
            y = torch.from_numpy(self.labels)
        else:
            scale = float(self.labels[train].std()) or 1.0
            target = Target(self.task, (), float(self.labels[train].mean()), scale, self.target_name)
            y = torch.from_numpy(((self.labels - target.mean) / target.scale).astype(np.float32))
        how: Prepares = KINDS[self.kind].preprocessing.fit(self.inputs, train, scaling=scaling)
        return Prepared(torch.from_numpy(how.transform(self.inputs)), y, how, target, how.feature_names)


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
    values, codes = np.unique(target.astype(str) if target.dtype == object else target, return_inverse=True)
    names = tuple(_text(value) for value in values)
    if len(names) < 2:
        raise DataError(f"the target must have at least 2 classes, got only {names[0]!r}.")
    return names, codes.astype(np.int64)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, np.floating) and float(value).is_integer() else str(value)


def _missing(target: np.ndarray) -> int:
    if target.dtype == object:
        return sum(value is None for value in target)
    return int(np.isnan(target).sum()) if target.dtype.kind == "f" else 0


def _values(target: np.ndarray) -> np.ndarray:
    if target.dtype == object or target.dtype.kind in "US":
        example = next(value for value in target if value is not None)
        raise DataError(
            f"the target of a regression must be numbers, got text such as {example!r}. Ask for classification, or"
            " correct the column."
        )
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
    small = [name for name, count in zip(classes, np.bincount(codes, minlength=len(classes)), strict=True) if count < 3]
    if small:
        raise DataError(
            f"every class must have at least 3 rows; fewer have: {', '.join(map(repr, small[:8]))}. Merge or remove"
            " them."
        )
