"""Images in an .npz that do not fit lie in a mapped file, whatever their layout, and are what they are in memory."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashpot.core.errors import DashpotError, DataError
from dashpot.data import load_problem
from dashpot.data.pictures import cache as picture_cache

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the mapped files, into which all images go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(picture_cache, "free_memory", lambda: 100.0)
    return tmp_path / "cache" / "dashpot" / "images"


def pixels(*shape: int) -> np.ndarray:
    return GENERATOR.integers(0, 256, shape, dtype=np.uint8)


def in_file(x: object) -> bool:
    """Whether no array holds the numbers."""
    assert isinstance(x, np.ndarray)
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x.base is not None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [(9, 8, 10), (9, 8, 10, 3), (9, 3, 8, 10)], ids=str)
def test_images_are_read_from_the_mapped_file(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, save: Any, shape: tuple[int, ...]
) -> None:
    x, y = pixels(*shape), np.arange(9) % 2
    save(tmp_path / "images.npz", X=x, y=y)
    found = load_problem(tmp_path / "images.npz")
    (kept,) = cache.glob("*.pixels")
    assert in_file(found.inputs)
    before = os.stat(kept).st_mtime_ns
    again = load_problem(tmp_path / "images.npz")
    assert os.stat(kept).st_mtime_ns == before
    monkeypatch.setattr(picture_cache, "free_memory", lambda: 1e12)
    small = load_problem(tmp_path / "images.npz")
    assert not in_file(small.inputs)
    for one in (found, again):
        np.testing.assert_array_equal(one.inputs, small.inputs)
        assert one.fingerprint == small.fingerprint
    assert tuple(found.prepare(np.arange(9)).x.shape) == np.asarray(small.inputs).shape


def test_training_and_test_images_are_one_file(tmp_path: Path, cache: Path) -> None:
    train, test = pixels(7, 8, 9, 1), pixels(5, 8, 9, 1)
    np.savez(tmp_path / "a.npz", X_train=train, y_train=np.arange(7) % 2, X_test=test, y_test=np.arange(5) % 2)
    found = load_problem(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.asarray(found.inputs)[:, 0], np.concatenate([train, test])[..., 0])
    assert sorted(found.split(0).test) == [7, 8, 9, 10, 11]
    np.savez(tmp_path / "b.npz", X=train, y=np.arange(7) % 2)
    load_problem(tmp_path / "b.npz")
    assert len(list(cache.glob("*.pixels"))) == 2  # files beside each other keep their own
    np.savez(tmp_path / "b.npz", X=train[::-1], y=np.arange(7) % 2)
    os.utime(tmp_path / "b.npz", ns=(1, 1))
    np.testing.assert_array_equal(np.asarray(load_problem(tmp_path / "b.npz").inputs)[:, 0], train[::-1, ..., 0])
    assert len(list(cache.glob("*.pixels"))) == 2


def test_what_is_no_image_of_bytes_is_read_as_ever(tmp_path: Path, cache: Path) -> None:
    y = np.arange(20) % 2
    for name, x in (
        ("numbers", pixels(20, 8, 9).astype(np.float32)),
        ("signals", pixels(20, 2, 40)),
        ("table", pixels(20, 9)),
        ("columns", np.asfortranarray(pixels(20, 8, 9))),
    ):
        np.savez(tmp_path / f"{name}.npz", X=x, y=y)
        assert len(load_problem(tmp_path / f"{name}.npz").inputs) == 20
    assert not cache.exists()


def test_errors_are_those_of_small_files(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "rows.npz", X=pixels(9, 8, 8), y=np.arange(8) % 2)
    with pytest.raises(DataError, match="a target for each row, got 9 rows in X and 8 targets"):
        load_problem(tmp_path / "rows.npz")
    np.savez(tmp_path / "four.npz", X=pixels(9, 8, 8, 8), y=np.arange(9) % 3)
    with pytest.raises(DataError, match="with 1 or 3 channels"):
        load_problem(tmp_path / "four.npz")
    np.savez_compressed(tmp_path / "whole.npz", X=pixels(40, 30, 30), y=np.arange(40) % 2)
    with zipfile.ZipFile(tmp_path / "whole.npz") as file:
        at = file.getinfo("X.npy").header_offset + 2000
    held = bytearray((tmp_path / "whole.npz").read_bytes())
    held[at : at + 50] = bytes(50)
    (tmp_path / "broken.npz").write_bytes(held)
    with pytest.raises(DashpotError, match=r"broken.npz must be a readable .npz, got"):
        load_problem(tmp_path / "broken.npz")
    assert not list(cache.glob("*.pixels"))
    monkeypatch.setattr(picture_cache, "free_memory", lambda: 1e12)
    with pytest.raises(DashpotError, match=r"broken.npz must be a readable .npz, got"):
        load_problem(tmp_path / "broken.npz")
