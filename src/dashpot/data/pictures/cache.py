"""Decoded images in a file of the user's cache folder, mapped into memory: what does not fit is read as it is needed.

A file is a head of one line of JSON, padded to a page, and the pixels. It is written under a temporary name and
renamed once it is whole; its name says of which files it is, so that a change of one of them is another name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dashpot.core import compiler
from dashpot.core.errors import StorageError
from dashpot.core.memory import free_memory

SHARE = 0.25
"""Of the free memory that decoded images may take; more are kept in a mapped file. Workers of a search hold their own,
and networks, augmentation and evaluation need some, too.
"""
HEAD, FORMAT = 4096, 2
WAY_OUT = "Free some space, or let XDG_CACHE_HOME name a folder that has it."

Write = Callable[[int, np.ndarray], None]
"""Puts one image into its place; any thread may."""


@dataclass(frozen=True)
class Name:
    """Of a file in the cache: the folder that the images are in, what is in it, and what they become."""

    folder: str
    content: str
    form: str

    @staticmethod
    def of(files: Sequence[Path], shape: tuple[int, int, int] | None) -> Name:
        """By paths inside of their folder, sizes and times of change of all files, the wanted shape, and the version of
        the decoder: however the folder is named, the name is the same.

        Raises:
            StorageError: a file that is not there any more.
        """
        from PIL import __version__ as pillow

        common = Path(os.path.commonpath([path.parent for path in files]))
        content = hashlib.sha256()
        for path in files:
            try:
                found = path.stat()
            except OSError as error:
                raise StorageError(f"image {path} cannot be read: {error.strerror}. Read the folder again.") from error
            line = f"{path.relative_to(common)}\0{found.st_size}\0{found.st_mtime_ns}\n"
            content.update(line.encode(errors="surrogateescape"))
        form = f"{FORMAT} {pillow} {shape}"
        return Name(_short(str(common.resolve())), content.hexdigest()[:24], _short(form))

    @staticmethod
    def of_file(path: Path) -> Name:
        """Of the images in one file, by its path, size and time of change.

        Raises:
            StorageError: it is not there any more.
        """
        found = Name.of([path], None)
        return Name(_short(str(path.resolve())), found.content, _short(f"{FORMAT} {path.suffix}"))

    @property
    def path(self) -> Path | None:
        """None where the user has no home."""
        place = compiler.folder()
        return None if place is None else place / "images" / f"{self.folder}-{self.form}-{self.content}.pixels"


def too_large(size: int) -> bool:
    """Whether so many bytes of pixels belong into a mapped file; never on Windows, which renames no open file."""
    return os.name == "posix" and size > SHARE * free_memory()


def mapped(path: Path) -> tuple[np.ndarray, dict[str, int]] | None:
    """The images of a whole file, uint8 [n, channels, height, width], and the numbers that were kept with them; None
    where there is none.

    What a caller writes into them changes neither the file nor what others see.
    """
    if os.name != "posix":
        return None
    try:
        with path.open("rb") as file:
            head = json.loads(file.read(HEAD))
            shape = tuple(head["shape"])
            if head["format"] != FORMAT or os.fstat(file.fileno()).st_size != HEAD + int(np.prod(shape)):
                return None
            # A copy of a page is made where it is written to, which is nowhere here: the system need not set memory
            # aside for all of them, which it refuses for a file larger than its memory.
            flags = mmap.MAP_PRIVATE | (0x4000 if sys.platform == "linux" else 0)  # MAP_NORESERVE
            held = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            return np.frombuffer(held, np.uint8, offset=HEAD).reshape(shape), head["kept"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def written(
    path: Path, shape: tuple[int, ...], kept: dict[str, int], decode: Callable[[Write], None]
) -> tuple[np.ndarray, dict[str, int]]:
    """The images that ``decode`` puts into their places, from a new file at ``path``; of another process, which is
    just writing them, it waits for those. Files of the same folder with other content are removed.

    Raises:
        StorageError: there is not enough space, or nothing can be written there.
    """
    size = HEAD + int(np.prod(shape))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            if (found := mapped(path)) is not None:
                return found
            with _whole(path, temporary) as file:
                _reserve(file, size)
                head = json.dumps({"format": FORMAT, "shape": shape, "kept": kept}).encode()
                os.pwrite(file, head.ljust(HEAD - 1) + b"\n", 0)
                each = int(np.prod(shape[1:]))
                decode(lambda i, pixels: _put(file, np.ascontiguousarray(pixels), HEAD + i * each))
            _remove_others(path)
            found = mapped(path)
    except StorageError:
        raise  # which the source of the images has said
    except OSError as error:
        raise StorageError(
            f"the decoded images take {size / 1e9:.1f} GB, more than a quarter of the free memory, and"
            f" {path.parent} must hold them: {error.strerror or error}. {WAY_OUT}"
        ) from error
    if found is None:
        raise StorageError(f"{path} was changed while it was written. Run it again.")
    return found


@contextlib.contextmanager
def _whole(path: Path, temporary: Path) -> Iterator[int]:
    """A file under a temporary name, which is renamed at the end, and removed where something goes wrong."""
    file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        yield file
        os.fsync(file)
        os.replace(temporary, path)
    except BaseException:  # a keyboard interrupt, too, leaves nothing behind
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(file)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the system itself frees the lock of a process that was killed."""
    import fcntl

    with path.open("w") as file:
        with contextlib.suppress(OSError):  # a network's file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reserve(file: int, size: int) -> None:
    """Take the space before any image is decoded, so that a disk that is full is known at once."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def _put(file: int, pixels: np.ndarray, place: int) -> None:
    rest = pixels.data.cast("B")
    while rest:
        done = os.pwrite(file, rest, place)
        rest, place = rest[done:], place + done


def _remove_others(path: Path) -> None:
    """What was decoded from this folder before it changed. Who has it mapped keeps it."""
    folder, form, _ = path.name.split("-")
    for old in path.parent.glob(f"{folder}-{form}-*"):
        if old.stem != path.stem:
            with contextlib.suppress(OSError):
                old.unlink()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
