"""Targets of files: labels to the letter, and values by the rule for columns."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import dashpot
from dashpot.cli.fit import fit
from dashpot.cli.predict import predict
from dashpot.data import DataWarning, load_problem

ROWS = 36
LONG = "12345678901234567890123"
LABELS = {
    "zeros": ["007", "7", "07"],
    "truth": ["TRUE", "true", "False"],
    "points": ["1.0", "1", "1.00"],
    "signs": ["+1", "1", "-1"],
    "exponents": ["1e0", "1", "1E0"],
    "dates": ["2024-01-05", "2024-1-5", "05.01.2024"],
    "long": [LONG, LONG[:-1] + "4", LONG[:-1] + "5"],
    "amounts": ["$5", "$5.0", "5"],
}


def table(folder: Path, labels: list[str]) -> Path:
    written = [labels[i % 3] for i in range(ROWS)]
    frame = pl.DataFrame({"x": [float(labels.index(label)) for label in written], "y": written})
    frame.write_csv(folder / "a.csv", quote_style="never")
    frame.write_parquet(folder / "a.parquet")
    return folder / "a.csv"


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_labels_are_what_the_file_writes(tmp_path: Path, name: str, kind: str) -> None:
    labels = LABELS[name]
    table(tmp_path, labels)
    problem = load_problem(tmp_path / f"a.{kind}", "y")
    assert problem.task == "classification"
    assert sorted(problem.classes) == sorted(labels)
    assert [problem.classes[code] for code in problem.labels] == [labels[i % 3] for i in range(ROWS)]


def test_they_are_predicted_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = table(tmp_path, ["007", "7", "1e0"])
    fit(data=path, target="y", with_=None, epochs=150, out=tmp_path / "run")
    predict(run=tmp_path / "run", data=path, out=tmp_path / "p.csv")
    with (tmp_path / "p.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["prediction"] for row in found] == [["007", "7", "1e0"][i % 3] for i in range(ROWS)]
    assert set(found[0]) == {"row", "prediction", "p(007)", "p(7)", "p(1e0)"}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1, 2, 10], ("1", "2", "10")),
        ([1.0, 2.0, 0.5], ("0.5", "1.0", "2.0")),
        ([True, False, True], ("false", "true")),
        ([datetime.date(2024, 1, 5), datetime.date(2023, 12, 31)] * 2, ("2023-12-31", "2024-01-05")),
    ],
)
def test_labels_that_have_a_type(tmp_path: Path, values: list[object], classes: tuple[str, ...]) -> None:
    frame = pl.DataFrame({"x": range(ROWS), "y": [values[i % len(values)] for i in range(ROWS)]})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "a.parquet")
    for kind in ("csv", "parquet"):
        assert load_problem(tmp_path / f"a.{kind}", "y", "classification").classes == classes


def values(folder: Path, cells: list[str], task: str | None = "regression") -> np.ndarray:
    path = folder / "a.csv"
    path.write_text("x;y\n" + "".join(f"{i};{cell}\n" for i, cell in enumerate(cells)))
    return load_problem(path, "y", task).labels


class TestValues:
    @pytest.mark.parametrize(
        ("cells", "expected"),
        [
            (["$1,500.50", "$7", "$8", "$9", "-$3"], [1500.5, 7, 8, 9, -3]),
            (["1.500,50", "7,5", "1,5", "2", "3"], [1500.5, 7.5, 1.5, 2, 3]),
            (["12%", "7.5%", "1%", "2%", "3%"], [12, 7.5, 1, 2, 3]),
            (
                ["1970-01-02", "1970-01-03", "1970-01-04", "1970-01-05", "1970-01-06"],
                [86_400_000 * i for i in range(1, 6)],
            ),
            (["007", "8", "9", "10", "11"], [7, 8, 9, 10, 11]),
        ],
    )
    @pytest.mark.filterwarnings("ignore::dashpot.data.DataWarning")
    def test_are_read_as_columns_are(self, tmp_path: Path, cells: list[str], expected: list[float]) -> None:
        assert values(tmp_path, cells).tolist() == expected

    def test_a_task_is_guessed_by_what_they_are(self, tmp_path: Path) -> None:
        assert values(tmp_path, [f"${i}.5" for i in range(40)], None).tolist() == [i + 0.5 for i in range(40)]

    def test_the_bad_one_is_named_with_its_row(self, tmp_path: Path) -> None:
        with pytest.raises(dashpot.DataError, match="must be numbers, got text such as 'n.a.' in row 4"):
            values(tmp_path, ["1", "2", "3", "n.a.", "5", "6"])

    def test_a_doubt_is_told(self, tmp_path: Path) -> None:
        with pytest.warns(DataWarning, match="the target is read as numbers, though .* limits such as '<0.5'"):
            values(tmp_path, ["<0.5", "1", "2", "3", "4"])


def test_a_class_that_is_called_missing_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, ["EU", "NA", "AS"])
    with pytest.raises(
        dashpot.DataError,
        match="it is missing in 12 of 36, first in row 2, where 'NA' counts as missing. .* if 'NA' is a class",
    ):
        load_problem(path, "y")


def test_large_numbers_are_not_called_constant(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,x,y\n" + "".join(f"{10**17 + i},{i},{'ab'[i % 2]}\n" for i in range(30)))
    problem = load_problem(path, "y")
    with pytest.warns(DataWarning, match="their values differ too little for their size, if at all, left out: id"):
        problem.prepare(np.arange(30))
