"""Estimators on texts: lists, arrays, series and data frames; as scikit-learn treats its own."""

from __future__ import annotations

import pickle

import numpy as np
import pandas
import polars
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from dashpot import DashpotClassifier, DashpotRegressor, EarlyStopping
from dashpot.core.errors import ConfigError, DataError
from dashpot.data.texts.preprocessing import TextPreprocessing

GOOD, BAD = ("fine", "great", "lovely", "sunny"), ("awful", "poor", "dull", "rainy")
G = np.random.default_rng(0)
Y = np.arange(40) % 2
TEXTS = [f"number {i}, it was {G.choice((GOOD, BAD)[k])} and {G.choice((GOOD, BAD)[k])}" for i, k in enumerate(Y)]
FAST = {"epochs": 8, "width": 8, "batch_size": 8, "lr": 0.01, "random_state": 0}


@pytest.fixture(scope="module")
def fitted() -> DashpotClassifier:
    return DashpotClassifier(**FAST).fit(TEXTS, Y)


def test_texts_in_any_form_are_the_same(fitted: DashpotClassifier) -> None:
    assert isinstance(fitted.preprocessing_, TextPreprocessing)
    assert fitted.n_features_in_ == 1
    want = fitted.predict_proba(TEXTS)
    assert (fitted.predict(TEXTS) == Y).mean() > 0.9
    forms = (np.array(TEXTS), np.array(TEXTS, dtype=object), pandas.Series(TEXTS), polars.Series(TEXTS), tuple(TEXTS))
    for form in forms:
        assert np.array_equal(fitted.predict_proba(form), want)
    other = DashpotClassifier(**{**FAST, "epochs": 1})
    assert {str(other.fit(form, Y).predict_proba(TEXTS).tolist()) for form in forms} == {
        str(other.fit(TEXTS, Y).predict_proba(TEXTS).tolist())
    }


def test_it_is_copied_saved_and_cross_validated(fitted: DashpotClassifier) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    assert clone(fitted).get_params() == fitted.get_params()
    scores = cross_val_score(DashpotClassifier(**FAST), TEXTS, Y, cv=2)
    assert scores.shape == (2,)
    assert scores.mean() > 0.6


@pytest.mark.parametrize("frame", [pandas.DataFrame, polars.DataFrame])
def test_frames_of_texts(frame: type) -> None:
    table = frame({"title": [text[::-1] for text in TEXTS], "body": TEXTS})
    model = DashpotClassifier(**{**FAST, "epochs": 1}).fit(table, Y)
    assert model.preprocessing_.columns == ("title", "body")
    assert model.feature_names_in_.tolist() == ["title", "body"]
    assert model.predict(table).shape == (40,)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[["body", "title"]])
    with pytest.raises(ValueError, match="expecting 2 features"):
        model.predict(np.array(TEXTS, dtype=object)[:, None])


@pytest.mark.parametrize(("odd", "told"), [(3, "3"), (["b"], r"\['b'\]")])
def test_a_list_of_texts_with_something_else_names_the_row(odd: object, told: str) -> None:
    with pytest.raises(DataError, match=rf"X must hold a text in each row .*, got {told} in row 2\."):
        DashpotClassifier(epochs=1).fit(["a", None, odd, "c"], [0, 1, 0, 1])


def test_short_columns_are_texts_when_it_is_said() -> None:
    short = pandas.DataFrame({"a": ["good stuff", "bad stuff"] * 20})
    plain = DashpotClassifier(epochs=1, random_state=0)
    assert plain.fit(short, Y).n_features_in_ == 1
    assert not isinstance(plain.preprocessing_, TextPreprocessing)
    said = DashpotClassifier(epochs=1, kind="text", random_state=0).fit(short, Y)
    assert isinstance(said.preprocessing_, TextPreprocessing)
    assert isinstance(plain.fit(short["a"], Y).preprocessing_, TextPreprocessing)


def test_values_weights_and_held_out_rows() -> None:
    model = DashpotRegressor(EarlyStopping(patience=2), **FAST).fit(TEXTS, 3.0 * Y, sample_weight=[1, 2] * 20)
    assert model.predict(TEXTS).shape == (40,)
    dropped = DashpotClassifier(**FAST).fit([*TEXTS, "something else"], [*Y, 7], sample_weight=[1] * 40 + [0])
    assert dropped.classes_.tolist() == [0, 1]


def test_what_does_not_fit_is_refused(fitted: DashpotClassifier) -> None:
    with pytest.raises(DataError, match=r"One text is \[text\]"):
        fitted.predict("one text")
    with pytest.raises(ValueError, match="0 sample"):
        fitted.predict([])
    with pytest.raises(DataError, match="row 1 must hold a text, got 7"):
        fitted.predict(["a", 7])
    for options, message in (
        ({"kind": "image"}, "kind must be 'text' or None"),
        ({"depth": 2}, "depth must be None for texts"),
        ({"numeric": ["a"]}, "numeric, dates and categorical"),
        ({"pictures": "photo"}, "pictures must be None"),
    ):
        with pytest.raises(ConfigError, match=message):
            DashpotClassifier(**options).fit(TEXTS, Y)
    with pytest.raises(ConfigError, match="kind must be None"):
        DashpotClassifier(kind="text").fit(np.zeros((4, 8, 8)), [0, 1, 0, 1])
