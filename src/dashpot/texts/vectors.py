"""Vectors of words from files of the user: the text format of word2vec and fastText, and NumPy arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dashpot.core.errors import DataError, StorageError
from dashpot.core.fields.domains import Flag
from dashpot.texts.path_options import path_and_options


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors.

    Attributes:
        words: as they are written in the file, each once.
        table: float32 [words, width].
        width: of a vector.
        frozen: networks keep them as they are.
        learned: from the training texts, so that a network need not be as wide as they are.
    """

    words: tuple[str, ...]
    table: np.ndarray
    width: int
    frozen: bool = False
    learned: bool = False

    def of(self, words: Collection[str]) -> tuple[np.ndarray, np.ndarray]:
        """Which of the words, in lower case, are known, bool [words], and the vectors of those, float32 [known, width].

        A word that is not known as it is has the vector of the first that differs from it in capitals only.

        >>> vectors = WordVectors(("Paris", "red", "Red"), np.array([[1.0], [2.0], [3.0]], dtype=np.float32), 1)
        >>> known, found = vectors.of(["the", "red", "paris"])
        >>> known.tolist(), found.tolist()
        ([False, True, True], [[2.0], [1.0]])
        """
        place: dict[str, int] = {}
        for i, word in enumerate(self.words):
            place.setdefault(word.lower(), i)
        place |= {word: i for i, word in enumerate(self.words) if word == word.lower()}
        at = np.array([place.get(word, -1) for word in words], dtype=np.int64)
        return at >= 0, self.table[at[at >= 0]]


def vectors_of(given: str | Path, words: Collection[str] | None = None) -> WordVectors:
    """Vectors from what a user gives: the path of a file, or path and options in one text.

    Args:
        given: such as ``"glove.txt"``, or ``"glove.txt:frozen=true"`` for vectors that are not trained further.
        words: see :func:`read_vectors`, also for what is raised.

    Raises:
        ConfigError: an option with another value.
        UnknownNameError: no such option.
    """
    if isinstance(given, Path):
        return read_vectors(given, words)
    path, options = path_and_options("vectors", given, {"frozen": Flag()})
    return replace(read_vectors(path, words), **options)


def read_vectors(path: str | Path, words: Collection[str] | None = None) -> WordVectors:
    """Vectors of words from a file.

    ``.npy`` is an array [words, width] of numbers; its words stand one a line in a file of the same name that ends in
    ``.txt`` or ``.words``. Every other file is text, UTF-8: a word and its numbers on each line with spaces between
    them, and first, where there is one, a line of how many words there are and how wide they are (fastText's ``.vec``,
    word2vec, GloVe). Where a word stands twice the first counts.

    Args:
        path: of the file.
        words: in lower case; the others are left out, which is quick and saves memory. None: all.

    Raises:
        StorageError: a file cannot be read.
        DataError: a line that is no word with as many finite numbers as the first has, with the line's number; fewer
            words than the first line says; an array of another shape, or other than its words; or no words at all.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.vec"
        >>> _ = path.write_text("2 3\\nred 1 0 0.5\\nNew York 0 1 0\\n")
        >>> vectors = read_vectors(path)
        >>> vectors.words, vectors.width
        (('red', 'New York'), 3)
    """
    path = Path(path)
    kept = None if words is None else frozenset(words)
    found = _of_array(path, kept) if path.suffix == ".npy" else _of_text(path, kept)
    if not found.width:
        raise DataError(f"{path} has no words. Write a word and its numbers on each line.")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    line = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).decode("utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}). Save it as UTF-8.") from None
                yield number, line.rstrip()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}. Check the path.") from error


def _of_text(path: Path, kept: frozenset[str] | None) -> WordVectors:
    width, wanted, count = 0, 0, 0
    table: dict[str, np.ndarray] = {}
    for number, line in _lines(path):
        fields = line.split()
        if not fields:
            continue
        if number == 1 and len(fields) == 2 and fields[0].isdecimal() and fields[1].isdecimal():
            wanted, width = int(fields[0]), int(fields[1])
            continue
        width = width or len(fields) - 1
        if not width or len(fields) <= width:
            raise DataError(
                f"{path}, line {number}: must be a word and {width or 'its'} numbers, got {line[:60]!r}. Correct the"
                " line, or take it out."
            )
        word = " ".join(fields[:-width])  # some files have words of several parts
        count += 1
        if word not in table and (kept is None or word.lower() in kept):
            table[word] = _numbers(fields[-width:], f"{path}, line {number}")
    if count < wanted:
        raise DataError(f"{path} must have {wanted} words, as its first line says, got {count}. Fetch it again.")
    every = np.stack(list(table.values())) if table else np.zeros((0, width), dtype=np.float32)
    return WordVectors(tuple(table), every, width if count else 0)


def _numbers(fields: list[str], where: str) -> np.ndarray:
    try:
        row = np.array(fields, dtype=np.float32)
    except ValueError:
        row = np.full(1, np.nan, dtype=np.float32)
    if not np.isfinite(row).all():
        raise DataError(f"{where}: must be a word and finite numbers, got {' '.join(fields)[:60]!r}. Correct the line.")
    return row


def _of_array(path: Path, kept: frozenset[str] | None) -> WordVectors:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}. Check the path.") from error
    except ValueError as error:
        raise DataError(f"{path} must be an array of numbers as numpy.save writes it: {error}.") from None
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(f"{path} must be an array [words, width] of numbers, got {array.dtype} {list(array.shape)}.")
    beside = [one for one in (path.with_suffix(".words"), path.with_suffix(".txt")) if one.is_file()]
    if not beside:
        raise StorageError(
            f"{path} must have its words, one a line, in {path.with_suffix('.words')}, got no such file."
        )
    words = [line for _, line in _lines(beside[0])]
    if len(words) != len(array):
        raise DataError(
            f"{beside[0]} must have a word for each of {len(array)} rows of {path}, got {len(words)} lines."
        )
    place: dict[str, int] = {}
    for i, word in enumerate(words):
        if kept is None or word.lower() in kept:
            place.setdefault(word, i)
    table = np.asarray(array[list(place.values())], dtype=np.float32)
    if bad := [i for i, row in zip(place.values(), table, strict=True) if not np.isfinite(row).all()]:
        raise DataError(f"{path} must have finite numbers, got others for {words[bad[0]]!r}, row {bad[0]}.")
    return WordVectors(tuple(place), table, array.shape[1] if len(array) else 0)
