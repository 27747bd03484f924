"""Networks that start from a file of vectors of words, in every way of driving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.core.errors import ConfigError, DataError
from dashpot.data import Prepared, Problem, load_problem
from dashpot.nets import TextBag, TextConv
from dashpot.runs.saved import load_run
from dashpot.search.fixed import fixed_network
from dashpot.search.inputs import problem_of
from dashpot.search.networks import factory
from dashpot.search.own import demand_fit
from dashpot.search.space.defaults import default_space
from dashpot.texts.lexicon import SPECIAL
from dashpot.training.builtin import network_for

TEXTS = [f"the {word} film number {i}" for i in range(8) for word in ("great", "awful", "fine")]
Y = np.array(["good", "bad", "good"] * 8)
GREAT, AWFUL = (3.0, 0.0, 4.0, 0.0, 0.0), (0.0, 3.0, 0.0, -4.0, 0.0)
SCALE = 0.1 / (2 * 25 / 10) ** 0.5
"""0.1 by the root mean square of the two vectors, by hand."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.vec"
    lines = [" ".join([word, *map(str, row)]) for word, row in (("great", GREAT), ("awful", AWFUL), ("absent", GREAT))]
    path.write_text("3 5\n" + "\n".join(lines) + "\n")
    return path


def prepared(file: Path | None, **options: Any) -> tuple[Problem, Prepared]:
    problem = problem_of((TEXTS, Y), None, None, own=False, vectors=file, **options).problem
    return problem, problem.prepare(np.arange(len(TEXTS)))


def demand_vectors(network: torch.nn.Module, how: Any) -> None:
    assert isinstance(network, TextConv)
    for word, row in (("great", GREAT), ("awful", AWFUL)):
        found = network.word.weight[SPECIAL + list(how.lexicon.words).index(word)]
        assert torch.allclose(found, torch.tensor(row) * SCALE, atol=1e-6), word


def test_every_way_to_a_built_in_network_starts_from_them(file: Path) -> None:
    problem, data = prepared(file)
    how, rows = data.preprocessing, np.arange(24)
    search = factory(problem, data, rows)
    options = {"net": "textconv"}
    for network in (
        network_for(problem, data),
        search(options),
        fixed_network(how, data.x, rows, 2, options, classes=True),
    ):
        demand_vectors(network, how)
    assert isinstance(bag := search({"net": "textbag", "width": 3}), TextBag)
    assert bag.width == 3
    assert "vectors" not in how.to_dict()
    assert prepared(None)[1].preprocessing.vectors is None  # type: ignore[attr-defined]  # of texts


@pytest.mark.parametrize(("option", "frozen"), [("", False), (":frozen=false", False), (":frozen=true", True)])
def test_frozen_vectors_stay_as_they_are_and_others_are_trained(file: Path, option: str, frozen: bool) -> None:
    model = dashpot.DashpotClassifier(vectors=f"{file}{option}", epochs=3, random_state=0, recipe="weight-decay")
    model.fit(TEXTS, Y)
    words = model.preprocessing_.lexicon.words
    great, film = (model.model_.word.weight[SPECIAL + words.index(word)] for word in ("great", "film"))
    assert torch.allclose(great, torch.tensor(GREAT) * SCALE, atol=1e-6) == frozen
    assert bool(film.any()) != frozen  # what the file does not know is known by its pieces alone
    assert model.score(TEXTS, Y) > 0.6


def test_a_search_keeps_frozen_vectors_and_its_run_needs_no_file(file: Path, tmp_path: Path) -> None:
    found = dashpot.tune(
        (TEXTS * 2, np.tile(Y, 2)), vectors=f"{file}:frozen=true", net={"net": "textconv"}, trials=2, epochs=2
    )
    saved = found.save(tmp_path / "run")
    file.unlink()
    network, how, _ = load_run(saved)
    parts = [part for part in network.modules() if isinstance(part, TextConv)]
    assert parts
    for part in parts:
        demand_vectors(part, how)


def test_a_search_has_networks_of_their_width(file: Path) -> None:
    problem, data = prepared(file)
    space = default_space(problem, data, None, (), ("net=textconv",))
    assert str(space.net["width"]) == "5"
    for texts, message in ((("net=textconv", "width=5,64"), "5, as the vectors"), (("net=textbag",), "net=textconv")):
        with pytest.raises(ConfigError, match=message):
            default_space(problem, data, None, (), texts)


def test_an_estimator_takes_them_and_its_model_needs_nothing_of_the_file(file: Path) -> None:
    model = dashpot.DashpotClassifier(vectors=file, epochs=1, random_state=0).fit(TEXTS, Y)
    assert model.model_.options["width"] == 5
    file.unlink()
    assert model.predict(TEXTS[:3]).shape == (3,)


def test_what_cannot_be_is_said_at_once(file: Path, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(24, 2))
    with pytest.raises(ConfigError, match="vectors must be None for other data than texts"):
        problem_of((numbers, Y), None, None, own=False, vectors=file)
    with pytest.raises(ConfigError, match="vectors must be None for other data than texts"):
        dashpot.DashpotClassifier(vectors=file).fit(numbers, Y)
    table = tmp_path / "table.csv"
    table.write_text("a,y\n" + "".join(f"{i}.5,{i % 2}\n" for i in range(20)))
    with pytest.raises(ConfigError, match="vectors must be None for other data than texts"):
        load_problem(table, "y", vectors=file)
    other = tmp_path / "other.vec"
    other.write_text("maison 1 2\n")
    with pytest.raises(DataError, match="none of .* words in .*other.vec"):
        prepared(other)
    for text, message in ((":fixed=true", "option of vectors must be one of frozen"), (":frozen=7", "vectors frozen")):
        with pytest.raises(ConfigError, match=message):
            prepared(f"{file}{text}")  # type: ignore[arg-type]  # as on the command line
    problem, data = prepared(file)
    with pytest.raises(ConfigError, match="None with a model of your own"):
        demand_fit(lambda: torch.nn.Linear(2, 2), data, 2, None)
    with pytest.raises(ConfigError, match="net=textconv"):
        fixed_network(data.preprocessing, data.x, np.arange(24), 2, {"net": "textbag"}, classes=True)
    with pytest.raises(ConfigError, match="a path or .* with vectors"):
        problem_of(problem, None, None, own=False, vectors=file)
