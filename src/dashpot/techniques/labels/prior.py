"""The shares of the classes: counted from targets, and as a field of a technique."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError, DataError, UsageError
from dashpot.core.fields.domains import Domain

_NUMBER = r"\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+"


class Shares(Domain):
    """The share of each class: a tuple of numbers >= 0 that sum to 1, or text such as ``"0.7 0.2 0.1"``; or None."""

    @property
    def rule(self) -> str:
        return (
            "the shares of the classes, numbers >= 0 that sum to 1, such as (0.7, 0.2, 0.1) or '0.7 0.2 0.1', or None"
        )

    def check(self, parameter: str, value: Any) -> tuple[float, ...] | None:
        if value is None:
            return None
        if isinstance(value, str):
            return self.parse(parameter, value)
        if not isinstance(value, tuple | list | np.ndarray) or not all(_is_number(v) for v in value):
            raise ConfigError(parameter, self.rule, value)
        shares = tuple(float(v) for v in value)
        # To a thousandth, as people write them; then exactly.
        if len(shares) < 2 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-3:
            raise ConfigError(parameter, self.rule, value)
        total = math.fsum(shares)
        return shares if abs(total - 1) < 1e-12 else tuple(share / total for share in shares)

    def parse(self, parameter: str, text: str) -> tuple[float, ...] | None:
        if text.strip().lower() == "none":
            return None
        if not re.fullmatch(rf"[\s(]*(?:(?:{_NUMBER})[\s,/]*)+[)\s]*", text):
            raise ConfigError(parameter, self.rule, text)
        return self.check(parameter, tuple(float(number) for number in re.findall(_NUMBER, text)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool) and math.isfinite(value)


def class_prior(y: Any, classes: int | None = None, weight: Any = None) -> tuple[float, ...]:
    r"""The share of each class among targets: the ``prior`` of :class:`~dashpot.LabelSmoothing`.

    .. math:: \pi_c = \sum_i w_i\,[y_i = c] \Big/ \sum_i w_i

    Args:
        y: whole numbers from 0, the classes [n], of training rows only.
        classes: how many there are; by default the largest number and one.
        weight: how often each row counts, >= 0 [n]; by default once.

    Raises:
        DataError: no rows, numbers that are no classes, or weights of another length, negative, or all 0.

    Example:
        >>> import dashpot
        >>> dashpot.labels.class_prior([0, 0, 1, 0])
        (0.75, 0.25)
    """
    numbers = np.asarray(y)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        raise DataError(f"y must be whole numbers >= 0 of shape [n], n > 0, got {_shown(numbers)}.")
    count = int(numbers.max()) + 1 if classes is None else classes
    if numbers.max() >= count:
        raise DataError(f"y must be below classes={count}, got {int(numbers.max())}.")
    counts = np.ones(len(numbers)) if weight is None else np.asarray(weight, dtype=np.float64)
    if counts.shape != numbers.shape or not (counts >= 0).all() or not 0 < counts.sum() < math.inf:
        raise DataError(f"weight must be numbers >= 0, not all 0, of shape [{len(numbers)}], got {_shown(counts)}.")
    shares = np.bincount(numbers, counts, minlength=count) / counts.sum()
    return tuple(float(share) for share in shares)


def demand_classes(shares: tuple[float, ...] | None, classes: int, technique: str) -> None:
    """Refuse shares of another number of classes than there are.

    Raises:
        UsageError: with both numbers.
    """
    if shares is not None and len(shares) != classes:
        raise UsageError(f"{technique}.prior has the shares of {len(shares)} classes, and the network has {classes}.")


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
