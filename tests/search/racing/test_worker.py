"""What a worker begins, and what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashpot.search.racing import checkpoints, worker
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.worker import Worker, remembered
from dashpot.search.storage.study import Store
from tests.search.helpers import FOLDS, TRAINING, own_clock, small_space, small_task


def working(folder: Path, **options: Any) -> Worker:
    store = Store(str(folder / "journal.log"), "study", {}, sampler="random")
    return Worker(small_task(), small_space(), TRAINING, store, folder, **{"deadline": None, "trials": None, **options})


def test_no_race_begins_that_ends_before_its_first_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_clock(monkeypatch, lambda: 100.0)
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
    one.store.enqueue(one.space.baseline().params)
    one.run()
    assert not any(r.tensors or r.outputs for r in one.raced)
    complete = sorted((r for r in one.raced if r.state == "complete"), key=lambda r: r.score)
    baseline = next(r for r in complete if dict(r.candidate.params) == dict(one.space.baseline().params))
    expected = {complete[0].number, complete[1].number, baseline.number}
    assert len(complete) > len(expected)
    assert {int(path.stem) for path in (tmp_path / checkpoints.FOLDER).iterdir()} == expected
    lost = next(r for r in complete if r.number not in expected)
    known = next(r for r in remembered(one.store, one.space) if r.number == lost.number)
    again = with_networks(
        one.task, TRAINING, tmp_path, [known], folds=range(FOLDS), deadline=None, say=lambda *args: None
    )
    assert again[0].scores == pytest.approx(lost.scores, rel=1e-4)
