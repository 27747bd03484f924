"""Files of images to pixels: looked at first, then decoded one by one into their place."""

from __future__ import annotations

import math
import os
import statistics
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.core.threads import cores
from dashpot.data.pictures.cache import Name, Write, mapped, too_large, written
from dashpot.data.tables.columnar import DataWarning

LARGEST = 224
"""Pixels of the shorter side, at most: what most networks for photographs are made for. Time and memory of a training
grow with the area.
"""
NAMED = 5
"""Further broken files that an error names, at most."""
ORIENTATION, TURNED = 274, (5, 6, 7, 8)
"""The tag by which a camera says how it was held, and the values for which height and width change places."""


def read_images(files: Sequence[Path], shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Pixels as uint8 [n, channels, height, width].

    Each file is decoded once, on all cores, and resized into its place: beside the result, memory holds one image per
    core, whatever sizes the files have. What would take more than a quarter of the free memory lies in a mapped file
    in the user's cache folder (:mod:`dashpot.data.pictures.cache`), which later runs and other processes use again as
    long as no file changes. Transparent pixels are seen on white, as browsers show them; of an animation or
    a file of several pages the first image counts; of 16 bits the upper 8.

    Args:
        shape: channels, height and width to convert to; by default grey only if all are, and the size of at least half
            of the images or else the median width and height, made smaller where the shorter side is longer than
            :data:`LARGEST`.

    Raises:
        DataError: files that are no complete images, or one whose pixels have no known range.
        StorageError: there is no space for the mapped file.

    Warns:
        DataWarning: images of another size than that, and images made smaller, where no shape is given.
    """
    path = Name.of(files, shape).path
    found = None if path is None else mapped(path)
    if found is None:
        wanted, kept = _usual(files) if shape is None else (shape, {})
        whole = (len(files), *wanted)
        if path is None or not too_large(math.prod(whole)):
            out = np.empty(whole, dtype=np.uint8)
            _decode(files, wanted, out.__setitem__)
            found = out, kept
        else:
            found = written(path, whole, kept, partial(_decode, files, wanted))
    out, kept = found
    for text in _changes(kept, len(files), *out.shape[2:]):
        warnings.warn(text, DataWarning, stacklevel=3)
    return out


def _changes(kept: Mapping[str, Any], n: int, height: int, width: int) -> Iterator[str]:
    """What reading did to images, by :func:`_usual`, in words."""
    if kept.get("others"):
        wide, high = kept["size"]
        yield (
            f"{kept['others']} of {n} images are not {wide} pixels wide and {high} high, the {kept['by']} size, and are"
            " stretched to it. Crop or pad them where shapes matter."
        )
    if kept and kept["size"] != [width, height]:
        yield (
            f"images are made {width} pixels wide and {height} high, so that the shorter side has {LARGEST}. Arrays in"
            " an .npz file keep their size."
        )


def _decode(files: Sequence[Path], shape: tuple[int, int, int], write: Write) -> None:
    """Each image to its place, on all cores: Pillow lets other threads run while it decodes and resizes."""

    def place(i: int) -> DataError | None:
        try:
            with _opened(files[i]) as image:
                pixels = _pixels(image, shape)
        except DataError as error:
            return error
        write(i, pixels)
        return None

    with ThreadPoolExecutor(cores()) as pool:
        _demand_whole(files, list(pool.map(place, range(len(files)))))


def _usual(files: Sequence[Path]) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Grey only if all are, and the usual size, by the files' heads alone; and how it was found, for JSON."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey, errors = True, list[DataError | None]()
    for path in files:
        try:
            with _opened(path) as image:
                sizes[image.size[::-1] if _turned(image, path) else image.size] += 1
                grey &= image.mode in ("1", "L", "LA", "La") or _sixteen_bit(image)
            errors.append(None)
        except DataError as error:
            errors.append(error)
    _demand_whole(files, errors)
    size, count = sizes.most_common(1)[0]
    by = "most frequent"
    if 2 * count < len(files):
        # Photographs of all sizes: the one that two of them share by chance says nothing of the others.
        width, height = (round(statistics.median(side)) for side in zip(*sizes.elements(), strict=True))
        size, by = (width, height), "median"
    scale = min(1.0, LARGEST / min(size))
    width, height = (round(side * scale) for side in size)
    kept = {"others": len(files) - sizes[size], "size": list(size), "by": by}
    return (1 if grey else 3, height, width), kept


def _turned(image: Any, path: Path) -> bool:
    """Whether height and width change places."""
    # Pillow decodes a whole PNG to find tags that may stand behind the pixels.
    if image.format == "PNG" and not _png_tags(path):
        return False
    return image.getexif().get(ORIENTATION) in TURNED


def _png_tags(path: Path) -> bool:
    """Whether a PNG has chunks that may hold a camera's tags; only their heads are read."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def _demand_whole(files: Sequence[Path], errors: Sequence[DataError | None]) -> None:
    """Raise the first error, which then also names the other files that cannot be read."""
    broken = [(path.name, error) for path, error in zip(files, errors, strict=True) if error is not None]
    if len(broken) == 1:
        raise broken[0][1]
    if broken:
        others = ", ".join(name for name, _ in broken[1 : 1 + NAMED]) + (
            " and others" if len(broken) > 1 + NAMED else ""
        )
        raise DataError(f"{broken[0][1]} So it is with {len(broken) - 1} more: {others}.")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An image; what goes wrong with it names the file."""
    from PIL import Image, ImageFile, UnidentifiedImageError

    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with Image.open(path) as image:
            yield image
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        why = "a file of 0 bytes" if isinstance(error, UnidentifiedImageError) and not path.stat().st_size else error
        raise DataError(
            f"image {path} must be complete and readable, got: {why}. Replace or remove the file."
        ) from None


def _pixels(image: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """One image as uint8 [channels, height, width]."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    picture = _eight_bit(image).convert("L" if channels == 1 else "RGB")
    picture = ImageOps.exif_transpose(picture)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _sixteen_bit(image: Any) -> bool:
    # Before version 11.0 Pillow called a PNG of 16 bits "I".
    return bool(image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG"))


def _eight_bit(image: Any) -> Any:
    """Grey or RGB with 8 bits; of 16 bits the upper 8, where Pillow itself would cut off everything above 255. It keeps
    its tags.
    """
    from PIL import Image

    tags = image.getexif()
    if _sixteen_bit(image):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(
            f"pixels of {'whole numbers' if image.mode == 'I' else 'fractions'} in 32 bits, whose range is not known;"
            " save it with 8 or 16 bits"
        )
    elif image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert(
            "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        )
    else:
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    image.getexif().update(tags)
    return image
