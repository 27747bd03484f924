"""Folders of texts: a ``.txt`` file for each document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dashpot.core.errors import DataError, StorageError
from dashpot.data.files.encodings import to_utf8
from dashpot.data.pictures.images import SUFFIXES, seen_files

SUFFIX = ".txt"


def holds_documents(folder: Path) -> bool:
    """Whether there are texts below a folder, and no images.

    Raises:
        StorageError: a folder cannot be read.
    """
    suffixes = {path.suffix.lower() for path in seen_files(folder)}
    return SUFFIX in suffixes and not suffixes & set(SUFFIXES)


def document_files(folder: Path) -> list[Path]:
    """Every text below ``folder``, in order; hidden files and folders are passed over.

    Raises:
        DataError: there are none.
        StorageError: a folder cannot be read.
    """
    files = sorted(path for path in seen_files(folder) if path.suffix.lower() == SUFFIX and path.is_file())
    if not files:
        raise DataError(f"folder {folder} must hold texts ({SUFFIX}) in one folder per class, found none.")
    return files


def read_documents(files: Sequence[Path], encoding: str | None = None) -> np.ndarray:
    """Texts as objects [n, 1], to the letter; an empty file is an empty text.

    Args:
        encoding: of all files; UTF-8 and UTF-16 are found.

    Raises:
        DataError: a file that is no text.
        StorageError: one that cannot be read.
    """
    out = np.empty((len(files), 1), dtype=object)
    for i, file in enumerate(files):
        try:
            data = file.read_bytes()
        except OSError as error:
            raise StorageError(f"{file} cannot be read: {error.strerror}. Check its rights.") from error
        out[i, 0] = to_utf8(str(file), data, encoding).decode()
    return out
