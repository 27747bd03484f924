"""Text columns: which they are, their features against scikit-learn's, and the ways in which texts can be bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import dashpot
from dashpot.data import DataWarning, Preprocessing, TextColumn, load_problem, load_rows
from dashpot.data.problem import Problem
from dashpot.data.rows import Rows, levels_of, to_rows
from dashpot.data.texts.column import Corpus, reads_as_text
from tests.data.text_tables import frame, reference, sentences


def test_features_are_those_of_scikit_learn() -> None:
    texts, _ = sentences()
    new = ["a lovely room", "great great great food", "", "Ünknown"]
    column = TextColumn.fit(Corpus.of(texts[:40]), np.arange(40))
    expected = reference(list(texts[:40]), [*texts, *new], 3000, 1000)
    np.testing.assert_allclose(column.transform([*texts, *new]).toarray(), expected, rtol=1e-5, atol=1e-6)


def test_terms_and_weights_come_from_the_training_rows_only() -> None:
    rows = to_rows(frame().drop("target"))
    train = np.arange(0, 60, 2)
    alone = Preprocessing.fit(to_rows(frame().drop("target")[train.tolist()]))
    assert Preprocessing.fit(rows, train) == alone


def test_the_counts_kept_for_the_next_fold_change_nothing() -> None:
    rows = to_rows(frame().drop("target"))
    first = Preprocessing.fit(rows, np.arange(30))
    other = Preprocessing.fit(rows, np.arange(30, 60))
    fresh = to_rows(frame().drop("target"))
    for plan in (first, other):
        np.testing.assert_allclose(plan.transform(rows), plan.transform(fresh), rtol=1e-5, atol=1e-6)
    assert first != other


def test_the_most_frequent_terms_are_kept_where_room_is_short() -> None:
    texts = [f"always {'often ' * (i % 2)}{'rarely' if i % 10 == 0 else ''} one{i}" for i in range(40)]
    column = TextColumn.fit(Corpus.of(texts), np.arange(40), room=4)
    # Half of the texts hold "often" and the pair; "always" is in all.
    assert column.words == ("always", "always often", "often")
    assert len(column) == 4
    lonely = TextColumn.fit(Corpus.of(["one two", "three four"]), np.arange(2), room=100)
    assert {"one", "two", "one two", "three"} <= set(lonely.words)


def test_names_follow_the_columns() -> None:
    plan = Preprocessing.fit(to_rows(frame().drop("target")))
    x = plan.transform(to_rows(frame().drop("target")))
    assert x.shape[1] == len(plan.feature_names)
    assert all(name.startswith("note: topic ") for name in plan.feature_names[3:])
    numeric, nominal, (start, stop) = plan.layout()
    assert (numeric, nominal) == (1, [(1, 3)])
    assert (start, stop) == (3, x.shape[1])
    np.testing.assert_allclose((x[:, start:stop] ** 2).mean(), 1, rtol=0.01)


def test_empty_missing_and_unknown_texts_are_zeros() -> None:
    plan = Preprocessing.fit(to_rows(frame().drop("target")))
    start, stop = plan.layout().text
    new = pl.DataFrame({"note": ["", None, "   ", "ШЩ ЪЫ", "lovely"], "size": [0.0] * 5, "colour": ["red"] * 5})
    assert plan.transform(to_rows(new))[:, start:stop].any(axis=1).tolist() == [False, False, False, False, True]
    numbers = pl.DataFrame(
        {"note": [7.0, None], "size": [0.0] * 2, "colour": ["red"] * 2}
    )  # a whole file of numbers is text as well
    assert not plan.transform(to_rows(numbers))[1, start:stop].any()


def test_plain_json_and_what_was_saved_before_text_loads() -> None:
    rows = to_rows(frame().drop("target"))
    plan = Preprocessing.fit(rows, scaling="robust")
    again = Preprocessing.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    np.testing.assert_array_equal(again.transform(rows), plan.transform(rows))
    old = Preprocessing.fit(to_rows(frame().drop("target", "note")))
    saved = {name: value for name, value in old.to_dict().items() if name not in ("text", "scaling")}
    assert Preprocessing.from_dict(json.loads(json.dumps(saved))) == old


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([f"please answer question {i} now" for i in range(30)], True),
        ([f"please answer question {i % 15} now" for i in range(30)], True),
        (["please answer this question", "no thank you very much"] * 15, False),
        ([f"please answer question {i % 12} now" for i in range(300)], False),
        ([f"please answer question {i % 120} now" for i in range(1200)], True),
        ([f"A{i} B{i}" for i in range(30)], False),
        ([f"2024-01-{i:02} 10 {i} 00" for i in range(30)], False),
        ([f"please answer question {i} now" for i in range(8)], False),
        ([f"今日は天気がいい{i}" for i in range(30)], True),
        ([None] * 25 + [f"please answer question {i} now" for i in range(12)], True),
        ([None] * 30, False),
    ],
)
def test_sentences_are_told_from_levels(values: list[str | None], text: bool) -> None:
    assert reads_as_text(levels_of(np.array(values, dtype=object)), np.arange(len(values))) is text


def test_a_text_csv_goes_all_the_way(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    frame().select("note", "target").write_csv(path)
    problem = load_problem(path, "target", kind="table")
    split = problem.split(0)
    prepared = problem.prepare(split.train)
    x, _ = load_rows(path, Preprocessing.from_dict(json.loads(json.dumps(prepared.preprocessing.to_dict()))), "target")
    np.testing.assert_allclose(x.numpy(), prepared.x.numpy(), rtol=1e-5, atol=1e-6)
    # The words tell the class: the nearest class mean finds it in rows that were not seen.
    y, x = prepared.y.numpy(), prepared.x.numpy()
    means = np.stack([x[split.train][y[split.train] == c].mean(axis=0) for c in (0, 1)])
    found = ((x[split.test][:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    assert (found == y[split.test]).mean() > 0.9


def test_an_empty_text_column_is_left_out_or_refused() -> None:
    target = np.arange(30) % 2
    empty = np.array([None] * 30, dtype=object)
    with pytest.raises(dashpot.DataError, match="must have a column that varies"):
        Problem("a", Rows(("note",), columns={"note": empty}), target).prepare(np.arange(20))
    with pytest.warns(DataWarning, match="left out: note"):
        prepared = Problem("a", Rows(("note", "b"), columns={"note": empty, "b": np.arange(30.0)}), target).prepare(
            np.arange(20)
        )
    assert prepared.feature_names == ("b",)


def test_estimators_take_texts() -> None:
    data = frame()
    model = dashpot.DashpotClassifier(epochs=30, width=16, depth=1, random_state=0).fit(
        data.drop("target").to_pandas(), data["target"].to_numpy()
    )
    assert model.score(data.drop("target").to_pandas(), data["target"].to_numpy()) > 0.9
