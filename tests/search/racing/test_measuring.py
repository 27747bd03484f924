"""What a race measures before it begins: its precision, which all workers share, and its number of populations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dashpot.population.precision import Precision
from dashpot.search.racing import measuring
from dashpot.search.racing.measuring import Spread, spread_of
from tests.search.helpers import candidate, race, searching, small_task, table

SOME = [candidate(), candidate(lr=1e-3)]


@pytest.mark.parametrize(
    ("seconds", "most", "expected"),
    [
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}, 8, Spread(8, 8.0)),  # cores of its own for each
        ({1: 1.0, 2: 1.1, 3: 1.2}, 3, Spread(3, 2.5)),
        ({1: 1.0, 2: 1.05, 4: 3.0}, 8, Spread(2, 2 / 1.05)),
        ({1: 1.0, 2: 1.9}, 8, Spread()),  # one waits for the other: Python's lock, or a core that is held
        ({1: 1.0, 2: 5.0}, 2, Spread()),
        ({}, 1, Spread()),
    ],
    ids=["free", "three", "two", "lock", "busy", "one"],
)
def test_as_many_populations_as_are_fastest(seconds: Mapping[int, float], most: int, expected: Spread) -> None:
    found = spread_of(small_task(), SOME, 16, most, timed=lambda count: seconds[count])
    assert (found.populations, found.gain) == (expected.populations, pytest.approx(expected.gain))


def test_operations_of_a_step_are_those_of_its_products() -> None:
    task = small_task()
    network = task.make(dict(SOME[0].net))
    weights = sum(p.numel() for p in network.parameters())
    assert not list(network.buffers())
    assert measuring.operations(task, SOME, 16) == 6 * 16 * weights  # forward, and two products backward


def test_networks_that_gain_nothing_together_are_spread_without_a_measurement() -> None:
    def refused(count: int) -> float:
        raise AssertionError

    task = replace(small_task(), modality="image")
    found = [spread_of(task, SOME, 16, most, timed=refused) for most in (1, 2, 4)]
    assert [(one.populations, one.gain) for one in found] == [(1, 1.0), (2, 1.8), (4, 3.6)]


def test_few_operations_are_done_on_one_thread_and_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> float:
        raise AssertionError

    monkeypatch.setattr(measuring, "_seconds", refused)
    few = measuring.LITTLE / measuring.operations(small_task(), SOME, 16)
    assert spread_of(small_task(), SOME, 16, 4, steps=0.99 * few) == Spread()
    with pytest.raises(AssertionError):
        spread_of(small_task(), SOME, 16, 4, steps=1.01 * few)


def test_little_work_is_done_on_one_thread_after_one_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "LITTLE", 0.0)
    asked: list[int] = []

    def timed(count: int) -> float:
        asked.append(count)
        return 1e-3

    assert spread_of(small_task(), SOME, 16, 4, steps=100, timed=timed) == Spread()
    assert asked == [1]


def test_real_populations_are_timed() -> None:
    assert measuring._seconds(small_task(), SOME, 16, 2) > 0


def test_a_race_has_as_many_populations_as_its_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from dashpot.search.racing.race import Race
    from dashpot.search.racing.trial import Trial
    from tests.search.helpers import TRAINING

    for count in (1, 2):
        task = replace(small_task(), populations=count)
        made = Race(task, TRAINING, [Trial(i, c) for i, c in enumerate(SOME)], folds=range(3))
        assert len(made.executor._populations) == count
        made.executor.close()
    assert race(small_task(), SOME)[0].state == "complete"


def test_networks_that_gain_nothing_together_wait_in_one_queue_the_slowest_first() -> None:
    from dashpot.search.racing.race import Race
    from dashpot.search.racing.trial import Trial
    from tests.search.helpers import TRAINING

    task = replace(small_task(), populations=2, modality="text", stack=False)
    race = Race(task, TRAINING, [Trial(i, c) for i, c in enumerate(SOME)], folds=range(3))
    executor = race.executor
    count = 3 * len(SOME)
    assert [len(p.members) for p in executor._populations] == [1] * count
    order: list[int] = []
    busy: list[int] = []

    def seen(part: int, population: object) -> int:
        busy.append(part)
        order.append(part)
        assert len(busy) <= 2  # as many at once as there are threads
        busy.remove(part)
        return part

    executor._took = [float(part == 4) + 2 * float(part == 1) for part in range(count)]
    assert executor._each(seen) == list(range(count))
    assert set(order[:2]) == {1, 4}
    assert all(trial.state == "complete" for trial in race.run(rungs=()))


def test_the_first_worker_measures_the_precision_and_others_and_later_lives_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def measured(*args: object) -> Precision:
        asked.append(1)
        return Precision(True, 2.0, 1.0)

    monkeypatch.setattr(measuring, "precision_of", measured)
    said: list[str] = []
    for _ in range(2):
        search = searching(table(), tmp_path)
        search.note = said.append
        store = search.open()
        search.training_budget(store)
        assert search.task.bfloat16 is True
        assert search.measurements.record["precision"] == {"chosen": "bfloat16", "float32_s": 2.0, "bfloat16_s": 1.0}
        store.close()
    assert asked == [1]
    assert said == ["products in bfloat16: bfloat16 takes 0.50 times as long as float32"]


def test_what_cannot_be_measured_is_trained_in_float32_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*args: object) -> Precision:
        raise RuntimeError

    monkeypatch.setattr(measuring, "precision_of", raises)
    assert measuring.measured(small_task(bfloat16=None), SOME, 16, None, 1e9) == (Precision(False), Spread())
