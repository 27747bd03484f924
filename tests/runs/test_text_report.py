"""What a run on texts writes of words and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.data import Problem
from dashpot.data.rows import Rows
from dashpot.nets.ensemble import Ensemble
from dashpot.nets.text_bag import TextBag
from dashpot.runs.text_columns import WordRows
from dashpot.runs.text_report import TextAnswers, text_answers, text_report
from dashpot.sparsity.words import kept_words
from dashpot.texts.lexicon import Lexicon
from dashpot.texts.names import feature_names
from dashpot.training.builtin import TrainingLength, train


def texts(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, n)
    said = [f"film {random.integers(9)} is {('awful', 'great')[label]}\nand long" for label in y]
    return np.array([[text, None] for text in said], dtype=object), y


def test_words_and_mistakes_are_written_by_name(tmp_path: Path) -> None:
    x, y = texts(60)
    problem = Problem("films", x, np.where(y, "good", "bad").astype(object))
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    network = TextBag.of(prepared.preprocessing.lexicon, 2, width=0)  # type: ignore[attr-defined]  # of texts
    network.bias.data[1] = 1.0  # all are good
    table = text_report(tmp_path, problem, prepared, split, network)
    found = json.loads((tmp_path / "texts.json").read_text(encoding="utf-8"))
    assert "great" in dict(found["words"]["good"])
    assert "awful" in dict(found["words"]["bad"])
    assert not any(word.startswith("#") for words in found["words"].values() for word, _ in words)
    wrong = [int(row) for row in split.test if y[row] == 0]
    assert sorted(case["row"] for case in found["mistakes"]) == sorted(wrong)
    assert all(case["text"] == x[case["row"], 0] for case in found["mistakes"])
    shown = (tmp_path / "texts.txt").read_text(encoding="utf-8")
    assert table in shown
    assert f"row {wrong[0]}: bad taken for good " in shown
    assert "awful\\nand long" in shown


def test_columns_beside_texts_are_said_without_control_characters_and_missing_ones_left_out(tmp_path: Path) -> None:
    x, y = texts(80)
    price = np.where(np.arange(80) % 5 == 0, np.nan, 10.0 * y + np.arange(80) % 7)
    mixed = np.empty((80, 3), dtype=object)
    mixed[:, :1], mixed[:, 1] = x[:, :1], np.where(y, "red", "blue")
    mixed[:, 2] = price
    how = {"columns": ("said", "colour", "price"), "names": ("colour",)}
    problem = Problem("films", mixed, np.where(y, "good", "bad").astype(object), how=how)
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    network = TextBag.of(prepared.preprocessing.lexicon, 2, width=0)  # type: ignore[attr-defined]  # of texts
    network.bias.data[1] = 1.0  # all are good
    table = text_report(tmp_path, problem, prepared, split, network)
    assert "colour=red" in table
    assert "price>" in table
    assert "x1f" not in table
    shown = (tmp_path / "texts.txt").read_text(encoding="utf-8")
    assert "| blue" in shown
    wrong = {int(row) for row in split.test if y[row] == 0}
    assert any(np.isnan(price[row]) for row in wrong)
    assert "| nan" not in shown


@pytest.mark.parametrize("classes", [True, False])
def test_of_a_table_the_words_are_those_of_its_columns_of_texts(classes: bool, tmp_path: Path) -> None:
    x, y = texts(120)
    random = np.random.default_rng(1)
    said = [f"{text} says visitor {random.integers(9)}" for text in x[:, 0]]
    price = np.where(np.arange(120) % 5 == 0, np.nan, random.normal(size=120))
    rows = Rows(
        ("said", "colour", "price"),
        columns={
            "said": np.array([None if i % 17 == 16 else text for i, text in enumerate(said)], dtype=object),
            "colour": np.array(["red", "blue", None] * 40, dtype=object),
            "price": price,
        },
    )
    target = np.where(y, "good", "bad").astype(object) if classes else y + 0.01 * np.arange(120)
    problem = Problem("visits", rows, target, task=None if classes else "regression")
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    assert problem.kind == "table"
    network = torch.nn.Linear(prepared.x.shape[1], 2 if classes else 1)
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.constant_(network.bias, 0.0)
    with torch.no_grad():
        network.bias[-1] = 1.0  # all are good
    table = text_report(tmp_path, problem, prepared, split, network)
    found = TextAnswers.read(tmp_path)
    assert found is not None
    up, down = ("good", "bad") if classes else ("higher", "lower")
    assert any("great" in word for word, _ in found.words[up])
    assert any("awful" in word for word, _ in found.words[down])
    assert "red" not in table
    out = network(prepared.x[torch.as_tensor(split.test)]).detach()
    answers = text_answers(problem, prepared, split.test, network, None, out, split.train)
    assert answers is not None
    assert answers.words == {name: [tuple(pair) for pair in own] for name, own in found.words.items()}
    assert answers.mistakes == found.mistakes
    for case in found.mistakes:
        own = [said[case["row"]] if case["row"] % 17 != 16 else None, ("red", "blue", None)[case["row"] % 3]]
        number = price[case["row"]]
        parts = [part for part in own if part is not None] + ([] if np.isnan(number) else [f"{number:.12g}"])
        assert case["text"] == " | ".join(parts)
    assert len(found.mistakes) > 0


def test_a_table_whose_texts_have_no_token_in_the_rows_has_no_words() -> None:
    x, y = texts(60)
    column = np.array([f"{text} film {i}" for i, text in enumerate(x[:, 0])], dtype=object)
    rows = Rows(("said", "n"), columns={"said": column, "n": np.arange(60.0)})
    problem = Problem("films", rows, y)
    prepared = problem.prepare(np.arange(30))
    column[:30] = " "
    blank = Problem("films", Rows(("said", "n"), columns={"said": column, "n": np.arange(60.0)}), y)
    assert WordRows.of(blank, prepared, np.arange(30)) is None
    assert WordRows.of(problem, prepared, np.arange(30, 60)) is not None


def test_of_values_words_raise_or_lower_and_tables_have_none(tmp_path: Path) -> None:
    x, y = texts(60)
    problem = Problem("films", x, y + 0.01 * np.arange(60), task="regression")
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    network = TextBag.of(prepared.preprocessing.lexicon, 1, width=0)  # type: ignore[attr-defined]  # of texts
    text_report(tmp_path, problem, prepared, split, network)
    words = json.loads((tmp_path / "texts.json").read_text(encoding="utf-8"))["words"]
    assert any("great" in word for word, _ in words["higher"])
    assert any("awful" in word for word, _ in words["lower"])
    table = Problem("numbers", Rows(("a",), matrix=np.arange(30.0)[:, None]), np.arange(30) % 2)
    assert text_report(tmp_path / "none", table, table.prepare(np.arange(20)), table.split(0), network) == ""


@pytest.mark.parametrize("penalty", [dashpot.L1(strength=3e-2), dashpot.GroupLasso(strength=3e-2)])
def test_penalties_keep_some_words_of_a_linear_bag_by_name(penalty: Any, tmp_path: Path) -> None:
    x, y = texts(120)
    problem = Problem("films", x, np.where(y, "good", "bad").astype(object))
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    lexicon = prepared.preprocessing.lexicon  # type: ignore[attr-defined]  # of texts
    recipe = dashpot.Recipe((penalty,))
    plan = TrainingLength(epochs=12, batch_size=16, lr=5e-3)
    make = lambda: TextBag.of(lexicon, 2, width=0)  # noqa: E731
    network = train(problem, prepared, split, recipe, plan, seed=0, progress=False, make=make).model
    assert isinstance(network, TextBag)
    weight = network.linear.weight.detach()
    kept = kept_words(network, lexicon)
    assert 0 < len(kept) == int((weight != 0).any(dim=1).sum()) < len(weight) / 2
    assert {"great", "awful"} <= set(kept)
    best = max(kept, key=lambda name: max(map(abs, kept[name])))
    assert "great" in best or "awful" in best
    assert torch.isclose(torch.tensor(max(map(abs, kept[best]))), 5 * 4 * weight.abs().max(), rtol=1e-5)
    line = text_report(tmp_path, problem, prepared, split, network).splitlines()[-1]
    assert line.startswith(f"{len(kept)} of {len(weight):,} words, pieces and grams are kept: {best}")
    found = TextAnswers.read(tmp_path)
    assert found is not None
    assert set(found.kept) == set(kept)
    answers = text_answers(problem, prepared, split.test, network, None, torch.zeros(len(split.test), 2))
    assert answers is not None
    assert answers.kept == found.kept


def test_l1_acts_on_the_words_of_a_bag_and_not_on_its_vectors() -> None:
    lexicon = Lexicon.fit([["a", "red", "car"], ["a", "red", "house"], ["the", "car"]])
    net = TextBag.of(lexicon, outputs=2, width=4)
    net.linear.weight.data.fill_(1e-6)
    net.embedding.weight.data.fill_(1e-6)
    x = torch.from_numpy(lexicon.transform([["red", "cars"], ["the", "house"]]))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with dashpot.L1(strength=1.0).attach(net, optimizer):
        net(x).sum().mul(0).backward()
        optimizer.step()
    assert not net.linear.weight.any()
    assert bool((net.embedding.weight == 1e-6).all())


def test_a_final_model_shows_the_words_of_its_heaviest_linear_model_else_of_a_bag() -> None:
    x, y = texts(60)
    problem = Problem("films", x, np.where(y, "good", "bad").astype(object))
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    lexicon = prepared.preprocessing.lexicon  # type: ignore[attr-defined]  # of texts
    bags = [TextBag.of(lexicon, 2, width=width) for width in (4, 0, 0)]
    for i, word in enumerate(("film", "awful", "great")):
        place = feature_names(lexicon).index(word)
        bags[i].linear.weight.data[place, 1] = 1.0
    outputs = torch.zeros(len(split.test), 2)
    for weights, kept, word in (([9.0, 1, 2], bags, "great"), ([9.0, 2, 1], bags, "awful"), ([1.0], bags[:1], "film")):
        found = text_answers(problem, prepared, split.test, Ensemble(kept, weights, classes=True), None, outputs)
        assert found is not None
        assert [name for name, _ in found.words["good"]] == [word]
        assert ("linear part" in found.source) == (word == "film")
    none = text_answers(problem, prepared, split.test, torch.nn.Identity(), None, outputs * torch.nan)
    assert none is not None
    assert (none.words, list(none.mistakes)) == ({}, [])


def test_what_was_written_is_read_again_and_shown(tmp_path: Path) -> None:
    assert TextAnswers.read(tmp_path) is None
    TextAnswers({"good": [("great", 1.5)], "bad": []}, [], "a model").write(tmp_path)
    found = TextAnswers.read(tmp_path)
    assert found is not None
    assert (found.table, found.source) == ("good  great\nbad   none", "a model")
