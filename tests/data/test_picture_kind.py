"""Which images are photographs and which are glyphs."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits, load_sample_images

import dashpot
from dashpot.data import ImagePreprocessing, Problem
from dashpot.data.pictures.kind import picture_kind
from dashpot.data.rows import Rows


def letters(ink: int, page: int, size: int = 24) -> np.ndarray:
    """Letters drawn by Pillow, uint8 [n, 1, size, size]."""
    drawn = []
    for letter in "ABCDEFGHKLMN":
        image = Image.new("L", (size, size), page)
        ImageDraw.Draw(image).text((8, 6), letter, fill=ink)
        drawn.append(np.asarray(image))
    return np.stack(drawn)[:, None]


def photos(size: int = 32) -> np.ndarray:
    """Pieces of scikit-learn's two photographs, uint8 [n, 3, size, size]."""
    pieces = []
    for image in load_sample_images().images:
        pieces += [image[i : i + size, j : j + size] for i in range(0, 380, 64) for j in range(0, 600, 64)]
    return np.stack(pieces).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(("ink", "page"), [(255, 0), (0, 255), (200, 30), (20, 140)])
def test_letters_are_glyphs_on_any_ground(ink: int, page: int) -> None:
    kind, ground = picture_kind(letters(ink, page))
    assert kind == "glyph"
    assert ground == (1.0 if page > ink else 0.0)


def test_digits_are_glyphs_in_any_range_and_number_of_equal_channels() -> None:
    x = load_digits().images[:, None]
    for given in (x, x / 16, x.astype(np.uint8), x * 15 - 100, np.repeat(x, 3, axis=1)):
        assert picture_kind(given) == ("glyph", 0.0)


def test_letters_saved_in_colours_and_compressed_are_glyphs() -> None:
    read = []
    for letter in letters(255, 0):
        held = BytesIO()
        Image.fromarray(letter[0]).convert("RGB").save(held, "JPEG", quality=80)
        read.append(np.asarray(Image.open(held)).transpose(2, 0, 1))
    assert picture_kind(np.stack(read))[0] == "glyph"


def test_photographs_are_photographs_in_colours_and_in_grey() -> None:
    x = photos()
    assert picture_kind(x)[0] == "photo"
    assert picture_kind(x.mean(axis=1, keepdims=True))[0] == "photo"


def test_colours_on_a_plain_ground_are_photographs() -> None:
    """Things on white: what is mirrored is still the same thing."""
    x = np.full((6, 3, 16, 16), 255, dtype=np.uint8)
    x[:, 0, 5:11, 5:11] = 40
    assert picture_kind(x)[0] == "photo"


@pytest.mark.parametrize("value", [0, 255])
def test_images_of_one_value_are_no_glyphs(value: int) -> None:
    assert picture_kind(np.full((4, 1, 8, 8), value, dtype=np.uint8))[0] == "photo"
    assert picture_kind(np.full((4, 1, 1, 1), value, dtype=np.uint8))[0] == "photo"


def test_the_kind_is_found_by_the_training_images_and_kept() -> None:
    x = np.concatenate([letters(255, 0), np.random.default_rng(0).integers(0, 255, (30, 1, 24, 24), dtype=np.uint8)])
    plan = ImagePreprocessing.fit(x, np.arange(12))
    assert (plan.pictures, plan.ground) == ("glyph", 0.0)
    assert ImagePreprocessing.fit(x, np.arange(12, 42)).pictures == "photo"
    assert ImagePreprocessing.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    older = {key: value for key, value in plan.to_dict().items() if key not in ("pictures", "ground")}
    assert ImagePreprocessing.from_dict(older).pictures is None


def test_the_kind_may_be_said() -> None:
    problem = Problem("letters", letters(255, 0), np.arange(12) % 2)
    prepared = problem.prepare(np.arange(12))
    assert prepared.with_pictures("photo").preprocessing.to_dict()["pictures"] == "photo"
    assert prepared.with_pictures(None) is prepared
    table = Problem("rows", Rows(("a",), matrix=np.arange(12.0)[:, None]), np.arange(12) % 2).prepare(np.arange(12))
    with pytest.raises(dashpot.ConfigError, match="pictures must be None for other data than images, got 'glyph'"):
        table.with_pictures("glyph")
