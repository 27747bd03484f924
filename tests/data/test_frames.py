"""Every kind of column that pandas and polars have."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import dashpot
from dashpot.data import Preprocessing
from dashpot.data.rows import to_rows

DAY = 86_400_000


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.array(["x", None, "y"], dtype="string"), ["x", None, "y"]),
        (pd.Series(["x", pd.NA, "y"], dtype=object), ["x", None, "y"]),
        (pd.Series(["x", pd.NaT, "y"], dtype=object), ["x", None, "y"]),
        (pd.Series([1, pd.NA, 2], dtype=object), [1.0, None, 2.0]),
        (pd.array([1, None, 2], dtype="Int64"), [1.0, None, 2.0]),
        (pd.array([True, None, False], dtype="boolean"), [1.0, None, 0.0]),
        (pd.Series([np.float32("nan"), "a", 2.0], dtype=object), [None, "a", "2"]),
        (pd.to_datetime(["1970-01-02", None, "1970-01-03"]), [DAY, None, 2 * DAY]),
        (pd.to_datetime(["1970-01-02", None, "1970-01-03"], utc=True), [DAY, None, 2 * DAY]),
        (pd.to_timedelta([1, None, 2], unit="D"), [1000 * DAY, None, 2000 * DAY]),
        (pd.Categorical([10, 20, 10]), ["10", "20", "10"]),
        (pd.Categorical([1.0, None, 2.5], ordered=True), ["1", None, "2.5"]),
        (pl.Series([datetime.date(1970, 1, 2), None]), [DAY, None]),
        (pl.Series([datetime.timedelta(milliseconds=1), None]), [1000.0, None]),
        (pl.Series([datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC), None]), [DAY, None]),
        (pl.Series([datetime.time(1, 0, 1), None]), ["01:00:01", None]),
        (pd.Series([datetime.date(1970, 1, 2), None], dtype=object), ["1970-01-02", None]),
        (pd.Series([datetime.timedelta(milliseconds=1), None], dtype=object), [1000.0, None]),
        (pl.Series(["a", None], dtype=pl.Categorical), ["a", None]),
        (pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])), ["a", "b"]),
    ],
)
def test_columns(values: Any, expected: list[Any]) -> None:
    column = to_rows(values.to_frame("a") if isinstance(values, pl.Series) else pd.DataFrame({"a": values})).column("a")
    assert [None if value is None or value != value else value for value in column.tolist()] == expected


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (pd.DataFrame({"a": pd.Series([[1], [2]])}), "list"),
        (pd.DataFrame({"a": pd.period_range("2020", "2021", freq="Y")}), "Period"),
        (pd.DataFrame({"a": [1j, 2.0]}), "complex"),
        (pl.DataFrame({"a": [[1, 2], [3]]}), "list"),
        (pl.DataFrame({"a": [b"x"]}), "bytes"),
        (pl.DataFrame({"a": [{"b": 1}]}), "dict"),
    ],
)
def test_columns_of_something_else_are_named(frame: Any, kind: str) -> None:
    with pytest.raises(
        dashpot.DataError,
        match=f"column 'a' must hold numbers, text, dates or truth values, got {kind}. Convert or remove it",
    ):
        to_rows(frame)


def test_names_that_repeat() -> None:
    with pytest.raises(
        dashpot.DataError, match="column names must be different from each other: 'a' 2 times. Rename or remove one"
    ):
        to_rows(pd.DataFrame(np.eye(2), columns=["a", "a"]))


@pytest.mark.parametrize(
    ("training", "new"),
    [
        ([True, False, "unknown"], np.array([True, False])),
        ([True, False, "unknown"], np.array([True, False], dtype=object)),
        ([1.0, 2.5, "unknown"], np.array([1.0, 2.5])),
        ([1, 2, "unknown"], np.array([1, 2])),
        ([1, 2.0, "unknown"], np.array([1.0, 2.0])),
    ],
)
@pytest.mark.parametrize("form", ["frame", "array"])
def test_names_are_met_where_new_rows_have_another_type(training: list[Any], new: np.ndarray, form: str) -> None:
    def rows(values: Any) -> Any:
        frame = pd.DataFrame({"x0": values})
        return to_rows(frame if form == "frame" else frame.to_numpy())

    plan = Preprocessing.fit(rows(pd.Series(training * 3, dtype=object)))
    expected = plan.transform(rows(pd.Series(training, dtype=object)))[:2]
    assert expected.sum() == 2
    np.testing.assert_array_equal(plan.transform(rows(new)), expected)


def test_declared_categories_meet_plain_numbers() -> None:
    plan = Preprocessing.fit(to_rows(pd.DataFrame({"a": pd.Categorical([10, 20, 10])})))
    assert plan.nominal == {"a": ("10", "20")}
    np.testing.assert_array_equal(plan.transform(to_rows(pd.DataFrame({"a": [20, 10, 30]}))), [[0, 1], [1, 0], [0, 0]])


def test_flags_follow_their_columns() -> None:
    rows = to_rows(pd.DataFrame({"a": [1.0, 2.0], "b": [True, False]}))
    assert rows.levels("b").names == ("False", "True")
    assert rows.without("a").levels("b").names == ("False", "True")
    assert rows.renamed(["b", "c"]).levels("c").names == ("False", "True")
    assert rows.renamed(["b", "c"]).levels("b").names == ("1", "2")
