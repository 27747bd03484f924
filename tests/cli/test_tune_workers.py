"""How many processes ``dashpot tune`` starts where nobody says."""

from __future__ import annotations

import pytest

from dashpot.cli.tune_parts import processes_for
from dashpot.core import threads


@pytest.mark.parametrize(
    ("cores", "trials", "budget", "expected"),
    [
        (2, None, 300.0, 2),
        (16, None, 300.0, 4),
        (1, None, 300.0, 1),
        (4, 8, None, 1),  # one race takes all eight: other workers would have none
        (4, 16, None, 1),
        (4, 17, None, 2),
        (4, 500, None, 4),
        (4, 8, 300.0, 4),  # with a budget, races may be smaller
    ],
)
def test_as_many_as_there_are_races_and_cores(
    cores: int, trials: int | None, budget: float | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: cores)
    assert processes_for(None, "cpu", trials, budget) == expected


def test_what_is_asked_for_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 1)
    assert processes_for(3, "cpu", 2, None) == 3
