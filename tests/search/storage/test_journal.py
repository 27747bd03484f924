"""The journal waits for the disk where it must, and only there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal._storage import JournalOperation

from dashpot.search import run as search_run
from dashpot.search.racing import budget as budgets
from dashpot.search.storage import journal
from dashpot.search.storage.backends import open_storage
from tests.search.helpers import SHORT, iris, searching


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of the file whenever the disk is waited for."""
    found: list[int] = []
    original = os.fsync
    monkeypatch.setattr(journal.os, "fsync", lambda number: (found.append(os.fstat(number).st_size), original(number)))
    return found


def test_the_numbers_are_optunas() -> None:
    later = (
        JournalOperation.SET_TRIAL_PARAM,
        JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
        JournalOperation.SET_TRIAL_USER_ATTR,
    )
    assert {int(operation) for operation in later} == journal.UNTIL_LATER


def test_the_end_of_a_candidate_waits_for_all_that_was_said_of_it(tmp_path: Path, waits: list[int]) -> None:
    path = tmp_path / "journal.log"
    study = optuna.create_study(storage=open_storage(str(path)), study_name="one")
    study.set_user_attr("settings", {"seed": 1})
    trial = study.ask()
    before = len(waits)
    assert before >= 3, "the study, what workers must agree on, and the candidate's number"
    trial.suggest_float("lr", 0.0, 1.0)
    trial.suggest_int("width", 1, 8)
    trial.report(0.5, 1)
    trial.set_user_attr("worker", "me")
    assert len(waits) == before
    study.tell(trial, 0.25)
    assert len(waits) == before + 1
    assert waits[-1] == path.stat().st_size
    again = optuna.load_study(storage=open_storage(str(path)), study_name="one").trials[0]
    assert (again.params, again.value, again.user_attrs) == (trial.params, 0.25, {"worker": "me"})


@pytest.mark.parametrize("budget", [None, 60.0])
def test_only_a_budget_is_measured_for(budget: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []
    monkeypatch.setattr(budgets, "pace", lambda *args: measured.append(args) or budgets.Pace(1e-4))
    search: search_run.Search = searching(
        iris(), tmp_path, **(SHORT | {"budget": budget, "trials": None if budget else 4})
    )
    store = search.open()
    try:
        search.training_budget(store)
    finally:
        store.close()
    assert len(measured) == (budget is not None)
