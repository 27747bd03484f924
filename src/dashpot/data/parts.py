"""Which rows the data themselves name as their test part: by a column ``split``, or by folders called
train and test.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.pictures.images import is_hidden, seen_files
from dashpot.data.rows import Rows
from dashpot.data.tables.columnar import DataWarning

PARTS = {"train": "train", "valid": "train", "validation": "train", "val": "train", "dev": "train", "test": "test"}
"""What parts are called, in any case, and which one each means: validation parts are chosen from the training part
here.
"""


def named_test(rows: Rows) -> np.ndarray | None:
    """The test rows that a column named ``split`` names, in order; ``None`` without such a column, or where it holds
    anything else.

    Example:
        >>> named_test(Rows(("split",), columns={"split": np.array(["train", "Test", "dev"], dtype=object)}))
        array([1])
    """
    if "split" not in rows.names or rows.column("split").dtype != object:
        return None
    column = rows.levels("split")
    parts = [PARTS.get(name.strip().lower()) for name in column.names]
    if None in parts:
        return None
    return np.flatnonzero(np.array([part == "test" for part in parts])[column.codes])


def class_folders(folder: Path, files: Sequence[Path], what: str = "image") -> tuple[list[str], np.ndarray | None]:
    """The class of each image or text (``what``): the folder below ``folder`` that it is in, or the second one, where
    all of the first are called train, test or the like.

    Returns:
        The classes, and the rows of the files in ``test``, if the folders name parts and this is one of them.

    Raises:
        DataError: files outside of any class.

    Warns:
        DataWarning: the folders name parts.
    """
    inner = [file.relative_to(folder).parts[:-1] for file in files]
    loose = sum(not parts for parts in inner)
    if loose:
        raise DataError(
            f"folder {folder} must hold one folder per class; {_lie(loose, what)}"
            " outside of any. Move them into one, or away."
        )
    first = list(dict.fromkeys(parts[0] for parts in inner))
    if not all(name.lower() in PARTS for name in first):
        return [parts[0] for parts in inner], None
    for name in first:
        loose = sum(parts == (name,) for parts in inner)
        if loose:
            way = "Sort them into classes, or name a folder whose folders are classes."
            raise DataError(
                f"folder {folder / name} must hold one folder per class, as a part of the data; {loose} {what}s lie"
                f" outside of any. {way}"
            )
    test = np.flatnonzero(np.array([PARTS[parts[0].lower()] == "test" for parts in inner]))
    told = (
        f"the {len(test)} {what}s in 'test' are the test part"
        if len(test)
        else "none is the test part, so that is drawn as always"
    )
    warnings.warn(
        f"the folders {', '.join(first)} name parts of the data, not classes: {told}.", DataWarning, stacklevel=5
    )
    return [parts[1] for parts in inner], test if len(test) else None


def _lie(count: int, what: str) -> str:
    return f"1 {what} lies" if count == 1 else f"{count} {what}s lie"


def warn_of_others(folder: Path, images: Sequence[Path], what: str = "image") -> None:
    """Say which files of a folder of images or texts (``what``) are passed over, and which of its folders are no class.

    Warns:
        DataWarning: there are some.
    """
    known = set(images)
    others = sorted(str(path.relative_to(folder)) for path in seen_files(folder) if path not in known)
    if others:
        files = (
            f"1 file is no {what} by its name" if len(others) == 1 else f"{len(others)} files are no {what}s by name"
        )
        named = ", ".join(others[:3]) + (" and others" if len(others) > 3 else "")
        warnings.warn(f"{files}, and passed over: {named}.", DataWarning, stacklevel=5)
    classes = {path.relative_to(folder).parts[0] for path in images}
    empty = sorted(p.name for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name) and p.name not in classes)
    if empty:
        named = ", ".join(map(repr, empty[:3])) + (" and others" if len(empty) > 3 else "")
        told = f" {named} holds no {what}s, so it is no class"
        if len(empty) > 1:
            told = f"s {named} hold no {what}s, so they are no classes"
        warnings.warn(f"the folder{told}.", DataWarning, stacklevel=5)
