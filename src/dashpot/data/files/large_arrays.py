"""Images in an ``.npz`` that would take much of the memory: decompressed once, into a mapped file of the user's cache
folder (:mod:`dashpot.data.pictures.cache`), a few at a time.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from dashpot.core.errors import DataError, StorageError
from dashpot.data.pictures import cache
from dashpot.data.pictures.cache import Name, Write, mapped, written
from dashpot.data.pictures.images import as_pixels
from dashpot.data.pictures.values import VALUES
from dashpot.data.signals import looks_like_signals

WHOLE = ("X",), ("X_train", "X_test")
"""Arrays that are the inputs, one after another."""


@dataclass(frozen=True)
class LargeImages:
    """Arrays of bytes in an ``.npz``, which have not been read.

    Attributes:
        path: of the file.
        shapes: of the arrays by name, in order.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]

    @staticmethod
    def of(path: Path, kind: str | None) -> LargeImages | None:
        """Those of a file; None where it holds no images of bytes, or so few that memory has room for them.

        Args:
            kind: of the inputs, where the caller says it.
        """
        if kind not in (None, "image"):
            return None
        try:
            with zipfile.ZipFile(path) as file:
                held = {name.removesuffix(".npy") for name in file.namelist()}
                names = next((some for some in WHOLE if held.issuperset(some)), None)
                if names is None or Name.of_file(path).path is None:
                    return None
                heads = {name: _head(file, name) for name in names}
        except (OSError, ValueError, zipfile.BadZipFile):
            return None  # what is wrong with it is said where it is read
        shapes = {name: shape for name, (shape, plain) in heads.items() if plain and _as_images(shape, kind)}
        alike = len(shapes) == len(names) and len({shape[1:] for shape in shapes.values()}) == 1
        size = sum(math.prod(shape) for shape in shapes.values())
        return LargeImages(path, shapes) if alike and cache.too_large(size) else None

    def stand_in(self, name: str) -> np.ndarray:
        """An array of the same shape and type that takes no memory, for checks of both."""
        return np.broadcast_to(np.zeros((), dtype=np.uint8), self.shapes[name])

    def read(self) -> np.ndarray:
        """All images, uint8 [n, channels, height, width], from the mapped file.

        Raises:
            DataError: images of a shape that is none.
            StorageError: there is no space for it, or the ``.npz`` is damaged.
        """
        n, one = sum(shape[0] for shape in self.shapes.values()), next(iter(self.shapes.values()))[1:]
        shape = (n, *as_pixels(f"{self.path.name}: X", np.zeros((1, *one), dtype=np.uint8)).shape[1:])
        path = Name.of_file(self.path).path
        assert path is not None, "there is a cache folder, or they would be read"
        found = mapped(path) or written(path, shape, {}, self._decode)
        return found[0]

    def _decode(self, write: Write) -> None:
        at = 0
        try:
            with zipfile.ZipFile(self.path) as file:
                for name, shape in self.shapes.items():
                    with file.open(f"{name}.npy") as member:
                        _shape_in(member)
                        _put(member, self.path.name, shape, at, write)
                    at += shape[0]
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise StorageError(f"{self.path.name} must be a readable .npz, got: {error}.") from None


def _put(member: IO[bytes], name: str, shape: tuple[int, ...], at: int, write: Write) -> None:
    """The images of one array, some at a time, to their places from ``at`` on."""
    each = math.prod(shape[1:])
    step = max(1, VALUES // max(each, 1))
    for start in range(0, shape[0], step):
        count = min(step, shape[0] - start)
        held = member.read(count * each)
        if len(held) != count * each:
            raise EOFError("an array that ends too early")
        some = as_pixels(f"{name}: X", np.frombuffer(held, dtype=np.uint8).reshape(count, *shape[1:]))
        for k, image in enumerate(some):
            write(at + start + k, image)


def _head(file: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool]:
    """The shape of an array, and whether it is of bytes in the usual order."""
    with file.open(f"{name}.npy") as member:
        return _shape_in(member)


def _shape_in(member: IO[bytes]) -> tuple[tuple[int, ...], bool]:
    """The same, read from the front of the array; what follows is its bytes."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(member)
    return shape, dtype == np.uint8 and not by_columns


def _as_images(shape: Sequence[int], kind: str | None) -> bool:
    """Whether an array of this shape is taken for images that can be used."""
    if len(shape) not in (3, 4) or not shape[0]:
        return False
    dummy = np.broadcast_to(np.zeros((), dtype=np.uint8), tuple(shape))
    if kind is None and looks_like_signals(dummy):
        return False
    try:
        as_pixels("X", dummy)
    except DataError:
        return False  # which is said where it is read
    return True
