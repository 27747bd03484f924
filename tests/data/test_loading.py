"""Reading, splitting and preparing data, and every way in which they can be bad."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from PIL import Image

import dashpot
from dashpot.data import DataWarning, ImagePreprocessing, Preprocessing, load_problem, load_rows
from dashpot.data.problem import Problem
from dashpot.data.rows import Rows, to_rows


def table(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(5, 2, n),
            "count": rng.integers(0, 30, n),
            "colour": rng.choice(["red", "green", "blue"], n),
            "target": np.where(np.arange(n) % 4 == 0, "yes", "no"),
        }
    )


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    table().to_csv(path, index=False)
    return path


def test_every_format_gives_the_same_problem(tmp_path: Path, csv: Path) -> None:
    packed, parquet = tmp_path / "table.csv.gz", tmp_path / "table.parquet"
    packed.write_bytes(gzip.compress(csv.read_bytes()))
    pl.read_csv(csv).write_parquet(parquet)
    prints = {load_problem(path, "target").fingerprint for path in (csv, packed, parquet)}
    assert len(prints) == 1


def test_splits_are_stratified_disjoint_and_whole(csv: Path) -> None:
    problem = load_problem(csv, "target")
    split = problem.split(0)
    assert sorted(np.concatenate([split.train, split.valid, split.test])) == list(range(40))
    assert [len(part) for part in (split.train, split.valid, split.test)] == [24, 8, 8]
    for part in (split.train, split.valid, split.test):
        assert (problem.labels[part] == problem.classes.index("yes")).mean() == pytest.approx(0.25, abs=0.01)
    assert not np.array_equal(split.test, problem.split(1).test)


def test_tiny_classes_are_in_every_part() -> None:
    problem = Problem("tiny", Rows(("a",), matrix=np.arange(33.0)[:, None]), np.array([0] * 30 + [1] * 3))
    for part in vars(problem.split(0)).values():
        assert set(problem.labels[part]) == {0, 1}


def test_a_fixed_test_part_stays_fixed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        X_train=rng.random((40, 3)),
        y_train=np.arange(40) % 2,
        X_test=rng.random((10, 3)),
        y_test=np.arange(10) % 2,
    )
    problem = load_problem(tmp_path / "a.npz")
    for seed in (0, 1):
        split = problem.split(seed)
        assert list(split.test) == list(range(40, 50))
        assert (len(split.train), len(split.valid)) == (30, 10)


def test_statistics_come_from_the_training_rows_only() -> None:
    x = np.array([[0.0], [2.0], [4.0], [1000.0]])
    out = Preprocessing.fit(Rows(("a",), matrix=x), np.array([0, 1, 2])).transform(Rows(("a",), matrix=x))
    np.testing.assert_allclose(out[:3, 0], (x[:3, 0] - 2) / np.std([0, 2, 4]), rtol=1e-6)


def test_missing_unseen_and_mixed_columns() -> None:
    frame = pl.DataFrame({"n": [1.0, None, 3.0, 5.0], "c": ["a", None, "b", "a"], "flag": [True, False, True, None]})
    plan = Preprocessing.fit(to_rows(frame))
    out = plan.transform(to_rows(frame))
    columns = dict(zip(plan.feature_names, out.T, strict=True))
    median = 3.0
    filled = np.array([1.0, median, 3.0, 5.0])
    np.testing.assert_allclose(columns["n"], (filled - filled.mean()) / filled.std(), rtol=1e-6)
    assert list(columns["n is missing"]) == [0, 1, 0, 0]
    assert list(columns["c=a"]) == [1, 0, 0, 1]
    assert list(columns["c=(missing)"]) == [0, 1, 0, 0]
    unseen = plan.transform(to_rows(pl.DataFrame({"n": [2.0], "c": ["never"], "flag": [True]})))
    assert not any(unseen[0, i] for i, name in enumerate(plan.feature_names) if name.startswith("c="))


@pytest.mark.parametrize("kind", ["numpy", "pandas", "polars", "sparse", "objects"])
def test_every_container_gives_the_same_features(kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(12, 3))
    names = ["x0", "x1", "x2"]
    given = {
        "numpy": x,
        "pandas": pd.DataFrame(x, columns=names),
        "polars": pl.DataFrame(x, schema=names),
        "sparse": scipy.sparse.csr_array(x),
        "objects": x.astype(object),
    }[kind]
    expected = (x - x.mean(0)) / x.std(0)
    rows = to_rows(given)
    np.testing.assert_allclose(Preprocessing.fit(rows).transform(rows), expected, rtol=1e-5)


def test_many_levels_share_one_column() -> None:
    values = np.array([f"v{min(i, 150 + i % 3)}" for i in range(400)], dtype=object)
    plan = Preprocessing.fit(Rows(("c",), columns={"c": values}))
    assert len(plan.nominal["c"]) == 101
    assert plan.transform(Rows(("c",), columns={"c": values})).sum() == 400


def test_preprocessing_is_plain_json() -> None:
    frame = table().drop(columns="target")
    plan = Preprocessing.fit(to_rows(frame))
    again = Preprocessing.from_dict(json.loads(json.dumps(plan.to_dict())))
    np.testing.assert_array_equal(again.transform(to_rows(frame)), plan.transform(to_rows(frame)))


def test_prediction_finds_columns_by_name(tmp_path: Path, csv: Path) -> None:
    plan = Preprocessing.fit(to_rows(table().drop(columns="target")))
    shuffled = tmp_path / "shuffled.csv"
    table()[["colour", "target", "size", "count"]].assign(extra=1).to_csv(shuffled, index=False)
    with pytest.warns(DataWarning, match="ignored: extra"):
        x, _ = load_rows(shuffled, plan, "target")
    np.testing.assert_array_equal(x.numpy(), plan.transform(to_rows(table().drop(columns="target"))))
    table().drop(columns=["size", "colour"]).to_csv(shuffled, index=False)
    with pytest.raises(dashpot.DataError, match="missing: 'size', 'colour'"):
        load_rows(shuffled, plan, "target")
    table().assign(size="big").to_csv(shuffled, index=False)
    with pytest.raises(dashpot.DataError, match="column 'size' must hold numbers.*'big'"):
        load_rows(shuffled, plan, "target")


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        (lambda t: t, "targt", "Did you mean 'target'"),
        (lambda t: t, None, "target must name the column"),
        (lambda t: t.head(0), "target", "empty table"),
        (lambda t: t.assign(target="yes"), "target", "at least 2 classes, got only 'yes'"),
        (
            lambda t: t.assign(target=[f"c{i}" for i in range(len(t))]),
            "target",
            "3 rows per class, got 40 rows for 40 classes",
        ),
        (lambda t: t.assign(target=["a"] * 40), "target", "at least 2 classes, got only 'a'"),
        (lambda t: t.assign(target=[None] * 3 + ["a", "b"] * 18 + ["a"]), "target", "missing in 3 of 40"),
        (
            lambda t: t.assign(size=[np.inf] * 2 + [1.0] * 38),
            "target",
            "column 'size' must hold finite numbers, got infinity in 2 rows",
        ),
        (lambda t: t[["target"]].assign(a=1.0, b=np.nan), "target", "must have a column that varies"),
        (lambda t: t.assign(target=np.arange(40) + 0.5)[["target"]], "target", "besides the target"),
    ],
)
def test_bad_tables(tmp_path: Path, change: object, target: str | None, message: str) -> None:
    path = tmp_path / "bad.csv"
    change(table()).to_csv(path, index=False)  # type: ignore[operator]  # a function of the case
    with pytest.raises(dashpot.DataError, match=message):
        problem = load_problem(path, target)
        problem.prepare(problem.split(0).train)


def test_constant_and_empty_columns_are_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table().assign(same=3, never=np.nan).to_csv(path, index=False)
    problem = load_problem(path, "target")
    with pytest.warns(DataWarning, match="left out: same, never"):
        prepared = problem.prepare(problem.split(0).train)
    assert "same" not in prepared.feature_names


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(dashpot.StorageError, match="must exist"):
        load_problem(tmp_path / "absent.csv", "y")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(dashpot.DataError, match="empty file"):
        load_problem(tmp_path / "empty.csv", "y")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(dashpot.DataError, match=r"must be \.csv"):
        load_problem(tmp_path / "a.docx", "y")
    np.savez(tmp_path / "text.npz", X=np.array([["a"]] * 9), y=np.arange(9) % 2)
    with pytest.raises(dashpot.DataError, match="X must hold numbers"):
        load_problem(tmp_path / "text.npz")
    np.savez(tmp_path / "names.npz", A=np.ones(3))
    with pytest.raises(dashpot.DataError, match="must hold X_train"):
        load_problem(tmp_path / "names.npz")
    np.savez(tmp_path / "objects.npz", X=np.array([{}], dtype=object), y=np.ones(1))
    with pytest.raises(dashpot.DataError, match="plain arrays"):
        load_problem(tmp_path / "objects.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "names.npz").read_bytes()[:50])
    with pytest.raises((dashpot.StorageError, dashpot.DataError)):
        load_problem(tmp_path / "cut.npz")


def test_tasks_are_guessed_and_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    table().assign(target=np.arange(40) * 1.5).to_csv(path, index=False)
    assert load_problem(path, "target").task == "regression"
    assert load_problem(path, "count").task == "regression"
    assert load_problem(path, "colour").task == "classification"
    with pytest.raises(dashpot.DataError, match="must be numbers, got text"):
        load_problem(path, "colour", task="regression")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            size = (9, 12) if i == 0 else (10, 8)
            Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(
                tmp_path / "images" / name / f"{i}.png"
            )
    return tmp_path / "images"


class TestImages:
    def test_folders(self, folder: Path) -> None:
        with pytest.warns(DataWarning, match="2 of 12 images are not 10 pixels wide and 8 high"):
            problem = load_problem(folder)
        assert (problem.kind, problem.classes, problem.n) == ("image", ("cats", "dogs"), 12)
        prepared = problem.prepare(problem.split(0).train)
        assert prepared.x.shape == (12, 3, 8, 10)  # the most frequent size
        assert prepared.x.dtype == torch.uint8
        assert prepared.modality == "image"
        train = prepared.standardized()[problem.split(0).train]
        np.testing.assert_allclose(train.mean(dim=(0, 2, 3)).numpy(), 0, atol=1e-5)
        np.testing.assert_allclose(train.std(dim=(0, 2, 3), correction=0).numpy(), 1, atol=1e-4)
        plan = ImagePreprocessing.from_dict(json.loads(json.dumps(prepared.preprocessing.to_dict())))
        x, names = load_rows(folder, plan)
        np.testing.assert_array_equal(x.numpy(), prepared.x.numpy())
        assert names[0] == "cats/0.png"

    def test_grey_stays_one_channel(self, tmp_path: Path) -> None:
        np.savez(
            tmp_path / "a.npz",
            X=np.random.default_rng(0).integers(0, 255, (9, 8, 8), dtype=np.uint8),
            y=np.arange(9) % 3,
        )
        problem = load_problem(tmp_path / "a.npz")
        assert problem.prepare(problem.split(0).train).x.shape == (9, 1, 8, 8)

    def test_truncated_and_corrupt_files_are_named(self, folder: Path) -> None:
        path = folder / "cats" / "3.png"
        whole = path.read_bytes()
        for broken in (whole[: len(whole) // 2], b"not an image"):
            path.write_bytes(broken)
            with pytest.raises(dashpot.DataError, match=r"image .*cats/3\.png must be complete"):
                load_problem(folder)

    def test_folders_without_classes(self, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "none").mkdir()
        with pytest.raises(dashpot.DataError, match="must hold images"):
            load_problem(tmp_path / "none")
        (folder / "loose.png").write_bytes((folder / "cats" / "1.png").read_bytes())
        with pytest.raises(dashpot.DataError, match="1 image lies outside"):
            load_problem(folder)
