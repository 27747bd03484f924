"""Vectors of texts that were computed already: in a file of the user's cache folder, and in memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dashpot.core.compiler import folder

MOST = 1 << 26
"""Numbers that are remembered in memory: 256 megabytes."""
_ASKED = 500


class FeatureStore:
    """What an encoder made of texts. A file that cannot be read or written is done without: all is in memory then.

    Args:
        path: of an SQLite file, made where there is none, which several processes may use; None: no file.

    Example:
        >>> store = FeatureStore(None)
        >>> store.add({"a": np.ones(2, dtype=np.float32)})
        >>> store.of(["a", "b"])
        {'a': array([1., 1.], dtype=float32)}
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._memory: dict[str, np.ndarray] = {}

    def of(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Those that are known, float32."""
        found = {text: self._memory[text] for text in texts if text in self._memory}
        missing = {_id(text): text for text in texts if text not in found}
        ids = list(missing)
        with contextlib.suppress(sqlite3.Error, OSError), self._opened() as file:
            for start in range(0, len(ids) if file else 0, _ASKED):
                some = ids[start : start + _ASKED]
                marks = ",".join("?" * len(some))
                assert file is not None, "else there is nothing to go through"
                for key, raw in file.execute(f"SELECT id, vector FROM features WHERE id IN ({marks})", some):
                    found[missing[key]] = np.frombuffer(raw, dtype="<f4").astype(np.float32)
        self._remember({text: found[text] for text in missing.values() if text in found})
        return found

    def add(self, made: Mapping[str, np.ndarray]) -> None:
        """Remember vectors; in the file they are whole when this returns."""
        self._remember(made)
        rows = [(_id(text), vector.astype("<f4").tobytes()) for text, vector in made.items()]
        with contextlib.suppress(sqlite3.Error, OSError), self._opened() as file:
            if file is not None:
                file.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)

    def _remember(self, made: Mapping[str, np.ndarray]) -> None:
        width = max((len(vector) for vector in made.values()), default=0)
        if (len(self._memory) + len(made)) * width > MOST:
            self._memory = {}
        if len(made) * width <= MOST:
            self._memory |= made

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        # Opened for each call: a connection must not pass into other processes.
        if self._path is None:
            yield None
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self._path, timeout=60)) as file, file:
            file.execute("CREATE TABLE IF NOT EXISTS features (id BLOB PRIMARY KEY, vector BLOB)")
            yield file


def _id(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@functools.lru_cache(maxsize=4)
def store_of(name: str) -> FeatureStore:
    """The store of this name in the user's cache folder; the same object for the same name, since it remembers."""
    place = folder()
    return FeatureStore(None if place is None else place / "encoders" / f"{name}.sqlite")
