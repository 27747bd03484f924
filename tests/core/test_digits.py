"""Numbers as they are printed: never 0.0000 for one that is not 0."""

from __future__ import annotations

import pytest

from dashpot.core.digits import digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (0.98765, "0.9877"),
        (-12.5, "-12.5000"),
        (2.5e-9, "2.5e-09"),
        (0.00042, "0.00042"),
        (2e9, "2e+09"),
    ],
)
def test_digits(value: float, text: str) -> None:
    assert digits(value) == text
    assert float(digits(value)) == pytest.approx(value, rel=5e-3)
