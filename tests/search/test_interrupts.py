"""Ctrl-C ends a search wherever it comes, and what was begun is finished when the search goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from dashpot.search.interrupts import Interrupts
from dashpot.search.racing import worker
from dashpot.search.racing.worker import Worker
from dashpot.search.storage.study import Store
from tests.search.helpers import TRAINING, small_space, small_task


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_that_a_library_dropped_is_raised_again_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupts.check()
        with contextlib.suppress(BaseException):  # what libraries do around optional imports
            press()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            press()
        interrupts.handled()
        interrupts.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_in_a_destructor_is_not_lost_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    class Pressed:
        def __del__(self) -> None:
            press()

    class Broken:
        def __del__(self) -> None:
            raise ValueError("another mistake")

    # Not pytest's, which collects what it is told and says nothing.
    before, sys.unraisablehook = sys.unraisablehook, sys.__unraisablehook__
    try:
        with Interrupts() as interrupts:
            Pressed()
            assert capsys.readouterr().err == ""
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
            Broken()
            assert "another mistake" in capsys.readouterr().err
        assert sys.unraisablehook is sys.__unraisablehook__
    finally:
        sys.unraisablehook = before


def test_a_handler_of_other_code_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with Interrupts() as interrupts:
            press()
            interrupts.check()
        assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def opened(folder: Path) -> Store:
    return Store(str(folder / "journal.log"), "s", {})


def working(store: Store, folder: Path, **options: Any) -> Worker:
    return Worker(small_task(), small_space(), TRAINING, store, folder, **{"deadline": None, "trials": None, **options})


def test_what_was_begun_is_finished_beyond_a_lower_limit(tmp_path: Path) -> None:
    gone = opened(tmp_path)
    for _ in range(5):
        gone.ask(small_space().sample)
    gone.close()
    store = opened(tmp_path)
    asked = working(store, tmp_path, trials=3)
    asked.run()  # it waited for ever for the two candidates that the limit does not have room for
    assert len(asked.raced) == 5
    assert not store.unfinished()


def test_an_interrupt_while_candidates_are_drawn_leaves_them_to_the_next_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    calls: list[int] = []
    ask = store.ask

    def third_time(*given: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return ask(*given, **options)

    monkeypatch.setattr(store, "ask", third_time)
    monkeypatch.setattr(worker, "PAUSE", 0.0)
    with pytest.raises(KeyboardInterrupt):
        working(store, tmp_path, trials=9).run()
    assert [trial.state.name for trial in store.trials()] == ["RUNNING", "RUNNING"]
    store.close()
    store = opened(tmp_path)
    later = working(store, tmp_path, trials=2)
    later.run()
    assert len(later.raced) == 2
    assert all(trial.scores for trial in later.raced)
    assert not store.unfinished()


def test_an_interrupt_does_not_end_the_baseline(tmp_path: Path) -> None:
    store = opened(tmp_path)
    baseline = small_space().baseline().params
    store.enqueue(baseline)

    def third_epoch(stage: str, trials: Any, epoch: int) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        working(store, tmp_path, trials=5, say=third_epoch).run()
    states = {trial.number: trial.state.name for trial in store.trials()}
    assert states.pop(0) == "RUNNING"
    assert set(states.values()) == {"PRUNED"}
    store.close()
    store = opened(tmp_path)
    working(store, tmp_path, trials=5).run()
    assert [t.params for t in store.trials() if t.state.name == "COMPLETE" and dict(t.params) == dict(baseline)]
