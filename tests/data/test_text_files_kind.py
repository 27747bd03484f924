"""Tables of texts: loaded as the kind they are, trained, saved and used on new rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import polars
import pytest
import torch

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.recipe import Recipe
from dashpot.data import Problem, load_problem, load_rows
from dashpot.data.new_rows import new_inputs
from dashpot.data.tables.columnar import DataWarning
from dashpot.runs.saved import load_run, predictions, save_model, save_setup
from dashpot.training.builtin import network_for

GOOD, BAD = ("fine", "great", "lovely", "sunny"), ("awful", "poor", "dull", "rainy")


def reviews(rows: int = 40) -> polars.DataFrame:
    """Sentences of which one word tells the class, and their class."""
    g = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    texts = [
        f"number {i}, it was {g.choice((GOOD, BAD)[k])} and {g.choice((GOOD, BAD)[k])}" for i, k in enumerate(labels)
    ]
    return polars.DataFrame({"text": texts, "label": np.array(["good", "bad"])[labels]})


def written(path: Path, frame: polars.DataFrame) -> Path:
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_table_of_sentences_is_of_texts(tmp_path: Path, name: str) -> None:
    problem = load_problem(written(tmp_path / name, reviews()), "label")
    assert (problem.kind, problem.classes, problem.inputs.shape) == ("text", ("bad", "good"), (40, 1))
    assert problem.inputs[0, 0] == reviews()["text"][0]
    prepared = problem.prepare(np.arange(30))
    assert prepared.preprocessing.columns == ("text",)
    assert prepared.x.dtype == torch.int32


def test_several_columns_and_a_split(tmp_path: Path) -> None:
    frame = reviews().with_columns(
        title=polars.col("text").str.replace("number", "the title of"),
        split=polars.Series(["train", "dev", "Test", "test"] * 10),
    )
    with pytest.warns(UserWarning, match="its 20 test rows are the test part"):
        problem = load_problem(written(tmp_path / "a.csv", frame), "label")
    assert (problem.kind, problem.how["columns"]) == ("text", ("text", "title"))
    assert problem.fixed_test is not None
    assert problem.fixed_test.tolist() == [i for i in range(40) if i % 4 > 1]


def test_what_is_a_table_stays_one(tmp_path: Path) -> None:
    numbers = reviews().with_columns(price=polars.int_range(40).cast(polars.Float64))
    assert load_problem(written(tmp_path / "a.csv", numbers), "label").kind == "table"
    path = written(tmp_path / "b.csv", reviews())
    assert load_problem(path, "label", kind="table").kind == "table"
    assert load_problem(path, "label", categorical=["text"]).kind == "table"


def test_short_texts_are_texts_when_it_is_said(tmp_path: Path) -> None:
    short = reviews().with_columns(text=polars.Series(["good stuff", "bad stuff"] * 20))
    path = written(tmp_path / "a.csv", short)
    assert load_problem(path, "label").kind == "table"
    problem = load_problem(path, "label", kind="text")
    assert (problem.kind, problem.inputs.shape) == ("text", (40, 1))


def test_a_run_of_texts_predicts_new_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", reviews())
    problem = load_problem(path, "label")
    prepared = problem.prepare(np.arange(30))
    network = network_for(problem, prepared).eval()
    save_setup(tmp_path, network, prepared, Recipe())
    save_model(tmp_path, network)
    again, how, target = load_run(tmp_path)
    x, names = load_rows(path, how, target.name)
    assert torch.equal(x, prepared.x)
    assert names == [str(i) for i in range(40)]
    assert predictions(again, x, target) == predictions(network, prepared.x, prepared.target)
    mixed_up = reviews().select("label", "text").with_columns(other=polars.lit(1))
    assert torch.equal(load_rows(written(tmp_path / "b.parquet", mixed_up), how, target.name)[0], prepared.x)
    with pytest.raises(DataError, match="missing: 'text'"):
        load_rows(written(tmp_path / "c.csv", reviews().rename({"text": "words"})), how, target.name)


def test_new_texts_in_any_form() -> None:
    frame = reviews()
    problem = Problem(
        "days", frame["text"].to_numpy().astype(object)[:, None], np.arange(40) % 2, how={"columns": ["text"]}
    )
    prepared = problem.prepare(np.arange(30))
    texts = frame["text"].to_list()
    forms = (
        texts,
        tuple(texts),
        np.array(texts),
        np.array(texts, dtype=object)[:, None],
        np.array([text.encode() for text in texts]),
        frame["text"],
        pandas.Series(texts),
        frame.with_columns(other=1),
        pandas.DataFrame({"other": 1, "text": texts}),
    )
    for form in forms:
        assert np.array_equal(new_inputs(form, prepared.preprocessing), prepared.x.numpy())
    empty = new_inputs(["", None, float("nan"), pandas.NA], prepared.preprocessing)
    assert (empty == empty[0]).all()
    for bad, message in (
        ("one text", r"One text is \[text\]"),
        ([7], "got 7"),
        ([["a", "b"]], "1 columns"),
        ([b"\xff"], "UTF-8"),
    ):
        with pytest.raises(DataError, match=message):
            new_inputs(bad, prepared.preprocessing)


def test_texts_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="table or signal or text"):
        load_problem(written(tmp_path / "a.csv", reviews()), "label", kind="image")


def test_a_column_of_one_value_beside_texts_is_left_out(tmp_path: Path) -> None:
    lines = [f"what a {word} day it was in town {i},all,{i % 2}" for i, word in enumerate(["fine", "dull", "long"] * 4)]
    path = tmp_path / "days.csv"
    path.write_text("\n".join(["text,part,y", *lines]), encoding="utf-8")
    with pytest.warns(DataWarning, match="left out, since they have one value in all rows: 'part'"):
        problem = load_problem(path, "y")
    assert problem.kind == "text"
    assert problem.inputs.shape == (12, 1)
    path.write_text("\n".join(["text,part,y", *lines[:-1], lines[-1].replace(",all,", ",some,")]), encoding="utf-8")
    assert load_problem(path, "y").kind == "table"
