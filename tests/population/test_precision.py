"""The precision of wide products is chosen by what was measured, and by no processor's flag."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

import dashpot
from dashpot.population import precision
from dashpot.population.members import Member
from dashpot.population.population import Population
from dashpot.population.precision import ROUNDS, Precision, chosen

CPU = torch.device("cpu")


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "fast_bfloat16", lambda device: True)


def populations(clock: list[float], plain: Callable[[int], float], short: Callable[[int], float]) -> Callable:
    """Populations whose epochs take what the test says; the first one, which builds kernels, takes long."""

    class Timed:
        def __init__(self, low: bool) -> None:
            self.low, self.calls = low, 0

        def train(self, epochs: int) -> bool:
            clock[0] += 100.0 if self.calls == 0 else (short if self.low else plain)(self.calls)
            self.calls += 1
            return True

    return Timed


@pytest.mark.parametrize(
    ("plain", "short", "expected"),
    [
        (lambda k: 1.0, lambda k: 0.5, True),
        (lambda k: 1.0, lambda k: 1.8, False),  # as on a Xeon with AVX-512 and AMX
        (lambda k: 1.0, lambda k: 0.98, False),  # hardly faster: the more exact one
        (lambda k: 9.0 if k == 2 else 1.0, lambda k: 1.8, False),  # something else ran meanwhile
        (lambda k: 1.0, lambda k: 9.0 if k == 3 else 0.5, True),
    ],
    ids=["pays", "slower", "hardly", "noise in float32", "noise in bfloat16"],
)
def test_the_faster_one_is_taken(
    has_bfloat16: None, plain: Callable[[int], float], short: Callable[[int], float], expected: bool
) -> None:
    clock = [0.0]
    found = chosen(populations(clock, plain, short), CPU, clock=lambda: clock[0])
    assert found.bfloat16 is expected
    assert found.float32_s == pytest.approx(min(plain(k) for k in range(1, ROUNDS + 1)))
    assert Precision.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_nothing_is_measured_where_there_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "fast_bfloat16", lambda device: False)

    def never(low: bool) -> Population:
        raise AssertionError

    assert chosen(never, CPU) == Precision(False)
    assert str(Precision(True, 2.0, 1.0)) == "products in bfloat16: bfloat16 takes 0.50 times as long as float32"


@pytest.mark.parametrize("pays", [False, True])
def test_a_population_that_says_nothing_measures_on_its_own_shapes(
    has_bfloat16: None, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    seen: list[tuple[bool, int, int]] = []

    def spied(make: Callable[[bool], Population], device: torch.device) -> Precision:
        for low in (False, True):
            few = make(low)
            seen.append((few.plan.bfloat16, len(few.members), len(few.members[0].rows)))
        return Precision(pays, 1.0, 0.5 if pays else 2.0)

    monkeypatch.setattr("dashpot.population.population.chosen", spied)
    x = torch.randn(200, 4)
    y = (x[:, 0] > 0).long()
    member = Member(make=lambda: torch.nn.Linear(4, 2), recipe=dashpot.Recipe(()), lr=1e-3, seed=0, rows=np.arange(200))
    population = Population([member] * 20, [(x, y)], epochs=3, batch_size=16, device="cpu")
    assert population.plan.bfloat16 is pays
    assert seen == [(False, 8, 64), (True, 8, 64)]  # eight members, four steps
    seen.clear()
    assert Population([member], [(x, y)], epochs=3, batch_size=16, device="cpu", bfloat16=True).plan.bfloat16
    assert not seen
