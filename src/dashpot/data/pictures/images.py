"""Images: folders of class folders, and arrays of pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import DataError, StorageError
from dashpot.data.pictures.kind import PICTURE_KINDS, every, picture_kind
from dashpot.data.pictures.values import mean_and_deviation, pieces, pixel_range, unit
from dashpot.data.stage import Staged

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ImagePreprocessing(Staged):
    """Pixels in their own range, and what a network standardizes them by.

    Bytes (uint8) stay bytes, which takes a quarter of the memory of numbers; other pixels become float32 with the
    range ``low`` to ``high`` brought to [0, 1]. Standardizing is the network's first stage
    (:class:`dashpot.nets.Standardize`), behind all techniques that act on inputs.

    Attributes:
        channels, height, width: what the network takes; other sizes are resized (bilinear).
        mean, scale: of each channel, over the training images in [0, 1].
        low, high: the pixels' range: 0 to 255, 0 to 1, 0 to 65535, or that of the training images where it is none of
            these.
        pictures: ``"photo"`` or ``"glyph"``, as :func:`~dashpot.data.pictures.kind.picture_kind` finds; None in what
            was saved before it did.
        ground: of glyphs, whether what is about them is dark (0) or light (1), or between.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    kind: str = "image"
    low: float = 0.0
    high: float = 255.0
    pictures: str | None = None
    ground: float = 0.0

    @staticmethod
    def fit(
        pixels: np.ndarray, train: np.ndarray, *, scaling: str = "standard", weight: np.ndarray | None = None
    ) -> ImagePreprocessing:
        """Learn from the images ``train`` of ``pixels`` [n, channels, height, width], by the ``weight`` of all images;
        ``scaling`` is for tables.
        """
        low, high = pixel_range(pixels, train)
        counts = None if weight is None else weight[train]
        mean, scale = mean_and_deviation(pixels, train, low, high, counts)
        channels, height, width = pixels.shape[1:]
        pictures, ground = picture_kind(pixels[train[:: every(pixels[:1], len(train))]])
        return ImagePreprocessing(
            channels,
            height,
            width,
            tuple(map(float, mean)),
            tuple(float(s) if s > 1e-6 else 1.0 for s in scale),
            low=low,
            high=high,
            pictures=pictures,
            ground=ground,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image."""
        return self.channels, self.height, self.width

    @property
    def feature_names(self) -> tuple[str, ...]:
        """None: pixels have no names."""
        return ()

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        numbers = [np.asarray(part) for part in (self.mean, self.scale, (self.low, self.high))]
        fits = all(part.dtype.kind in "fi" and bool(np.isfinite(part).all()) for part in numbers)
        fits &= len(self.mean) == len(self.scale) == self.channels and self.low < self.high
        if not fits or min(self.scale) <= 0:
            raise ValueError("images must have a finite mean and a scale above 0 for each channel")
        if self.pictures not in (None, *PICTURE_KINDS):
            raise ValueError(f"pictures must be one of {', '.join(PICTURE_KINDS)}")

    @property
    def stage(self) -> dict[str, list[float]]:
        """The arguments of :class:`dashpot.nets.Standardize`, and of a network that begins with it."""
        return {"mean": list(self.mean), "std": list(self.scale)}

    def transform(self, pixels: np.ndarray) -> np.ndarray:
        """What a network with :attr:`stage` at its front takes: uint8 as it is, other pixels as float32 in [0, 1].

        Raises:
            DataError: images of another shape.
        """
        if pixels.shape[1:] != self.shape:
            raise DataError(
                f"images must be {' x '.join(map(str, self.shape))}, as in training, got"
                f" {' x '.join(map(str, pixels.shape[1:]))}."
            )
        if pixels.dtype == np.uint8 and (self.low, self.high) == (0.0, 255.0):
            return np.ascontiguousarray(pixels)
        return unit(pixels, self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ImagePreprocessing:
        """The inverse of :meth:`to_dict`; what was saved before pixels kept their range, 0 to 255, loads too."""
        fixed: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return ImagePreprocessing(**fixed)


def image_files(folder: Path) -> list[Path]:
    """Every image below ``folder``, in order; hidden files and folders are passed over.

    Raises:
        DataError: there are none.
        StorageError: a folder cannot be read.
    """
    files = [path for path in seen_files(folder) if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files:
        raise DataError(
            f"folder {folder} must hold images ({', '.join(SUFFIXES)}) in one folder per class, found none."
        )
    return sorted(files)


def seen_files(folder: Path) -> Iterator[Path]:
    """Every file below ``folder`` but hidden ones and those in hidden folders."""
    for root, below, names in os.walk(folder, onerror=_refuse_unreadable):
        below[:] = [name for name in below if not is_hidden(name)]
        yield from (Path(root, name) for name in names if not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Files of other tools: ``.ipynb_checkpoints``, ``._a.png`` and ``__MACOSX`` of an archive that was packed on a
    Mac, and what Windows leaves behind.
    """
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _refuse_unreadable(error: OSError) -> None:
    raise StorageError(f"folder {error.filename} cannot be read: {error.strerror}. Check its rights.") from error


def as_pixels(name: str, x: np.ndarray) -> np.ndarray:
    """An array of images as [n, channels, height, width]: [n, h, w] is grey, [n, h, w, c] is turned. One or three
    channels are found in the last axis or the second, other numbers of them where that axis is the shortest by itself.

    Raises:
        DataError: another shape, images without pixels, or numbers that are not finite.
    """
    axis = 1 if x.ndim == 3 else _channel_axis(x.shape)
    if axis is None:
        raise DataError(
            f"{name} must be [n, features] or images [n, h, w], [n, h, w, channels] or [n, channels, h, w], with 1 or 3"
            f" channels or fewer channels than pixels along each side, got {list(x.shape)}. Choose or add channels, or"
            " pass the pixels as features [n, features]."
        )
    found = x[:, None] if x.ndim == 3 else np.moveaxis(x, axis, 1)
    if 0 in found.shape[2:]:
        raise DataError(f"{name} must hold images of one pixel or more, got {list(x.shape)}. Leave out what is empty.")
    if x.dtype.kind == "f":
        # As float32, which images become: what is too large for it is no finite number there.
        checked = [np.isfinite(part.astype(np.float32, copy=False)).all(axis=(1, 2, 3)) for part in pieces(found)]
        whole = np.concatenate(checked or [np.ones(0, dtype=bool)])
        if not whole.all():
            raise DataError(
                f"{name} must hold finite numbers, got NaN or infinity in {int((~whole).sum())} of {len(whole)} images,"
                f" the first in row {int(whole.argmin())}. Fill those pixels, or remove the images."
            )
    return found


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    if len(shape) != 4:
        return None
    certain = [axis for axis in (3, 1) if shape[axis] in (1, 3)]
    shortest = [axis for axis in (3, 1) if shape[axis] < min(shape[k] for k in (1, 2, 3) if k != axis)]
    return next(iter(certain or shortest), None)


def existing(path: Path) -> Path:
    """``path``, or StorageError."""
    try:
        found = path.exists()
    except OSError as error:
        raise StorageError(
            f"data {str(path)!r} cannot be read: {error.strerror}. Check the path and its rights."
        ) from error
    if not found:
        raise StorageError(f"data {str(path)!r} must exist, and there is no such file or folder. Check the path.")
    return path
