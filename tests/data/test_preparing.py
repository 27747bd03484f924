"""Scaling, layout, named test parts and pools, and levels looked up in bulk against a plain loop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import RobustScaler

import dashpot
from dashpot.data import DataWarning, Preprocessing, load_problem, load_rows
from dashpot.data.problem import Problem
from dashpot.data.rows import Rows, levels_of


class TestScaling:
    def test_robust_is_scikit_learns_and_then_bent(self) -> None:
        x = np.random.default_rng(0).standard_t(2, size=(101, 4))
        x[:, 3] = np.exp(x[:, 3])
        rows, train = Rows(tuple("abcd"), matrix=x), np.arange(0, 101, 2)
        scaled = RobustScaler().fit(x[train]).transform(x)
        out = Preprocessing.fit(rows, train, scaling="robust").transform(rows)
        np.testing.assert_allclose(out, scaled / np.sqrt(1 + (scaled / 3) ** 2), rtol=1e-5, atol=1e-6)
        assert np.abs(out).max() <= 3

    def test_where_the_quartiles_meet_half_the_range_counts(self) -> None:
        x = np.array([0.0] * 8 + [-1.0, 5.0])
        plan = Preprocessing.fit(Rows(("a",), matrix=x[:, None]), scaling="robust")
        assert (plan.mean, plan.scale) == ((0.0,), (3.0,))
        z = x / 3
        np.testing.assert_allclose(
            plan.transform(Rows(("a",), matrix=x[:, None]))[:, 0], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6
        )

    def test_gaps_do_not_move_the_quartiles(self) -> None:
        x = np.array([1.0, 2.0, 3.0, 4.0, 5.0] + [np.nan] * 20)
        rows = Rows(("a",), matrix=x[:, None])
        plan = Preprocessing.fit(rows, scaling="robust")
        assert (plan.mean, plan.scale, plan.indicated) == ((3.0,), (2.0,), ("a",))
        assert not plan.transform(rows)[5:, 0].any()

    def test_rounding_is_no_spread(self) -> None:
        x = np.array([0.3] * 6 + [0.1 + 0.2] * 6 + [1.3])
        assert Preprocessing.fit(Rows(("a",), matrix=x[:, None]), scaling="robust").scale == pytest.approx((0.5,))

    def test_problems_pass_it_on_and_the_default_is_standard(self) -> None:
        x = np.random.default_rng(0).exponential(size=(40, 2))
        problem = Problem("a", Rows(("a", "b"), matrix=x), np.arange(40) % 2)
        train = np.arange(20)
        standard, robust = problem.prepare(train), problem.prepare(train, scaling="robust")
        np.testing.assert_allclose(standard.x[train].std(dim=0, correction=0).numpy(), 1, rtol=1e-5)
        np.testing.assert_allclose(np.median(robust.x[train].numpy(), axis=0), 0, atol=0.3)
        assert standard.preprocessing.to_dict()["scaling"] == "standard"
        assert robust.preprocessing.to_dict()["scaling"] == "robust"
        with pytest.raises(dashpot.ConfigError, match="scaling must be standard or robust, got 'minmax'"):
            problem.prepare(train, scaling="minmax")


def test_medians_allow_for_gaps() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    x[:7, 1] = x[3:, 2] = np.nan
    plan = Preprocessing.fit(Rows(tuple("abcd"), matrix=x))
    np.testing.assert_array_equal(plan.median, np.nanmedian(x, axis=0))


def mixed(n: int = 400) -> Rows:
    rng = np.random.default_rng(0)
    columns = {
        "few": rng.choice(np.array(["a", "b", None, "(missing)", "c"], dtype=object), n),
        "size": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        "many": np.array([f"v{int(i)}" for i in rng.exponential(80, n)], dtype=object),
        "code": np.array([str(i) for i in rng.integers(0, 5, n)], dtype=object),
        "other": rng.normal(size=n),
    }
    return Rows(tuple(columns), columns=columns)


def test_one_hot_is_what_a_plain_loop_gives() -> None:
    rows, train = mixed(), np.arange(150, 400)
    plan = Preprocessing.fit(rows, train)
    x = plan.transform(rows)
    layout = plan.layout()
    assert layout.numeric == 3  # two columns and an indicator
    for (name, levels), (start, stop) in zip(plan.nominal.items(), layout.nominal, strict=True):
        texts = ["(missing)" if value is None else str(value) for value in rows.column(name)]
        counts = Counter(texts[i] for i in train)
        top = [level for level, _ in counts.most_common(100)]
        assert levels == (*sorted(top), *(["(other)"] if len(counts) > 100 else []))
        assert plan.feature_names[start:stop] == tuple(f"{name}={level}" for level in levels)
        expected = np.zeros((len(rows), len(levels)))
        for i, text in enumerate(texts):
            if text in top:
                expected[i, levels.index(text)] = 1
            elif "(other)" in levels:
                expected[i, levels.index("(other)")] = 1
        np.testing.assert_array_equal(x[:, start:stop], expected)
    assert layout.text == (x.shape[1], x.shape[1])
    assert len(plan.nominal["many"]) == 101


def test_levels_that_come_as_numbers_are_met() -> None:
    plan = Preprocessing.fit(Rows(("c",), columns={"c": np.array(["1", "2.5", None, "inf"] * 3, dtype=object)}))
    new = np.array([2.5, 1.0, np.nan, np.inf, 9.0])
    out = plan.transform(Rows(("c",), columns={"c": new}))
    names = [plan.nominal["c"][row.argmax()] if row.any() else "" for row in out]
    assert names == ["2.5", "1", "(missing)", "inf", ""]
    assert levels_of(new).codes.tolist() != [0] * 5


@pytest.mark.parametrize("fixed", [None, np.arange(5, 25)])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_pool_is_all_but_the_test_part_of_the_split(fixed: np.ndarray | None, task: str) -> None:
    target = np.arange(100) % 4 if task == "classification" else np.random.default_rng(0).normal(size=100)
    problem = Problem("a", Rows(("a",), matrix=np.arange(100.0)[:, None]), target, task, fixed)
    for seed in (0, 1):
        pool, test = problem.pool_and_test(seed)
        np.testing.assert_array_equal(test, problem.split(seed).test)
        np.testing.assert_array_equal(np.setdiff1d(np.arange(100), test), pool)
        assert len(test) == 20
        if fixed is None and task == "classification":
            assert np.bincount(problem.labels[test]).tolist() == [5] * 4


def named(n: int = 40, parts: tuple[str, ...] = ("train", "Train", "dev", "test")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"a": rng.normal(size=n), "split": np.resize(np.array(parts), n), "target": np.arange(n) // 4 % 2}
    )


class TestNamedParts:
    def test_the_files_own_test_rows_are_the_test_part(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        named().to_csv(path, index=False)
        with pytest.warns(
            DataWarning, match="'split' is not an input: its 10 test rows are the test part, the other 30 rows"
        ):
            problem = load_problem(path, "target")
        assert problem.inputs.names == ("a",)
        for seed in (0, 1):
            assert problem.split(seed).test.tolist() == list(range(3, 40, 4))
        assert not np.array_equal(problem.split(0).valid, problem.split(1).valid)
        x, _ = load_rows(
            path, problem.prepare(problem.split(0).train).preprocessing, "target"
        )  # says nothing of the column
        assert x.shape == (40, 1)

    def test_without_test_rows_the_test_part_is_drawn(self, tmp_path: Path) -> None:
        named(parts=("train", "val")).to_csv(tmp_path / "a.csv", index=False)
        with pytest.warns(DataWarning, match="it names no test rows"):
            problem = load_problem(tmp_path / "a.csv", "target")
        assert problem.fixed_test is None
        assert len(problem.split(0).test) == 8

    @pytest.mark.parametrize("parts", [("train", "test", "elsewhere"), ("1", "2"), ("train", "test", "")])
    def test_any_other_column_of_that_name_is_an_input(self, tmp_path: Path, parts: tuple[str, ...]) -> None:
        named(parts=parts).to_csv(tmp_path / "a.csv", index=False)
        problem = load_problem(tmp_path / "a.csv", "target")
        assert "split" in problem.inputs.names
        assert problem.fixed_test is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.assign(split="test"), "at least 4 rows besides them, got 40 and 0"),
            (lambda t: t.assign(target=[*(["rare"] * 4), *(["a", "b"] * 18)]), None),
            (
                lambda t: t.assign(
                    target=["rare" if s == "test" else "a" if i % 3 else "b" for i, s in enumerate(t["split"])]
                ),
                "outside of the test part.*'rare'",
            ),
            (lambda t: t.drop(columns="a"), "besides the target and 'split'"),
        ],
    )
    @pytest.mark.filterwarnings("ignore::dashpot.data.DataWarning")
    def test_bad_parts(self, tmp_path: Path, change: object, message: str | None) -> None:
        change(named()).to_csv(tmp_path / "a.csv", index=False)  # type: ignore[operator]  # a function of the case
        if message is None:
            load_problem(tmp_path / "a.csv", "target")
            return
        with pytest.raises(dashpot.DataError, match=message):
            load_problem(tmp_path / "a.csv", "target")


def test_bad_targets_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    notes = [f"please answer question {i} now" for i in range(40)]
    pd.DataFrame({"note": notes, "target": notes}).to_csv(path, index=False)
    with pytest.raises(dashpot.DataError, match="regression must be numbers, got text such as 'please"):
        load_problem(path, "target", "regression")
    with pytest.raises(dashpot.DataError, match="3 rows per class, got 40 rows for 40 classes"):
        load_problem(path, "target")
    pd.DataFrame({"note": notes, "target": ["rare"] * 2 + ["a", "b"] * 19}).to_csv(path, index=False)
    with pytest.warns(dashpot.data.DataWarning, match=r"too few rows to be judged in every part.*class 'rare' \(2\)"):
        assert load_problem(path, "target").classes == ("a", "b", "rare")
