"""Columns of names and of numbers beside texts: words of their row, by the training rows only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars
import pytest

from dashpot.core.errors import DataError
from dashpot.data import load_problem, load_rows
from dashpot.data.texts.fields import Fields
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.texts.spelling import FIELD

N = 48


def mixed() -> polars.DataFrame:
    """Sentences beside a colour, a price in text form, and truth values; the label is that of the colour."""
    g = np.random.default_rng(1)
    colours = np.array(["red", "blue", "green"])[np.arange(N) % 3]
    return polars.DataFrame(
        {
            "note": [f"the note of number {i} is not short" for i in range(N)],
            "colour": [None if i == 5 else str(colour) for i, colour in enumerate(colours)],
            "price": [None if i == 7 else f"${price:.2f}" for i, price in enumerate(g.uniform(1, 9, N))],
            "new": [bool(i % 2) for i in range(N)],
            "label": [str(i % 2) for i in range(N)],
        }
    )


def plain(words: list[str]) -> list[str]:
    assert all(word.startswith(FIELD) for word in words)
    return [word[1:] for word in words]


def test_numbers_become_the_limits_below_them() -> None:
    values = np.array([*np.random.default_rng(2).normal(size=30), np.nan])
    table, train = values.astype(object)[:, None], np.arange(20)
    fields = Fields.fit(table, train, ["x"])
    limits = [float(np.quantile(values[:20], k / 8)) for k in range(1, 8)]
    assert fields.limits["x"] == pytest.approx(tuple(limits))
    for value, words in zip(values, fields.words("x", table[:, 0]), strict=True):
        want = ["x=(missing)"] if np.isnan(value) else [f"x>{limit:.12g}" for limit in limits if value > limit]
        assert plain(words) == want


def test_few_values_have_a_limit_too() -> None:
    table = np.array([[1.0]] * 30 + [[0.0]] * 2 + [[5.0]], dtype=object)
    fields = Fields.fit(table, np.arange(32), ["x"])
    assert fields.limits == {"x": (0.0,)}
    assert [plain(words) for words in fields.words("x", table[[0, 30, 32], 0])] == [["x>0"], [], ["x>0"]]
    assert Fields.fit(table, np.arange(30), ["x"]).limits == {"x": ()}


def test_names_and_texts_are_told_apart_by_training_rows() -> None:
    frame = mixed()
    table = np.column_stack([frame["note"].to_numpy(), frame["colour"].to_numpy()]).astype(object)
    titles = np.array([[f"title {i}"] for i in range(N)], dtype=object)
    columns = ["note", "colour", "title"]
    fields = Fields.fit(np.hstack([table, titles]), np.arange(N), columns)
    assert (fields.names, "title" in fields) == (("colour",), False)
    assert plain(fields.words("colour", table[:6, 1])[5]) == ["colour=(missing)"]
    assert Fields.fit(np.hstack([table, titles]), np.arange(N), columns, {"title"}).names == ("colour", "title")
    # Of short texts alone there is no text to stand beside.
    assert Fields.fit(table[:, 1:], np.arange(N), ["colour"]).names == ()


def test_a_mixed_table_comes_back_from_json_and_files(tmp_path: Path) -> None:
    mixed().write_csv(tmp_path / "a.csv")
    assert load_problem(tmp_path / "a.csv", "label").kind == "table"
    problem = load_problem(tmp_path / "a.csv", "label", kind="text")
    prepared = problem.prepare(np.arange(32))
    how = prepared.preprocessing
    assert isinstance(how, TextPreprocessing)
    assert (how.fields.names, set(how.fields.limits)) == (("colour",), {"price", "new"})
    assert how.fields.formats["price"].unit == "$"
    names = how.lexicon.names(prepared.x[1].numpy())
    assert names[1] == "colour=blue"
    assert "new>0" in names
    assert names[names.index("<next>") + 1 :][:3] == ["the", "note", "of"]
    again = TextPreprocessing.from_dict(json.loads(json.dumps(how.to_dict())))
    again.check()
    assert again == how
    few = mixed().head(9)
    few.select("price", "new", "label", "note", "colour").write_csv(tmp_path / "b.csv")
    x, _ = load_rows(tmp_path / "b.csv", again, "label")
    assert np.array_equal(x.numpy(), prepared.x[:9].numpy())
    few.with_columns(price=polars.lit("dear")).write_csv(tmp_path / "c.csv")
    with pytest.raises(DataError, match="column 'price' must hold numbers"):
        load_rows(tmp_path / "c.csv", again, "label")
    few.with_columns(colour=polars.lit(7), note=polars.lit(1.5)).write_csv(tmp_path / "d.csv")
    x, _ = load_rows(tmp_path / "d.csv", again, "label")
    assert not any(name.startswith("colour") for name in again.lexicon.names(x[0].numpy()))


def test_rows_of_other_values_are_refused() -> None:
    table = np.array([["a text of words", 1.0], ["another of words", 2.0]], dtype=object)
    how = TextPreprocessing.fit(table, np.arange(2), columns=("note", "size"))
    for bad, message in ((np.inf, "finite numbers"), ("x", "must hold numbers")):
        with pytest.raises(DataError, match=message):
            how.transform(np.array([["a", bad]], dtype=object))


def test_long_texts_leave_room_for_each_other() -> None:
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]
    table = np.array([[" ".join(words * 50), "x y", " ".join(words * 9)]] * 2, dtype=object)
    with pytest.warns(UserWarning, match="only the first 24 words and marks are read, which is as far"):
        how = TextPreprocessing.fit(table, np.arange(2), columns=("one", "two", "three"), length=26)
    names = how.lexicon.names(how.transform(table)[0])
    # 26 numbers less 2 ends and 2 between: 2 for the short text, 10 for each long one.
    assert names == ["<edge>", *(words * 2)[:10], "<next>", "x", "y", "<next>", *(words * 2)[:10], "<edge>"]
