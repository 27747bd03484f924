"""Topics of text columns against NumPy's decomposition of scikit-learn's TF-IDF, and texts of all kinds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from dashpot.data import Preprocessing, TextColumn
from dashpot.data.rows import Rows, to_rows
from dashpot.data.texts.column import MAX_TOPICS, Corpus
from dashpot.data.texts.topics import STEPS, Topics
from tests.data.text_tables import frame, reference, sentences


def oracle(train: np.ndarray, new: np.ndarray, most: int) -> np.ndarray:
    """Rows of the right singular vectors of the training rows, whose features have the mean square 1, and the larger
    end of each vector positive.
    """
    _, size, found = np.linalg.svd(train.astype(np.float64), full_matrices=False)
    size, found = size[:most], found[:most]
    size, found = size[size > 1e-4 * size[0]], found[size > 1e-4 * size[0]]
    flipped = np.where(found.max(axis=1) >= -found.min(axis=1), 1.0, -1.0)
    return new @ (found * flipped[:, None]).T * np.sqrt(len(train) * len(size) / (size**2).sum())


def separated(rows: int = 40, terms: int = 25) -> np.ndarray:
    """Rows whose singular values are far enough from each other that the vectors are the same for all solvers."""
    g = np.random.default_rng(0)
    left, right = (np.linalg.qr(g.normal(size=(n, 12)))[0] for n in (rows, terms))
    return (left * 0.7 ** np.arange(12)) @ right.T


def test_topics_are_the_singular_vectors_up_to_rounding() -> None:
    x = separated()
    found = Topics.fit(csr_matrix(x.astype(np.float32)), np.ones(40), 6)
    expected = oracle(x, x, 6)
    # Each weight is rounded to 1 / 8 of the root mean square of its topic's.
    unit = np.sqrt(40 * 6 / (np.linalg.svd(x)[1][:6] ** 2).sum()) / (STEPS * np.sqrt(25))
    bound = np.abs(x).sum(axis=1, keepdims=True) * unit / 2
    difference = np.abs(found.transform(csr_matrix(x.astype(np.float32))) - expected)
    assert (difference <= bound + 1e-3).all()
    assert difference.max() > 1e-4
    assert (expected**2).mean() == pytest.approx(1)


def test_a_column_of_texts_becomes_topics_of_scikit_learns_features() -> None:
    texts, _ = sentences(60)
    train, new = list(texts[:40]), [*texts[40:], "", "ШЩЪ"]
    column = TextColumn.fit(Corpus.of(train), np.arange(40), topics=5)
    assert column.topics is not None
    rows = Rows(("note",), columns={"note": np.array(new, dtype=object)})
    out = np.full((len(new), 5), np.nan, dtype=np.float32)
    column.fill(out, rows, "note")
    expected = oracle(reference(train, train, 3000, 1000), reference(train, new, 3000, 1000), 5)
    # Singular values may be close to each other: what does not turn with the vectors is the products of rows.
    np.testing.assert_allclose(out @ out.T, expected @ expected.T, atol=0.03 * np.abs(expected @ expected.T).max())
    assert not out[-2:].any()


def test_a_text_that_is_there_twice_or_weighs_two_counts_twice() -> None:
    texts = list(sentences(30)[0])
    twice = Rows(("note",), columns={"note": np.array([*texts, *texts[:9]], dtype=object)})
    once = Rows(("note",), columns={"note": np.array(texts, dtype=object)})
    weight = np.where(np.arange(30) < 9, 2.0, 1.0)
    repeated, weighed = Preprocessing.fit(twice), Preprocessing.fit(once, weight=weight)
    assert repeated == weighed
    x = repeated.transform(twice).astype(np.float64)
    every = [*texts, *texts[:9]]
    expected = oracle(reference(every, every, 3000, 1000), reference(every, every, 3000, 1000), 15)
    np.testing.assert_allclose(x @ x.T, expected @ expected.T, atol=0.03 * (expected**2).sum(axis=1).max())


def test_few_terms_stay_themselves() -> None:
    texts = [f"{a} {b}" for a in ("red", "blue") for b in ("car", "house")] * 5
    column = TextColumn.fit(Corpus.of(texts), np.arange(20), room=4, topics=8)
    assert column.topics is None
    assert len(column) == len(column.names("note")) == 4


def test_topics_are_no_more_than_rows_and_the_limit_of_a_table_allow() -> None:
    texts = np.array([" ".join(f"w{(i * k) % 97}" for k in range(2, 9)) for i in range(700)], dtype=object)
    one = Preprocessing.fit(Rows(("a",), columns={"a": texts}))
    two = Preprocessing.fit(Rows(("a", "b"), columns={"a": texts, "b": texts[::-1].copy()}))
    small = Preprocessing.fit(Rows(("a",), columns={"a": texts[:24]}))
    assert one.shape[0] <= MAX_TOPICS
    assert two.shape[0] <= MAX_TOPICS
    assert small.shape == (12,)


def test_names_tell_the_words_of_a_topic() -> None:
    texts = ["sun sun sea", "sun sea", "sea sun sun", "tax law", "law tax tax", "law tax", "tax tax law", "sun sea sea"]
    column = TextColumn.fit(Corpus.of(texts), np.arange(8), topics=2)
    names = column.names("note")
    assert len(names) == 2
    assert all(name.startswith(f"note: topic {i} (") for i, name in enumerate(names, start=1))
    told = [set(name.split("(")[1].rstrip(")").split(", ")) for name in names]
    law, sun = (
        {"law", "tax", "law tax", "tax tax", "tax law"},
        {"sun", "sea", "sun sea", "sun sun", "sea sun", "sea sea"},
    )
    assert any(words <= law for words in told)
    assert any(words <= sun for words in told)


@pytest.mark.parametrize(
    "texts",
    [
        ["the same text in every row"] * 12,
        ["", None, "   ", *["a good day"] * 9],
        [f"wholly{i} different{i} words{i}" for i in range(12)],
        ["and the of", "the and", "of of the", "is it the", "to be it"] * 3,
        ["今天天气很好去公园", "他很生气因为下雨", "我们去公园看花", "下雨他很生气"] * 3,
        ["?!", "...", "!?!", "::", "--"] * 3,
        ["wide " * 200_000, "a wide text", "one short", *["another short text"] * 8],
    ],
    ids=["one text", "empty", "all different", "stop words", "Chinese", "marks", "1 MB"],
)
def test_texts_of_any_kind_become_finite_topics(texts: list[str | None]) -> None:
    values = np.array(texts, dtype=object)
    rows = Rows(("note",), columns={"note": values})
    column = TextColumn.fit(Corpus.of_column(rows, "note"), rows.levels("note").codes, topics=4)
    out = np.full((len(values), len(column)), np.nan, dtype=np.float32)
    column.fill(out, rows, "note")
    assert np.isfinite(out).all()
    there = np.array([bool(text and text.strip()) for text in texts])
    np.testing.assert_array_equal(out.any(axis=1), there)
    assert len(set(column.names("note"))) == len(column)
    column.check()
    assert TextColumn.from_dict(json.loads(json.dumps(asdict(column)))) == column


def test_runs_without_topics_give_their_terms_as_before() -> None:
    texts, _ = sentences(60)
    plan = Preprocessing.fit(to_rows(frame().drop("target")))
    terms = replace(plan.text["note"], topics=None)
    saved = json.loads(json.dumps(replace(plan, text={"note": terms}).to_dict()))
    del saved["text"]["note"]["topics"]
    old = Preprocessing.from_dict(saved)
    old.check()
    start = old.layout().text[0]
    x = old.transform(to_rows(frame().drop("target")))
    np.testing.assert_allclose(x[:, start:], reference(list(texts), list(texts), 3000, 1000), rtol=1e-5, atol=1e-6)
    at = old.feature_names.index("note: lovely")
    np.testing.assert_array_equal(x[:, at] != 0, ["lovely" in text.split() for text in frame()["note"]])


@pytest.mark.parametrize("weights", [["1 2"], ["1 2", "3"], ["a b"], ["99999999999 1"], [""], [7]])
def test_damaged_topics_are_refused(weights: list[str]) -> None:
    column = TextColumn.fit(Corpus.of(list(sentences(30)[0])), np.arange(30), topics=3)
    assert column.topics is not None
    with pytest.raises(ValueError, match="."):
        replace(column, topics=Topics(column.topics.unit, tuple(weights))).check()


def test_saved_topics_are_small() -> None:
    g = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(900)])
    texts = [" ".join(g.choice(words, 12)) for _ in range(600)]
    column = TextColumn.fit(Corpus.of(texts), np.arange(600), topics=100)
    assert column.topics is not None
    terms = len(column.words) + len(column.pieces)
    assert len(json.dumps(column.topics.weights)) < 3.5 * 100 * terms


def test_of_a_large_column_terms_come_from_a_sample_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"row {i} of the house {i % 11}" + " and more" * (i % 50 == 0) * 40 for i in range(400)]
    rows = Rows(("note",), columns={"note": np.array(texts, dtype=object)})
    whole = Preprocessing.fit(rows)
    monkeypatch.setattr("dashpot.data.texts.column.COUNTED", 10_000)
    monkeypatch.setattr("dashpot.data.texts.column.CHUNK", 16)
    large = Rows(("note",), columns={"note": np.array(texts, dtype=object)})
    corpus = Corpus.of_column(large, "note")
    assert corpus.places is not None
    some = np.flatnonzero(corpus.places >= 0)
    sampled = Preprocessing.fit(large, np.arange(300))
    # By hand: distinct texts in their order, each cut to the length that keeps all of them within 10,000 characters.
    distinct = list(dict.fromkeys(texts))
    longest = max(n for n in range(500) if sum(len(text[:n]) for text in distinct) <= 10_000)
    cut = {text: text[:longest] for text in distinct}
    assert len(some) == len(distinct)
    other = Rows(("note",), columns={"note": np.array([cut[text] for text in texts[:300]], dtype=object)})
    monkeypatch.setattr("dashpot.data.texts.column.COUNTED", 1 << 20)
    expected = Preprocessing.fit(other).text["note"]
    assert (sampled.text["note"].words, sampled.text["note"].pieces) == (expected.words, expected.pieces)
    np.testing.assert_allclose(sampled.text["note"].word_weights, expected.word_weights)
    # Features are of whole texts, whichever way they are counted.
    np.testing.assert_allclose(whole.transform(large), whole.transform(rows), rtol=1e-5, atol=1e-6)


def test_topics_come_from_the_training_rows_only() -> None:
    data = pl.concat([frame(60), frame(60).with_columns(note=pl.lit("a leak of other words ") + pl.col("note"))])
    train = np.arange(60)
    alone, among = (
        Preprocessing.fit(to_rows(frame(60).drop("target"))),
        Preprocessing.fit(to_rows(data.drop("target")), train),
    )
    assert alone.text == among.text
