"""Translations that were made already: in a file that several processes may use, or in memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from dashpot.core.errors import StorageError

Pair = tuple[str, int]
"""A text, and the number of its translation."""
MEMORY = "memory"


class Translations:
    """What translators gave for texts.

    Args:
        path: of an SQLite file, made where there is none; ``"memory"``: without a file.
        translators: who translated; others have other entries in the same file.

    Example:
        >>> known = Translations("memory", "x")
        >>> known.add({("a", 0): "b"})
        >>> known.of([("a", 0), ("a", 1)])
        {('a', 0): 'b'}
    """

    def __init__(self, path: str, translators: str) -> None:
        self._path, self._translators = path, translators
        self._memory: dict[Pair, str] = {}

    def of(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Those that are known."""
        found = {pair: self._memory[pair] for pair in pairs if pair in self._memory}
        missing = [pair for pair in pairs if pair not in found]
        if self._path == MEMORY or not missing:
            return found
        with self._opened() as file:
            for pair in missing:
                row = file.execute("SELECT result FROM translations WHERE id = ?", (self._id(pair),)).fetchone()
                if row is not None:
                    found[pair] = self._memory[pair] = row[0].decode("utf-8", "surrogatepass")
        return found

    def add(self, made: Mapping[Pair, str]) -> None:
        """Remember translations; in the file they are whole when this returns."""
        self._memory |= made
        if self._path != MEMORY:
            rows = [(self._id(pair), text.encode("utf-8", "surrogatepass")) for pair, text in made.items()]
            with self._opened() as file:
                file.executemany("INSERT OR REPLACE INTO translations VALUES (?, ?)", rows)

    def _id(self, pair: Pair) -> bytes:
        text = f"{self._translators}\n{pair[1]}\n{pair[0]}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # Opened for each call: a connection must not pass into the worker processes of a DataLoader.
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=60)) as file, file:
                file.execute("CREATE TABLE IF NOT EXISTS translations (id BLOB PRIMARY KEY, result BLOB)")
                yield file
        except sqlite3.Error as error:
            raise StorageError(
                f"the cache {self._path} cannot be used: {error}. Name another file, or delete this one."
            ) from error


@functools.lru_cache(maxsize=16)
def store(path: str, translators: str) -> Translations:
    """The same object for the same arguments, since it remembers."""
    return Translations(path, translators)
