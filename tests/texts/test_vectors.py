"""Vectors of words from files that the tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dashpot.core.errors import DataError, StorageError
from dashpot.texts.vectors import read_vectors

LINES = ["red 1 0 0.5", "New York 0 -1e-3 0", "好 2 2 2 ", "red 9 9 9"]
TABLE = np.array([[1, 0, 0.5], [0, -1e-3, 0], [2, 2, 2]])


@pytest.mark.parametrize("first", [["4 3"], []])
def test_text_files_with_and_without_a_first_line(tmp_path: Path, first: list[str]) -> None:
    path = tmp_path / "some.vec"
    path.write_text("\n".join([*first, *LINES]) + "\n", encoding="utf-8-sig")
    found = read_vectors(path)
    assert (found.words, found.width) == (("red", "New York", "好"), 3)
    assert found.table.dtype == np.float32
    assert np.allclose(found.table, TABLE)
    few = read_vectors(path, ["好", "new york", "blue"])
    assert few.words == ("New York", "好")
    assert np.allclose(few.table, TABLE[1:])
    assert read_vectors(path, []).table.shape == (0, 3)


@pytest.mark.parametrize("ending", ["words", "txt"])
def test_arrays_with_their_words_beside(tmp_path: Path, ending: str) -> None:
    array = np.arange(6).reshape(3, 2)
    np.save(tmp_path / "some.npy", array)
    (tmp_path / f"some.{ending}").write_text("a\nB\na\n")
    found = read_vectors(tmp_path / "some.npy")
    assert found.words == ("a", "B")
    assert np.array_equal(found.table, array[:2].astype(np.float32))
    known, table = read_vectors(tmp_path / "some.npy", ["b"]).of(["a", "b"])
    assert known.tolist() == [False, True]
    assert table.tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"red 1 2\nblue 1\n", "line 2: must be a word and 2 numbers"),
        (b"red 1 2\nblue 1 x\n", "line 2: must be a word and finite numbers"),
        (b"1 2\nred 1 nan\n", "line 2: must be a word and finite numbers"),
        (b"red 1 2\n\xff 1 2\n", "line 2: not UTF-8"),
        (b"3 2\nred 1 2\n", "must have 3 words, as its first line says, got 1"),
        (b"red\n", "line 1: must be a word and its numbers"),
        (b"\n", "has no words"),
        (b"0 5\n", "has no words"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_vectors(tmp_path / "bad.txt")


def test_bad_arrays_and_missing_files_are_refused(tmp_path: Path) -> None:
    for name in ("none.vec", "none.npy"):
        with pytest.raises(StorageError, match="cannot be read"):
            read_vectors(tmp_path / name)
    path = tmp_path / "some.npy"
    np.save(path, np.ones((2, 3)))
    with pytest.raises(StorageError, match="one a line"):
        read_vectors(path)
    (tmp_path / "some.txt").write_text("a\n")
    with pytest.raises(DataError, match="2 rows"):
        read_vectors(path)
    (tmp_path / "some.txt").write_text("a\nb\n")
    np.save(path, np.array([[1, 2], [3, np.inf]]))
    with pytest.raises(DataError, match=r"'b', row 1"):
        read_vectors(path)
    np.save(path, np.ones(2))
    with pytest.raises(DataError, match=r"\[words, width\]"):
        read_vectors(path)
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"numpy\.save"):
        read_vectors(path)
