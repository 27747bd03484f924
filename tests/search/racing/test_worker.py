"""What a worker begins, and what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashpot.search.racing import checkpoints as artifacts
from dashpot.search.racing import worker
from dashpot.search.racing.worker import Worker, remembered, with_networks
from dashpot.search.storage.study import Store
from tests.search.helpers import COURSE, FOLDS, small_space, small_task


def working(folder: Path, **options: Any) -> Worker:
    store = Store(str(folder / "journal.log"), "study", {}, sampler="random")
    return Worker(small_task(), small_space(), COURSE, store, folder, **{"deadline": None, "trials": None, **options})


def test_no_race_begins_that_ends_before_its_first_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.time, "monotonic", lambda: 100.0)
    late = working(tmp_path, deadline=103.0)
    # Its first rung is an epoch of 6 candidates on 3 folds.
    late.store.set("pace", 3.1 / 18)
    late.run()
    assert late.store.trials() == []


def test_the_best_networks_are_kept_in_files_and_the_rest_can_be_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "KEPT", 2)
    one = working(tmp_path, trials=18)
    one.store.enqueue(one.space.plain().params)
    one.run()
    assert not any(r.tensors or r.outputs for r in one.runners)
    complete = sorted((r for r in one.runners if r.state == "complete"), key=lambda r: r.score)
    plain = next(r for r in complete if dict(r.candidate.params) == dict(one.space.plain().params))
    expected = {complete[0].number, complete[1].number, plain.number}
    assert len(complete) > len(expected)
    assert {int(path.stem) for path in (tmp_path / artifacts.FOLDER).iterdir()} == expected
    lost = next(r for r in complete if r.number not in expected)
    known = next(r for r in remembered(one.store, one.space) if r.number == lost.number)
    again = with_networks(
        one.task, COURSE, tmp_path, [known], folds=range(FOLDS), deadline=None, say=lambda *args: None
    )
    assert again[0].scores == pytest.approx(lost.scores, rel=1e-4)
