"""Signals: series of numbers in time, of one or more channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.rows import Rows
from dashpot.data.stage import Staged

SMALLEST_IMAGE = 8
"""Rows of an image at least: arrays [n, k, steps] with fewer are signals of k channels."""
CHUNK = 4096


@dataclass(frozen=True)
class SignalPreprocessing(Staged):
    """Signals standardized channel by channel, so that strengths of techniques mean the same for all data.

    Attributes:
        channels, steps: what the network takes.
        mean, scale: of each channel, over all steps of the training signals.
    """

    channels: int
    steps: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    kind: str = "signal"

    @staticmethod
    def fit(
        signals: np.ndarray, train: np.ndarray, *, scaling: str = "standard", weight: np.ndarray | None = None
    ) -> SignalPreprocessing:
        """Learn from the rows ``train`` of ``signals`` [n, channels, steps], by the ``weight`` of all rows; ``scaling``
        is for tables.
        """
        share = np.ones(len(train)) if weight is None else weight[train].astype(np.float64)
        share /= share.sum()
        mean = _weighted(signals, train, share, 0.0)
        scale = np.sqrt(_weighted(signals, train, share, mean[:, None], 2))
        channels, steps = signals.shape[1:]
        floor = 1e-9 * np.maximum(np.abs(mean), 1e-30)  # a constant channel has rounding errors only
        scales = tuple(float(s) if s > low else 1.0 for s, low in zip(scale, floor, strict=True))
        return SignalPreprocessing(channels, steps, tuple(map(float, mean)), scales)

    @property
    def shape(self) -> tuple[int, int]:
        """Of one signal."""
        return self.channels, self.steps

    @property
    def feature_names(self) -> tuple[str, ...]:
        """None: steps have no names."""
        return ()

    @property
    def stage(self) -> dict[str, list[float]]:
        """Empty: signals are standardized here, and not by the network."""
        return {}

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        numbers = [np.asarray(part) for part in (self.mean, self.scale)]
        fits = all(part.dtype.kind in "fi" and bool(np.isfinite(part).all()) for part in numbers)
        if not fits or not len(self.mean) == len(self.scale) == self.channels or min(self.scale) <= 0:
            raise ValueError("signals must have a finite mean and a scale above 0 for each channel")

    def transform(self, signals: np.ndarray) -> np.ndarray:
        """Standardized float32 of the same shape.

        Raises:
            DataError: signals of another shape, or numbers that are not finite.
        """
        if signals.shape[1:] != self.shape:
            raise DataError(
                f"signals must have {self.channels} channels of {self.steps} steps, as in training, got"
                f" {list(signals.shape[1:])}. Cut or resample them."
            )
        out = np.empty(signals.shape, dtype=np.float32)
        mean, scale = (np.asarray(part)[:, None] for part in (self.mean, self.scale))
        for start in range(0, len(signals), CHUNK):
            part = (signals[start : start + CHUNK].astype(np.float64) - mean) / scale
            demand_finite("X", part)
            out[start : start + CHUNK] = part
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> SignalPreprocessing:
        """The inverse of :meth:`to_dict`."""
        fixed: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return SignalPreprocessing(**fixed)


def _weighted(signals: np.ndarray, rows: np.ndarray, share: np.ndarray, shift: Any, power: int = 1) -> np.ndarray:
    """The weighted mean of ``(signal - shift) ** power`` over rows and steps, of each channel."""
    total = np.zeros(signals.shape[1])
    for start in range(0, len(rows), CHUNK):
        part = signals[rows[start : start + CHUNK]].astype(np.float64) - shift
        total += share[start : start + CHUNK] @ (part**power).mean(axis=2)
    return total


def looks_like_signals(x: np.ndarray) -> bool:
    """Whether an array [n, k, steps] has too few rows k for images.

    >>> looks_like_signals(np.zeros((9, 1, 40))), looks_like_signals(np.zeros((9, 28, 28)))
    (True, False)
    """
    return x.ndim == 3 and x.shape[1] < SMALLEST_IMAGE <= x.shape[2]


def as_signals(name: str, x: np.ndarray) -> np.ndarray:
    """An array of signals as [n, channels, steps]; [n, steps] is one channel.

    Raises:
        DataError: another shape, or fewer than 8 steps.
    """
    signals = x[:, None] if x.ndim == 2 else x
    if signals.ndim != 3 or signals.shape[1] == 0 or signals.shape[2] < SMALLEST_IMAGE:
        raise DataError(
            f"{name} must be signals [n, steps] or [n, channels, steps] of at least {SMALLEST_IMAGE} steps, got"
            f" {list(x.shape)}. Shorter ones are a table."
        )
    return signals


def signals_of(name: str, rows: Rows) -> np.ndarray:
    """The columns of a table as the steps of signals of one channel.

    Raises:
        DataError: columns that are no numbers, or missing values.
    """
    words = [column for column in rows.names if rows.column(column).dtype.kind not in "fiub"]
    if words:
        raise DataError(f"{name} must hold numbers alone to be read as signals, got column {words[0]!r}. Remove it.")
    signals = as_signals(name, np.stack([rows.column(column).astype(np.float64) for column in rows.names], axis=1))
    demand_finite(name, signals)
    return signals


def demand_finite(name: str, x: np.ndarray) -> None:
    """Refuse NaN and infinity.

    Raises:
        DataError: there are some.
    """
    if not np.isfinite(x).all():
        raise DataError(f"{name} must hold finite numbers, got NaN or infinity in a signal. Fill or remove those rows.")
