"""Statistics of pixels are taken some images at a time, and are those of all pixels together."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from dashpot.core.errors import DataError
from dashpot.data import ImagePreprocessing
from dashpot.data.pictures.images import as_pixels
from dashpot.data.pictures.kind import picture_kind
from dashpot.data.pictures.values import VALUES, mean_and_deviation, pieces, pixel_range, unit

GENERATOR = np.random.default_rng(0)


def images(dtype: Any) -> np.ndarray:
    """23 images of 3 x 300 x 310, which are more than are converted at once."""
    x = GENERATOR.integers(0, 256, (23, 3, 300, 310)) * np.array([1.0, 0.5, 0.01]).reshape(3, 1, 1)
    assert x.size > 2 * VALUES
    return x.astype(dtype) if np.dtype(dtype).kind in "iu" else (x / 100 - 1).astype(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_mean_and_deviation_are_those_of_all_pixels_in_float64(dtype: Any, weighted: bool) -> None:
    x, rows = images(dtype), np.arange(22, 1, -2)
    low, high = pixel_range(x, rows)
    whole = (x[rows].astype(np.float64) - low) / (high - low)
    share = GENERATOR.random(len(rows)) if weighted else None
    each = np.ones(len(rows)) if share is None else share
    mean = np.average(whole.mean(axis=(2, 3)), axis=0, weights=each)
    second = np.average(((whole - mean[:, None, None]) ** 2).mean(axis=(2, 3)), axis=0, weights=each)
    found = mean_and_deviation(x, rows, low, high, share)
    np.testing.assert_allclose(found[0], mean, rtol=1e-6)
    np.testing.assert_allclose(found[1], np.sqrt(second), rtol=1e-5)


def test_statistics_of_bytes_are_exact() -> None:
    x = np.full((5, 2, 64, 64), 255, dtype=np.uint8)
    x[:, 1] = np.arange(256, dtype=np.uint8).repeat(16).reshape(64, 64)
    mean, deviation = mean_and_deviation(x, np.arange(5), 0.0, 255.0)
    assert mean[0] == 1.0
    assert deviation[0] == 0.0
    assert mean[1] * 255 == 127.5
    assert deviation[1] == np.sqrt((256**2 - 1) / 12) / 255


def test_a_channel_of_one_value_has_scale_one_with_weights_too() -> None:
    x = np.full((6, 1, 100, 100), 37, dtype=np.uint8)
    weight = np.array([0.1, 0.2, 0.3, 1.0, 2.0, 3.0])
    assert ImagePreprocessing.fit(x, np.arange(6), weight=weight).scale == (1.0,)
    assert ImagePreprocessing.fit(x, np.arange(6)).scale == (1.0,)


def test_the_range_is_that_of_the_rows_over_all_pieces() -> None:
    x = images(np.float64)
    x[0, 0, 0, 0], x[-1, 0, 0, 0] = -50.0, 90.0
    assert pixel_range(x) == (-50.0, 90.0)
    low, high = pixel_range(x, np.arange(1, 22))
    assert (low, high) == (x[1:22].min(), x[1:22].max())


def test_pieces_are_all_rows_in_order() -> None:
    x = images(np.uint8)
    assert np.array_equal(np.concatenate(list(pieces(x))), x)
    rows = np.array([4, 4, 0, 22, 7] * 5)
    assert np.array_equal(np.concatenate(list(pieces(x, rows))), x[rows])
    assert max(part.size for part in pieces(x)) <= VALUES


def test_learning_from_bytes_takes_far_less_than_a_copy_of_them() -> None:
    x = GENERATOR.integers(0, 256, (400, 3, 224, 224), dtype=np.uint8)
    tracemalloc.start()
    preprocessing = ImagePreprocessing.fit(x, np.arange(400))
    held = preprocessing.transform(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.shares_memory(held, x)
    assert peak < 4 * x.nbytes  # a copy as numbers, which had been made, and what its deviation took beside it: 8


def test_fractions_in_the_unit_range_are_taken_as_they_are() -> None:
    x = GENERATOR.random((4, 1, 5, 5), dtype=np.float32)
    assert np.shares_memory(unit(x, 0.0, 1.0), x)
    other = x.astype(np.float64) * 3
    assert np.array_equal(unit(other, 0.0, 3.0), other.astype(np.float32) / np.float32(3))
    assert other.max() > 1


def test_a_pixel_that_is_no_number_is_found_in_any_piece() -> None:
    x = images(np.float32)
    x[21, 2, 299, 309] = np.nan
    with pytest.raises(DataError, match="in 1 of 23 images, the first in row 21"):
        as_pixels("X", x)
    assert as_pixels("X", np.zeros((0, 3, 8, 8), dtype=np.float32)).shape == (0, 3, 8, 8)


def test_large_photographs_are_told_from_glyphs_by_some_of_them() -> None:
    page = np.zeros((60, 1, 448, 448), dtype=np.uint8)
    page[:, :, 100:300, 200:240] = 255
    assert picture_kind(page) == ("glyph", 0.0)
    assert picture_kind(GENERATOR.integers(0, 256, (60, 1, 448, 448), dtype=np.uint8))[0] == "photo"
