"""A search over texts: linear models beside the race, several kinds of networks, and a final model of all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.recipe import Recipe
from dashpot.data import Problem
from dashpot.nets import TextBag
from dashpot.nets.text_linear import fit_linear
from dashpot.search import texts
from dashpot.search.config import SearchConfig
from dashpot.search.networks import network_space
from dashpot.search.racing.planning import rungs_for
from dashpot.search.racing.pruning import staying
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.run import Search, run
from dashpot.search.space.space import Candidate

GOOD, BAD = ("great", "lovely", "superb", "fine"), ("awful", "dull", "poor", "bad")
NEUTRAL = ("the", "film", "was", "a", "story", "with", "actors", "and", "music", "this")


def reviews(rows: int = 160, seed: int = 0, wrong: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Texts whose class is that of the words in them, but for the share that is ``wrong``."""
    g = np.random.default_rng(seed)
    made, labels = [], []
    for i in range(rows):
        words = [*g.choice(NEUTRAL, 6), *g.choice(GOOD if i % 2 else BAD, 2)]
        made.append([" ".join(g.permutation(words))])
        labels.append("good" if bool(i % 2) != bool(g.random() < wrong) else "bad")
    return np.array(made, dtype=object), np.array(labels, dtype=object)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    problem = Problem("reviews", *reviews(320, wrong=0.1), "classification")
    return Search(problem, SearchConfig(trials=2, cv=3), tmp_path_factory.mktemp("search"))


def test_linear_models_are_judged_on_folds_that_they_have_not_seen_and_fitted_to_all_rows(search: Search) -> None:
    task, pool = search.task, search.pool
    found = texts.linear_trials(task, [0, 2], pool)
    assert sorted(trial.number for trial in found) == [-4, -3, -2, -1]
    assert [trial.score for trial in found] == sorted(trial.score for trial in found)
    for trial in found:
        how, by = trial.candidate.params["linear"], trial.candidate.params["temperature"]
        assert (trial.state, len(trial.tensors), len(trial.outputs)) == ("complete", 1, 2)
        for place, fold in enumerate((0, 2)):
            train, valid = map(torch.as_tensor, task.folds[fold])
            own = fit_linear(bag(task), task.x[train], task.y[train], how=how, temperature=1.0)
            assert torch.allclose(own(task.x[valid]) / by, trial.outputs[place], atol=1e-3)
            assert (trial.outputs[place].argmax(1) == task.y[valid]).float().mean() > 0.75
        whole = task.make(dict(trial.candidate.net))
        whole.load_state_dict(dict(trial.tensors[0]), strict=False)
        rows = torch.as_tensor(pool)
        own = fit_linear(bag(task), task.x[rows], task.y[rows], how=how, temperature=1.0)
        assert torch.allclose(whole.eval()(task.x[:9]), own(task.x[:9]) / by, atol=1e-3)
    models = texts.linear_models(task, found)
    assert set(models) == {texts.TITLES[name] for name in ("logistic", "svm", "nb-svm", "complement-nb")}


def test_the_temperature_of_a_linear_model_is_the_best_on_held_out_rows(search: Search) -> None:
    trial = texts.linear_trials(search.task, [0, 1, 2], search.pool)[0]
    y = torch.cat([search.task.y[torch.as_tensor(search.task.folds[fold][1])] for fold in range(3)])
    out = torch.cat(list(trial.outputs)).double()
    losses = [float(torch.nn.functional.cross_entropy(out / t, y)) for t in (0.8, 1.0, 1.25)]
    assert losses[1] == min(losses)


def test_one_linear_model_answers_first(search: Search) -> None:
    assert texts.first_answer(search.task).startswith("linear SVM on words: accuracy ")


def bag(task: Task) -> TextBag:
    """An empty linear model."""
    network = task.make(dict(texts.OPTIONS))
    assert isinstance(network, TextBag)
    return network


def trial(number: int, net: str, score: float) -> Trial:
    return Trial(number, Candidate(Recipe(()), 0.1, {"net": net}, {}), "complete", scores=[score])


def test_the_best_of_each_kind_comes_first() -> None:
    trials = [trial(0, "textbag", 0.9), trial(1, "textconv", 0.2), trial(2, "textconv", 0.1), trial(3, "textbag", 0.5)]
    assert [t.number for t in texts.kinds_first(trials)] == [2, 3, 1, 0]
    assert [t.number for t in texts.kinds_first(trials, trials[0])] == [2, 3, 0, 1]


def test_the_best_of_each_kind_stays_at_a_rung() -> None:
    trials = [trial(i, "textconv", 0.1 * i) for i in range(6)] + [trial(6, "textbag", 9.0), trial(7, "textbag", 8.0)]
    assert staying(range(8), range(8), trials) == {0, 1, 2, 7}
    same = [trial(i, "textconv", 0.1 * i) for i in range(6)]
    assert staying(range(6), range(1, 6), same) == {0, 1, 2}


def test_folds_are_as_many_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashpot.search.texts.time.monotonic", lambda: 100.0)
    training = TrainingBudget(10, 64, rungs_for(TrainingBudget(10, 64, (), 1, 4), 10), 1, 4)
    trials = [trial(0, "textbag", 0.9), trial(1, "textconv", 0.2)]
    # 1.15 * 1 s * 10 epochs * 2 kinds = 23 s for each further fold.
    assert [texts.folds_that_fit(trials, training, 1.0, 100.0 + s) for s in (-5, 22, 24, 70)] == [1, 1, 2, 4]


def test_both_networks_are_raced_unless_one_is_named() -> None:
    sizes = {"words": 9, "pieces": 4, "grams": 2, "links": 5}
    space, default = network_space("text", [7], 2, (), sizes)
    assert str(space["net"]) == "textbag | textconv"
    assert default == {"net": "textbag"}
    space, default = network_space("text", [7], 2, ["net=TextConv", "width=16"], sizes)
    assert {name: str(values) for name, values in space.items()} == {"net": "TextConv", "width": "16"}
    with pytest.raises(UnknownNameError, match="lstm"):
        network_space("text", [7], 2, ["net=lstm,textbag"], sizes)
    with pytest.raises(ConfigError, match="one network"):
        network_space("text", [7], 2, ["net=textconv,textbag", "width=8"], sizes)


def test_a_search_ends_with_networks_and_linear_models(tmp_path: Path) -> None:
    problem = Problem("reviews", *reviews(120), "classification")
    config = SearchConfig(trials=3, cv=2, epochs=2, explain=False)
    result = run(problem, config, tmp_path)
    assert result.record["test"]["chosen"]["accuracy"] > 0.8
    assert "linear model" in result.record["final"]
    result.save(tmp_path / "saved")
    words = json.loads((tmp_path / "saved" / "texts.json").read_text(encoding="utf-8"))["words"]
    assert {word for word, _ in words["good"]} & {"great", "lovely", "superb", "fine"}
    assert set(result.record["test"]["references"]) == set(list(texts.TITLES.values())[:4])
    assert {c["params"]["net.net"] for c in result.record["candidates"]} == {"textbag", "textconv"}


def test_values_are_predicted_from_texts(tmp_path: Path) -> None:
    x, labels = reviews(120)
    g = np.random.default_rng(1)
    y = np.where(labels == "good", 5.0, -5.0) + g.normal(size=len(labels))
    result = run(Problem("scores", x, y, "regression"), SearchConfig(trials=2, cv=2, epochs=2, explain=False), tmp_path)
    assert set(result.record["test"]["references"]) == {"ridge regression on words"}
    assert result.record["test"]["references"]["ridge regression on words"]["r2"] > 0.5
