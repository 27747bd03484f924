"""Weights are checked once, with the rule and the row named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dashpot.core.errors import DataError
from dashpot.core.weights import as_counts, checked_weights


@pytest.mark.parametrize(
    "given", [[1, 0, 2], (1.0, 0.0, 2.0), np.array([1, 0, 2]), torch.tensor([1, 0, 2]), pd.Series([1, 0, 2])]
)
def test_any_column_of_numbers_is_taken(given: Any) -> None:
    np.testing.assert_array_equal(checked_weights("weight", given, 3), [1.0, 0.0, 2.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0], "one number for each of the 3 rows"),
        ([[1.0], [1.0], [1.0]], "one number for each of the 3 rows"),
        ([1.0, float("nan"), 1.0], "finite numbers >= 0, got nan in row 2"),
        ([1.0, 1.0, float("inf")], "finite numbers >= 0, got inf in row 3"),
        ([-1.0, 1.0, 1.0], "finite numbers >= 0, got -1 in row 1"),
        ([0.0, 0.0, 0.0], "above 0 in some row"),
        (["a", "b", "c"], "must be numbers"),
    ],
)
def test_what_is_no_weight_is_refused(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked_weights("weight", given, 3)


def test_only_ratios_of_fractions_count_and_no_sum_overflows() -> None:
    # Weights were given.
    np.testing.assert_allclose(as_counts(np.array([1e300, 1.5, 1e308]))[2] / 3, 1, rtol=1e-7)  # type: ignore[index]
    large, small = as_counts(np.array([0.2, 0.6])), as_counts(np.array([1e-9, 3e-9]))
    assert large is not None
    assert small is not None
    np.testing.assert_allclose(large, small)
    assert as_counts(np.ones(4)) is None
