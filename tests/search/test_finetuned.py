"""An encoder that is trained further beside a search over texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.core.errors import ConfigError
from dashpot.evaluation.losses import predict
from dashpot.nets import TextEncoder
from dashpot.runs.saved import load_run
from dashpot.search import finetuned
from dashpot.search.config import SearchConfig
from dashpot.search.finetuned import NUMBER, Plan, finetuned_trials, fits
from dashpot.search.inputs import problem_of
from dashpot.search.outcome.finish import deadlines
from dashpot.search.racing.budget import Pace
from dashpot.search.racing.trial import TrainingBudget
from dashpot.search.run import Search, run
from tests import encoders

pytest.importorskip("transformers", reason="the extra dashpot[transformers]")

folder, cache = encoders.folder, encoders.cache
TEXTS = [f"the {word} film number {i % 5}" for i in range(30) for word in ("great", "awful")]
Y = np.array(["good", "bad"] * 30)


def search_of(folder: Path, place: Path, options: str = ":frozen=false", **config: Any) -> Search:
    problem = problem_of((TEXTS, Y), None, None, own=False, encoder=f"{folder}{options}").problem
    return Search(problem, SearchConfig(**{"trials": 2, "cv": 2, "explain": False, **config}), place)


def test_half_of_the_time_is_for_it() -> None:
    for given, epochs, folds in (
        ((2.0, 5, 100.0, 20.0), 3, 5),
        ((4.0, 5, 100.0, 20.0), 3, 2),
        ((20.0, 5, 100.0, 20.0), 1, 1),
    ):
        plan = fits(*given)
        assert (plan.epochs, plan.folds) == (epochs, folds)
        assert plan.seconds == pytest.approx(1.15 * given[0] * epochs * folds)
    assert fits(1.0, 2, 100.0, 0.0, epochs=1).epochs == 1
    with pytest.raises(
        ConfigError, match=r"at least 11[23] s: after 20.0 s .* takes 40.0 s, .*got '100 s'. Give more time"
    ):
        fits(40.0, 5, 100.0, 20.0)
    assert fits(40.0, 5, 113.0, 20.0).epochs == 1


def test_a_budget_that_is_too_short_is_refused_before_the_race(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuned.budgets, "pace", lambda *given: Pace(1000.0))
    search = search_of(folder, tmp_path, trials=None, budget=60.0)
    store = search.open()
    with pytest.raises(ConfigError, match=r"budget must be at least 2\d\d\d s: .* one epoch of the encoder"):
        search.training_budget(store)
    store.close()


def test_the_others_have_what_it_leaves(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuned.budgets, "pace", lambda *given: Pace(50.0))
    search = search_of(folder, tmp_path, trials=None, budget=2000.0)
    store = search.open()
    found = finetuned.within(search.task, search.config, store, 8, search.started)
    plan = finetuned.planned(store)
    assert plan == Plan(3, 2, 50.0 * 1.15 * 6)
    assert found.budget == 2000.0 - plan.seconds
    setup = search.setup(race_end=search.started)
    plain, later = deadlines(setup, 1.0), deadlines(setup, 1.0, plan.seconds)
    for before, after in ((plain.finals, later.finals), (plain.end, later.end)):
        assert before is not None
        assert after is not None
        share = (before - setup.started) / 2000.0
        assert after - setup.started == pytest.approx(plan.seconds + share * (2000.0 - plan.seconds))
    store.close()


def test_where_it_is_named_or_frozen_it_does_not_stand_beside(folder: Path, tmp_path: Path) -> None:
    for place, options, config in (
        ("frozen", "", {}),
        ("named", ":frozen=false", {"networks": ("net=textencoder",)}),
        ("bags", ":frozen=false", {"networks": ("net=textbag",)}),
    ):
        (tmp_path / place).mkdir()
        search = search_of(folder, tmp_path / place, options, **config)
        store = search.open()
        assert finetuned.within(search.task, search.config, store, 8, search.started) is search.config
        assert finetuned.planned(store) is None
        store.close()
    search = search_of(folder, tmp_path, ensemble="folds")
    store = search.open()
    with pytest.raises(ConfigError, match="ensemble must be finalists where an encoder is trained"):
        finetuned.within(search.task, search.config, store, 8, search.started)
    store.close()


def test_it_is_judged_on_rows_that_it_has_not_seen_and_kept(folder: Path, tmp_path: Path) -> None:
    task = search_of(folder, tmp_path).task
    said: list[str] = []
    given: dict[str, Any] = {"deadline": None, "say": lambda *args: None, "note": said.append}
    training = TrainingBudget(9, 8, (3,), 1, 2)
    (trial,) = finetuned_trials(task, training, tmp_path, Plan(2, 2, 0.0), **given)
    assert (trial.number, trial.epochs, len(trial.tensors)) == (NUMBER, 2, 2)
    for (_, valid), tensors, out in zip(task.folds, trial.tensors, trial.outputs, strict=True):
        network = task.make(dict(trial.candidate.net))
        assert isinstance(network, TextEncoder)
        network.load_state_dict(dict(tensors), strict=False)
        assert torch.allclose(predict(network.eval(), task.x[torch.as_tensor(valid)]), out, atol=1e-5)
    assert said[0].startswith("the encoder, trained further for 2 epochs on 2 folds: log loss ")
    # After a kill it is read, not trained again.
    broken = replace(task, make=lambda options: pytest.fail("nothing is trained"))
    (again,) = finetuned_trials(broken, training, tmp_path, Plan(2, 2, 0.0), **given)
    assert again.scores == trial.scores
    assert finetuned_trials(task, training, tmp_path, None, **given) == []


def test_a_search_ends_with_it_among_the_others(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(finetuned, "LR_DEFAULT", 0.1)  # what was never trained needs larger steps
    problem = problem_of((TEXTS, Y), None, None, own=False, encoder=f"{folder}:frozen=false").problem
    config = SearchConfig(trials=2, cv=2, epochs=3, explain=False, batch_size=8)
    result = run(problem, config, tmp_path / "search", note=notes.append)
    assert any("trained further for 3 epochs on 2 folds" in note for note in notes)
    assert result.record["test"]["chosen"]["accuracy"] > 0.8
    saved = result.save(tmp_path / "run")
    network, how, _ = load_run(saved)
    rows = torch.from_numpy(how.transform(np.array([[text] for text in TEXTS], dtype=object)))
    assert torch.allclose(network(rows), result.network.eval()(rows), atol=1e-5)


def test_from_python(folder: Path) -> None:
    found = dashpot.tune((TEXTS, Y), encoder=f"{folder}:frozen=false", trials=2, epochs=1, progress=False)
    assert found.record["test"]["chosen"]["accuracy"] >= 0.0
