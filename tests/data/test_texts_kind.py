"""Texts as a kind of data: prepared, saved and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dashpot import nets
from dashpot.core.errors import DataError
from dashpot.core.recipe import Recipe
from dashpot.data import Problem
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.training.builtin import TrainingLength, split_scores, train

TEXTS = np.array(
    [["Who wrote the Iliad?", "history"], ["Who wrote Hamlet?", None], ["我今天很高兴", ""], ["", "own history"]],
    dtype=object,
)


def test_rows_come_back_the_same_after_json() -> None:
    how = TextPreprocessing.fit(TEXTS, np.arange(4), columns=("text", "topic"))
    again = TextPreprocessing.from_dict(json.loads(json.dumps(how.to_dict())))
    again.check()
    assert again == how
    x = how.transform(TEXTS)
    assert x.dtype == np.int32
    assert x.shape == (4, *how.shape)
    assert np.array_equal(again.transform(TEXTS), x)


def test_only_training_rows_are_known() -> None:
    how = TextPreprocessing.fit(TEXTS, np.array([0, 1]))
    assert set(how.lexicon.words) == {"who", "wrote", "?", "\x1f"}
    names = how.lexicon.names(how.transform(TEXTS[1:2])[0])
    assert names[:3] == ["<edge>", "who", "wrote"]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="a token in some training row"):
        TextPreprocessing.fit(TEXTS[3:, :1], np.array([0]))
    how = TextPreprocessing.fit(TEXTS, np.arange(4))
    with pytest.raises(DataError, match="2 columns"):
        how.transform(TEXTS[:, :1])
    with pytest.raises(DataError, match="row 0 must hold a text, got 7"):
        how.transform(np.array([[7, "a"]], dtype=object))


def test_a_problem_of_texts_is_trained() -> None:
    g = np.random.default_rng(0)
    good, bad = ["fine", "great", "lovely", "sunny"], ["awful", "poor", "dull", "rainy"]
    labels = np.arange(120) % 2
    texts = [" ".join(["a", "day", *g.choice((good, bad)[label], 2)]) for label in labels]
    problem = Problem("days", np.array(texts, dtype=object)[:, None], labels)
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    assert (problem.kind, prepared.modality, prepared.x.dtype) == ("text", "text", torch.int32)
    length = TrainingLength(6, 16, 5e-3)
    result = train(problem, prepared, split, Recipe(()), length, seed=0, progress=False)
    assert split_scores(result.model, prepared, split)["test"]["accuracy"] > 0.9
    again = nets.from_description(nets.describe(result.model))
    again.load_state_dict(result.model.state_dict())
    x = prepared.x[:9]
    assert torch.equal(again.eval()(x), result.model.eval()(x))
