"""What texts hold: one rule for every source, with oracles written out by hand."""

from __future__ import annotations

import datetime
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import dashpot
from dashpot.data import DataWarning, Preprocessing, load_problem, load_rows
from dashpot.data.rows import Rows, decided, to_rows
from dashpot.data.tables.reading import Reading

HOUR, DAY = 3_600_000, 86_400_000


def ms(*parts: int) -> float:
    return datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp() * 1000  # type: ignore[misc]  # parts fit


CERTAIN = {
    "thousands": (["1,234,567", "12", "3,456.5"], [1234567, 12, 3456.5]),
    "dollars": (["$1,500.50", "$7", "-$3"], [1500.5, 7, -3]),
    "accounting": (["($1,500)", "$7.25"], [-1500, 7.25]),
    "suffix": (["5 €", "7 €"], [5, 7]),
    "pounds": (["£5.5", "£ 7"], [5.5, 7]),
    "yen": (["¥500", "¥1,700,000"], [500, 1700000]),
    "codes of currencies": (["USD 5", "USD 1,700,000"], [5, 1700000]),
    "percent": (["12%", "7.5 %", "-3%"], [12, 7.5, -3]),
    "units": (["5 cm", "7.5 cm", "12cm"], [5, 7.5, 12]),
    "long units": (["5 km/h", "7 km/h"], [5, 7]),
    "decimal commas": (["1.500,50", "7,5", "12"], [1500.5, 7.5, 12]),
    "zero before a comma": (["0,500", "0,750"], [0.5, 0.75]),
    "spaces": (["1 234", "1\u00a0234\u202f567,5", "7,5"], [1234, 1234567.5, 7.5]),
    "apostrophes": (["1'234.50", "7"], [1234.5, 7]),
    "lakhs": (["1,00,000", "12,34,567.5"], [100000, 1234567.5]),
    "minus sign": (["\u22125", "7"], [-5, 7]),
    "exponents": (["1e3", "2.5E-1"], [1000, 0.25]),
    "spaces around": ([" 5", "7 "], [5, 7]),
    "many digits": (["12345678901234567890123", "1"], [12345678901234567890123.0, 1]),
    "ISO dates": (["2024-01-31", "1970-01-02"], [ms(2024, 1, 31), DAY]),
    "ISO date-times": (["2024-01-31T10:30:00", "1970-01-01 01:00"], [ms(2024, 1, 31, 10, 30), HOUR]),
    "zones": (["1970-01-01T02:00:00+01:00", "1970-01-01T02:00:00Z"], [HOUR, 2 * HOUR]),
    "German dates": (["05.01.2024", "31.12.1999"], [ms(2024, 1, 5), ms(1999, 12, 31)]),
    "the day first": (["05/01/2024", "31/12/1999"], [ms(2024, 1, 5), ms(1999, 12, 31)]),
    "the month first": (["01/05/2024 1:30 PM", "12/31/1999 12:00 am"], [ms(2024, 1, 5, 13, 30), ms(1999, 12, 31)]),
    "months in words": (["5 Jan 2024", "31 December 1999"], [ms(2024, 1, 5), ms(1999, 12, 31)]),
    "American words": (["Jan 5, 2024", "December 31, 1999"], [ms(2024, 1, 5), ms(1999, 12, 31)]),
    "mail dates": (
        ["Fri, 05 Jan 2024 10:00:00 GMT", "Fri, 31 Dec 1999 00:00:00 GMT"],
        [ms(2024, 1, 5, 10), ms(1999, 12, 31)],
    ),
    "months": (["2024-01", "1970-02"], [ms(2024, 1, 1), 31 * DAY]),
    "times": (["01:30", "23:59:59"], [1.5 * HOUR, 24 * HOUR - 1000]),
    "truth": (["TRUE", "false", "True"], [1, 0, 1]),
}
UNCERTAIN = {
    "codes": (["01067", "20095", "00123"], [1067, 20095, 123], "'01067' may be names.*numeric=.*categorical="),
    "compact dates": (["20240131", "19991231"], [20240131, 19991231], "'20240131' may be dates.*--dates"),
    "either order": (["05/01/2024", "06/02/2024"], [ms(2024, 5, 1), ms(2024, 6, 2)], "month first.*--day-first"),
    "either mark": (["1,234", "5,678"], [1234, 5678], "'1,234' may have a decimal comma.*--decimal"),
    "short years": (["31.12.99", "05.01.24"], [ms(1999, 12, 31), ms(2024, 1, 5)], "a year of two digits"),
    "limits": (["<0.5", "1.5", "2.5", "> 7"], [0.5, 1.5, 2.5, 7], "50% of it are limits such as '<0.5'"),
    "some without a unit": (["5 cm", "7"], [5, 7], "'7' is without the unit 'cm'"),
    "a word for missing": (["5", "n.a.", "7", "8"], [5, np.nan, 7, 8], "'n.a.' as missing"),
}
NAMES = {
    "colours": ["red", "blue"],
    "codes with letters": ["A12", "B7", "12C", "13D"],
    "some numbers": ["1", "2", "x"],
    "versions": ["1.2.3", "1.2.4"],
    "ranges": ["5-10", "10-20"],
    "addresses": ["12 Main St", "7 Oak Ave", "9 Elm Rd", "1 Low Ln"],
    "fractions": ["1/2", "3/4"],
    "hashes": ["3f2a9c", "7b11e0", "a0a0a0"],
}


def column(values: list[str], source: str, folder: Path) -> Rows:
    """A table of one column of texts, by any way that they come."""
    if source == "csv":
        pl.DataFrame({"x": values * 6, "t": ["a", "b"] * (3 * len(values))}).write_csv(folder / "a.csv")
        return load_problem(folder / "a.csv", "t").inputs  # type: ignore[return-value]  # a table
    given: dict[str, Any] = {
        "polars": pl.DataFrame({"x": values}),
        "pandas": pd.DataFrame({"x": values}),
        "objects": np.array(values, dtype=object)[:, None],
        "text": np.array(values)[:, None],
        "list": [[value] for value in values],
    }
    rows = given[source]
    return decided(to_rows(np.asarray(rows) if source == "list" else rows, ["x"] if source != "polars" else None))


@pytest.mark.parametrize("source", ["csv", "polars", "pandas", "objects", "text", "list"])
class TestOneRule:
    @pytest.mark.parametrize("name", CERTAIN)
    def test_certain(self, tmp_path: Path, source: str, name: str) -> None:
        values, expected = CERTAIN[name]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rows = column(values, source, tmp_path)
        np.testing.assert_array_equal(rows.column("x")[: len(values)], expected)

    @pytest.mark.parametrize("name", UNCERTAIN)
    def test_uncertain(self, tmp_path: Path, source: str, name: str) -> None:
        values, expected, told = UNCERTAIN[name]
        with pytest.warns(DataWarning, match=f"column 'x' .*{told}") as seen:
            rows = column(values, source, tmp_path)
        assert len(seen) == 1
        np.testing.assert_array_equal(rows.column("x")[: len(values)], expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_names(self, tmp_path: Path, source: str, name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rows = column(NAMES[name], source, tmp_path)
        assert rows.column("x")[: len(NAMES[name])].tolist() == NAMES[name]


def one(values: list[Any], **said: Any) -> Rows:
    return decided(to_rows(pl.DataFrame({"x": values})), Reading.of(**said))


@pytest.mark.filterwarnings("ignore::dashpot.data.DataWarning")
class TestOptions:
    @pytest.mark.parametrize(
        ("values", "said", "expected"),
        [
            (["01067", "20095"], {"categorical": ["x"]}, ["01067", "20095"]),
            (["<0.5", "1.5"], {"categorical": ["x"]}, ["<0.5", "1.5"]),
            (["5", "unknown", "7"], {"numeric": ["x"]}, [5, np.nan, 7]),
            (["5 cm", "7 in"], {"numeric": ["x"]}, [5, 7]),
            (["20240131", "19991231"], {"dates": ["x"]}, [ms(2024, 1, 31), ms(1999, 12, 31)]),
            (["2024-01-31", "soon"], {"dates": ["x"]}, [ms(2024, 1, 31), np.nan]),
            (["05/01/2024", "06/02/2024"], {"day_first": True}, [ms(2024, 1, 5), ms(2024, 2, 6)]),
            (["1,234", "5,678"], {"decimal": ","}, [1.234, 5.678]),
            (["1.234", "5.678"], {"decimal": ","}, [1234, 5678]),
        ],
    )
    def test_settle(self, values: list[str], said: dict[str, Any], expected: list[Any]) -> None:
        found = one(values, **said).column("x")
        if found.dtype == object:
            assert found.tolist() == expected
        else:
            np.testing.assert_array_equal(found, expected)

    def test_columns_that_have_a_type(self) -> None:
        frame = pl.DataFrame({"x": [20240131, 19991231], "y": [1, 2], "z": [True, False]})
        rows = decided(to_rows(frame), Reading.of(dates=["x"], categorical=["y", "z"]))
        np.testing.assert_array_equal(rows.column("x"), [ms(2024, 1, 31), ms(1999, 12, 31)])
        assert (rows.column("y").tolist(), rows.column("z").tolist()) == (["1", "2"], ["True", "False"])

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"numeric": ["X"]}, "numeric must be a list of names of columns of the table, got 'X'"),
            ({"numeric": "x"}, r"numeric must be a list of names of columns, got 'x'. Write \['x'\]"),
            ({"dates": ["x"], "numeric": ["x"]}, "dates must be without the columns of numeric, got 'x'"),
            ({"decimal": ";"}, "decimal must be '.' or ',', got ';'"),
        ],
    )
    def test_that_cannot_be(self, said: dict[str, Any], message: str) -> None:
        with pytest.raises(dashpot.ConfigError, match=message):
            one(["1", "2"], **said)

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (["01067", "20095"], {"categorical": ["x"]}),
            (["01067", "20095"], {"numeric": ["x"]}),
            (["20240131", "19991231"], {"numeric": ["x"]}),
            (["20240131", "19991231"], {"dates": ["x"]}),
            (["<0.5", "1.5"], {"numeric": ["x"]}),
            (["5", "n.a.", "7", "8"], {"categorical": ["x"]}),
            (["1,234", "5,678"], {"decimal": "."}),
            (["05/01/2024", "06/02/2024"], {"day_first": False}),
        ],
    )
    def test_silence_the_warning(self, values: list[str], said: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one(values, **said)


def test_other_columns_show_the_decimal_mark() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        commas = decided(to_rows(pl.DataFrame({"x": ["1,234", "5,678"], "y": ["0,5", "1,5"]})))
        points = decided(to_rows(pl.DataFrame({"x": ["1,234", "5,678"], "y": ["0.5", "1.5"]})))
    assert commas.column("x").tolist() == [1.234, 5.678]
    assert points.column("x").tolist() == [1234, 5678]


def test_two_units_are_told() -> None:
    with pytest.warns(DataWarning, match=r"look like numbers with the units \$, €.*--numeric"):
        assert one(["$5", "€7"]).column("x").tolist() == ["$5", "€7"]


@pytest.mark.parametrize(
    ("training", "new", "expected"),
    [
        (["1.500,50", "2,5"], ["1.234", "2.345"], [1234, 2345]),
        (["31/12/1999", "05/01/2024"], ["05/01/2024", "06/02/2024"], [ms(2024, 1, 5), ms(2024, 2, 6)]),
        (["$5", "$1,700"], ["7", "1,234"], [7, 1234]),
        (["TRUE", "FALSE"], ["1", "0"], [1, 0]),
        (["2024-01-31", "1970-01-02"], ["5 Jan 2024"], [ms(2024, 1, 5)]),
    ],
)
def test_new_rows_are_read_by_the_saved_rule(
    tmp_path: Path, training: list[str], new: list[str], expected: list[float]
) -> None:
    plan = Preprocessing.fit(to_rows(pl.DataFrame({"x": training})))
    plan = Preprocessing.from_dict(json.loads(json.dumps(plan.to_dict())))
    want = ((np.array(expected) - plan.mean[0]) / plan.scale[0]).astype(np.float32)
    pl.DataFrame({"x": new}).write_csv(tmp_path / "new.csv")
    pl.DataFrame({"x": new}).write_parquet(tmp_path / "new.parquet")
    for file in ("new.csv", "new.parquet"):
        np.testing.assert_allclose(load_rows(tmp_path / file, plan)[0][:, 0], want, rtol=1e-6)
    np.testing.assert_allclose(plan.transform(to_rows(pd.DataFrame({"x": new})))[:, 0], want, rtol=1e-6)


def test_new_values_that_do_not_fit_are_named(tmp_path: Path) -> None:
    plan = Preprocessing.fit(to_rows(pl.DataFrame({"x": ["5 cm", "7 cm"]})))
    with pytest.raises(
        dashpot.DataError, match="column 'x' must hold numbers, as it did in training; row 2 holds '9 in'"
    ):
        plan.transform(to_rows(pl.DataFrame({"x": ["8 cm", "9 in"]})))


def test_damaged_formats_are_refused() -> None:
    plan = Preprocessing.fit(to_rows(pl.DataFrame({"x": ["5 cm", "7 cm"]}))).to_dict()
    with pytest.raises(ValueError, match="known way"):
        Preprocessing.from_dict({**plan, "formats": {"x": {"kind": "spell"}}})


def test_csv_and_parquet_of_one_table_are_one_table(tmp_path: Path) -> None:
    n = 60
    frame = pl.DataFrame(
        {
            "number": [i * 1.5 for i in range(n)],
            "whole": [i % 7 for i in range(n)],
            "date": [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(n)],
            "moment": [datetime.datetime(2020, 1, 1, 3, 4, 5, 678) + datetime.timedelta(hours=i) for i in range(n)],
            "clock": [datetime.time(i % 24, i) for i in range(n)],
            "flag": [None if i % 5 == 0 else i % 2 == 0 for i in range(n)],
            "colour": [["red", "blue", None][i % 3] for i in range(n)],
            "price": [f"${i},000.50" if i else "$7" for i in range(n)],
            "y": [["1", "01", "1.0"][i % 3] for i in range(n)],
        }
    )
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ipc(tmp_path / "a.feather")
    problems = [load_problem(tmp_path / f"a.{kind}", "y") for kind in ("csv", "parquet", "feather")]
    assert len({problem.fingerprint for problem in problems}) == 1
    assert problems[0].classes == ("01", "1", "1.0")
    plans = [problem.prepare(np.arange(n)) for problem in problems]
    assert plans[0].feature_names == plans[1].feature_names == plans[2].feature_names
    for kind in ("csv", "parquet", "feather"):
        for plan in plans:
            np.testing.assert_array_equal(load_rows(tmp_path / f"a.{kind}", plan.preprocessing, "y")[0], plans[0].x)
