"""Table files as people have them: odd headers, row numbers, words for missing, codes that look like numbers, extreme
values.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import dashpot
from dashpot.data import DataWarning, Preprocessing, load_problem, load_rows
from dashpot.data.rows import Rows


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def lines(*columns: list[str], n: int = 30) -> list[str]:
    """n rows that go round through each column's values, and a target of two classes."""
    return [",".join([*(column[i % len(column)] for column in columns), "ab"[i % 2]]) for i in range(n)]


def fitted(path: Path) -> Preprocessing:
    problem = load_problem(path, "t")
    plan = problem.prepare(np.arange(problem.n)).preprocessing
    assert isinstance(plan, Preprocessing)
    return plan


class TestNamesThatLookLikeNumbers:
    @pytest.mark.parametrize(
        ("training", "new"),
        [
            (["01067", "A12", "20095"], ["01067", "20095"]),
            (["true", "false", "unknown"], ["true", "false"]),
            (["True", "False", "unknown"], ["False", "True"]),
            (["1.10", "beta"], ["1.10"]),
        ],
    )
    def test_are_met_where_new_rows_hold_nothing_else(
        self, tmp_path: Path, training: list[str], new: list[str]
    ) -> None:
        plan = fitted(write(tmp_path / "a.csv", "x,t", *lines(training)))
        x, _ = load_rows(write(tmp_path / "new.csv", "x", *new), plan)
        found = [plan.feature_names[row.argmax()] if row.any() else "" for row in x.numpy()]
        assert found == [f"x={value}" for value in new]

    def test_truth_values_of_a_parquet_file_are_met(self, tmp_path: Path) -> None:
        plan = fitted(write(tmp_path / "a.csv", "x,t", *lines(["true", "false", "unknown"])))
        pl.DataFrame({"x": [True, False, None]}).write_parquet(tmp_path / "new.parquet")
        x, _ = load_rows(tmp_path / "new.parquet", plan)
        assert [plan.feature_names[i] for i in x[:2].argmax(dim=1)] == ["x=true", "x=false"]
        assert not x[2].any()


class TestHeaders:
    def test_names_that_repeat_are_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "x,t,t", *lines(["1", "2", "3"], ["a", "b"]))
        with pytest.raises(
            dashpot.DataError, match="column names of a.csv must be different from each other, got 't' more than once"
        ):
            load_problem(path, "t")

    def test_a_name_that_only_looks_like_a_repeat_is_fine(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "x,x_duplicated_0,t", *lines(["1", "2", "3"], ["4", "5"]))
        assert load_problem(path, "t").inputs.names == ("x", "x_duplicated_0")

    @pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
    def test_row_numbers_are_no_input(self, tmp_path: Path, name: str) -> None:
        numbers = [str(i) for i in range(5, 35)]
        path = write(tmp_path / "a.csv", f"{name},x,t", *lines(numbers, ["1", "2", "3"]))
        with pytest.warns(DataWarning, match=f"column '{name}' is not an input: it numbers the rows"):
            problem = load_problem(path, "t")
        assert problem.inputs.names == ("x",)
        plan = problem.prepare(np.arange(30)).preprocessing
        x, _ = load_rows(path, plan, "t")  # says nothing of the column
        assert x.shape == (30, 1)

    def test_numbers_that_do_not_count_rows_stay(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", ",x,t", *lines(["4", "2", "9"], ["1", "2", "3"]))
        plan = fitted(path)
        assert plan.numeric == ("", "x")
        x, _ = load_rows(write(tmp_path / "new.csv", ",x", "1,2", "2,3"), plan)  # here they do, and are still needed
        assert x.shape == (2, 2)

    @pytest.mark.parametrize(("mark", "cells"), [(";", ["1.5", "2.5"]), ("\t", ["1.5", "2.5"]), (";", ["1,5", "2,5"])])
    def test_other_separators_are_found(self, tmp_path: Path, mark: str, cells: list[str]) -> None:
        path = write(tmp_path / "a.csv", f"x{mark}t", *(f"{cells[i % 2]}{mark}{'ab'[i % 2]}" for i in range(20)))
        problem = load_problem(path, "t")
        assert problem.inputs.column("x")[:3].tolist() == [1.5, 2.5, 1.5]

    def test_brackets_in_a_files_name_are_no_pattern(self, tmp_path: Path) -> None:
        path = write(tmp_path / "data [1].csv", "x,t", *lines(["1", "2", "3"]))
        assert load_problem(path, "t").n == 30
        pl.read_csv(path, glob=False).write_parquet(tmp_path / "data [1].parquet")
        assert load_problem(tmp_path / "data [1].parquet", "t").n == 30


class TestMissingWords:
    @pytest.mark.parametrize("word", ["", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL"])
    def test_leave_a_column_of_numbers_one(self, tmp_path: Path, word: str) -> None:
        plan = fitted(write(tmp_path / "a.csv", "x,y,t", *lines(["1", "2", word], ["5", "6", "7"])))
        assert (plan.numeric, plan.indicated, plan.median) == (("x", "y"), ("x",), (1.5, 6.0))

    @pytest.mark.parametrize("odd", ["1;5", "unknown", "x7"])
    def test_a_column_of_numbers_that_is_text_is_told(self, tmp_path: Path, odd: str) -> None:
        values = [str(i) for i in range(19)]
        path = write(tmp_path / "a.csv", "x,t", *lines([*values, odd], n=40))
        with pytest.warns(
            DataWarning, match="column 'x' is read as text, though (95|100)% of it look like numbers, because of "
        ):
            load_problem(path, "t")

    @pytest.mark.parametrize("values", [["1", "2", "x"], ["01", "02", "A3", "B4"], ["red", "blue"]])
    def test_of_names_nothing_is_told(self, tmp_path: Path, values: list[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_problem(write(tmp_path / "a.csv", "x,t", *lines(values)), "t")


class TestTargets:
    def test_large_neighbours_are_classes_of_their_own(self, tmp_path: Path) -> None:
        ids = [2**53, 2**53 + 1]
        path = write(tmp_path / "a.csv", "x,t", *(f"{i},{ids[i % 2]}" for i in range(30)))
        assert load_problem(path, "t").classes == ("9007199254740992", "9007199254740993")

    def test_truth_values_keep_their_names(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "x,t", *(f"{i},{['true', 'false'][i % 2]}" for i in range(30)))
        problem = load_problem(path, "t")
        assert problem.classes == ("false", "true")
        assert problem.labels[:4].tolist() == [1, 0, 1, 0]
        assert load_problem(path, "t", "regression").labels[:4].tolist() == [1, 0, 1, 0]
        path.write_text(path.read_text().replace("0,true", "0,", 1))
        with pytest.raises(dashpot.DataError, match="missing in 1 of 30"):
            load_problem(path, "t")

    def test_need_data(self) -> None:
        with pytest.raises(dashpot.ConfigError, match="target must be given together with data, got 't'"):
            load_problem(None, "t")


class TestExtremes:
    def test_small_units_are_no_constant(self) -> None:
        x = np.array([1.0, 2.0, 4.0]) * 1e-15
        plan = Preprocessing.fit(Rows(("a",), matrix=x[:, None]))
        np.testing.assert_allclose(
            plan.transform(Rows(("a",), matrix=x[:, None]))[:, 0], (x - x.mean()) / x.std(), rtol=1e-6
        )

    @pytest.mark.parametrize("constant", [0.0, 0.1, 1e-300, -7e20])
    def test_constants_are(self, constant: float) -> None:
        x = np.column_stack([np.full(9, constant), np.arange(9.0)])
        with pytest.warns(DataWarning, match="left out: a"):
            assert Preprocessing.fit(Rows(("a", "b"), matrix=x)).numeric == ("b",)

    @pytest.mark.parametrize("scaling", ["standard", "robust"])
    def test_a_spread_beyond_all_numbers_is_told(self, scaling: str) -> None:
        x = np.column_stack([np.arange(4.0), [1e308, -1e308, 1e308, -1e308]])
        with pytest.raises(
            dashpot.DataError, match="column 'b' must hold numbers with a finite spread, got values up to 1e\\+308"
        ):
            Preprocessing.fit(Rows(("a", "b"), matrix=x), scaling=scaling)

    @pytest.mark.parametrize("scaling", ["standard", "robust"])
    @pytest.mark.parametrize("far", [1e60, -1.7e308])
    def test_new_values_beyond_float32_are_told(self, scaling: str, far: float) -> None:
        rows = Rows(("a", "b"), matrix=np.column_stack([np.arange(9.0), np.arange(9.0) / 100]))
        plan = Preprocessing.fit(rows, scaling=scaling)
        with pytest.raises(
            dashpot.DataError, match="column 'b' must hold numbers near those of training, got .* in row 2"
        ):
            plan.transform(Rows(("a", "b"), matrix=np.array([[0.0, 0.0], [1.0, far]])))

    def test_a_column_of_which_only_gaps_count_must_be_there(self, tmp_path: Path) -> None:
        plan = fitted(write(tmp_path / "a.csv", "x,c,t", *lines(["1", "2", "3"], ["1", ""])))
        assert (plan.numeric, plan.indicated) == (("x",), ("c",))
        with pytest.raises(dashpot.DataError, match="missing: 'c'"):
            load_rows(write(tmp_path / "new.csv", "x", "1"), plan)
