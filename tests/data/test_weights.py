"""Statistics of columns with weights: a row of weight w counts as w rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashpot.data.pictures.images import ImagePreprocessing
from dashpot.data.rows import Rows, levels_of
from dashpot.data.tables.columns import frequent, mean_and_deviation, weighted_quantile
from dashpot.data.tables.preprocessing import Preprocessing

RNG = np.random.default_rng(0)
COUNTS = st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(1, 4)), min_size=1, max_size=12)


@given(COUNTS)
@settings(max_examples=60, deadline=None)
def test_quantiles_and_moments_are_those_of_repeated_rows(pairs: list[tuple[float, int]]) -> None:
    values, weight = np.array([v for v, _ in pairs]), np.array([w for _, w in pairs])
    repeated, at = np.repeat(values, weight), [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(weighted_quantile(values, at, weight=weight), np.quantile(repeated, at), atol=1e-8)
    mean, deviation = mean_and_deviation(values, weight.astype(float))
    np.testing.assert_allclose([mean, deviation], [repeated.mean(), repeated.std()], atol=1e-8)


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_a_table_is_prepared_as_with_repeated_rows(scaling: str) -> None:
    n = 150  # more than 100 distinct texts are sentences, however often they are repeated
    size, gaps = RNG.normal(size=n), np.where(RNG.random(n) < 0.3, np.nan, RNG.normal(size=n))
    words = np.array([" ".join(RNG.choice(["a red", "blue", "house", "car of", "tree"], 6)) for _ in range(n)])
    columns = {"size": size, "gaps": gaps, "note": words.astype(object)}
    weight = RNG.integers(1, 4, n)
    rows = Rows(tuple(columns), columns=columns)
    index = np.repeat(np.arange(n), weight)
    mine = Preprocessing.fit(rows, weight=weight.astype(float), scaling=scaling)
    theirs = Preprocessing.fit(rows.take(index), scaling=scaling)
    assert (mine.feature_names, list(mine.text)) == (theirs.feature_names, ["note"])
    for name in ("median", "mean", "scale"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=1e-9)
    np.testing.assert_allclose(mine.transform(rows), theirs.transform(rows), atol=1e-5)


def test_the_most_frequent_levels_are_so_by_weight() -> None:
    column = levels_of(np.array([f"level {i}" for i in range(101)], dtype=object))
    weight = np.ones(101)
    weight[100] = 2.0
    assert "level 99" not in frequent(column, np.arange(101), weight)
    assert "level 100" not in frequent(column, np.arange(101))


def test_channels_of_images_by_weight() -> None:
    pixels, weight = RNG.integers(0, 256, (5, 2, 3, 3)).astype(np.uint8), np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    mine = ImagePreprocessing.fit(pixels, np.arange(5), weight=weight)
    theirs = ImagePreprocessing.fit(np.repeat(pixels, weight.astype(int), axis=0), np.arange(8))
    np.testing.assert_allclose(mine.mean, theirs.mean, rtol=1e-5)
    np.testing.assert_allclose(mine.scale, theirs.scale, rtol=1e-5)
