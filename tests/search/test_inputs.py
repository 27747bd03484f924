"""Data of the Python interface: texts as lists, arrays, series and frames, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import dashpot
from dashpot.core.errors import ConfigError, DataError
from dashpot.data import Problem
from dashpot.search.inputs import problem_of

WORDS = ["a great film", "an awful film", None, "the story is great"]
TEXTS = [f"{word} number {i}" if word else None for i in range(6) for word in WORDS]
Y = ["good", "bad", "bad", "good"] * 6


def of(x: Any, **options: Any) -> Problem:
    return problem_of((x, Y), None, None, own=False, **options).problem


@pytest.mark.parametrize(
    "x",
    [TEXTS, tuple(TEXTS), np.array(TEXTS, dtype=object), pd.Series(TEXTS), pl.Series(TEXTS)],
    ids=["list", "tuple", "array", "pandas", "polars"],
)
def test_strings_are_texts_in_every_form(x: Any) -> None:
    problem = of(x)
    assert problem.kind == "text"
    assert problem.inputs.tolist() == [[text] for text in TEXTS]  # type: ignore[union-attr]  # objects, of texts
    assert problem.how == {"columns": ("text",)}


def test_a_frame_of_texts_is_one_and_a_mixed_one_where_it_is_said() -> None:
    sentences = [f"{text or 'nothing at all'} and so on, I would say" for text in TEXTS]
    assert of(pd.DataFrame({"said": sentences})).kind == "text"
    mixed = pd.DataFrame({"said": sentences, "size": np.arange(24.0)})
    assert of(mixed).kind == "table"
    found = of(mixed, kind="text")
    assert (found.kind, found.how["columns"]) == ("text", ("said", "size"))


def test_a_tokenizer_cuts_them() -> None:
    assert of(TEXTS, tokenizer="characters").how["tokenizer"] == "characters"
    rows = np.arange(24)
    how = of(TEXTS, tokenizer=str.split).prepare(rows).preprocessing
    lexicon = how.lexicon  # type: ignore[attr-defined]  # of texts
    assert "great" in lexicon.words


def test_what_cannot_be_is_said_at_once() -> None:
    numbers = np.random.default_rng(0).normal(size=(24, 3))
    with pytest.raises(ConfigError, match="tokenizer.*other data than texts"):
        of(numbers, tokenizer="words")
    with pytest.raises(ConfigError, match=r"kind must be 'text' or None where data are \(X, y\)"):
        of(numbers, kind="image")
    with pytest.raises(ConfigError, match="images or signals"):
        of(np.zeros((24, 5, 5)), kind="text")
    with pytest.raises(ConfigError, match="tokenizer must be"):
        of(TEXTS, tokenizer="sentences")
    with pytest.raises(ConfigError, match="got 'texts'"):
        of(TEXTS, columns=(["text"], None, None))
    with pytest.raises(ConfigError, match="a Problem"):
        problem_of(of(TEXTS), None, None, own=False, kind="text")
    with pytest.raises(ConfigError, match="a model of your own"):
        problem_of((numbers, Y), None, None, own=True, kind="text")
    with pytest.raises(DataError, match="as many rows"):
        of(TEXTS[:5])


def test_a_search_takes_a_list_of_strings_and_predicts_for_one() -> None:
    quick = dashpot.SearchConfig(trials=2, epochs=1, cv=2, explain=False)
    result = dashpot.tune((TEXTS, Y), config=quick, net={"net": "textbag", "width": 4}, recipe=[], progress=False)
    assert result.predict(["a great story", None]).tolist()[0] in ("good", "bad")
    assert result.predict_proba(pd.Series(["an awful story"])).shape == (1, 2)
    assert torch.is_tensor(result.prepared.x)
