"""Reading data: tables, arrays and folders of images."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import DataError, StorageError
from dashpot.data.images import ImagePreprocessing, as_pixels, existing, image_files, read_images
from dashpot.data.preprocessing import DataWarning, Preprocessing
from dashpot.data.problem import Problem
from dashpot.data.rows import Rows, frame_rows

PARTS = {"train": "train", "valid": "train", "validation": "train", "val": "train", "dev": "train", "test": "test"}
"""What a column named ``split`` may hold, in any case, and which part it means: validation parts are chosen from the training part here."""


def load_problem(source: str | Path | None = None, target: str | None = None, task: str | None = None) -> Problem:
    """Read data with a target.

    Args:
        source: CSV, CSV.gz or Parquet (with ``target`` naming a column), ``.npz`` (``X_train y_train X_test y_test``, or ``X y``), or a folder of class
            folders of images; ``None`` is scikit-learn's digits as a table of 64 features.
        target: the target column of a table.
        task: ``"classification"`` or ``"regression"``; guessed from the target by default.

    A column named ``split`` that holds nothing but train, valid (validation, val, dev) and test is no input: its test rows are the test part.

    Raises:
        StorageError: no such file, or one that cannot be read.
        DataError: the data cannot be used; the message says why and what to do.

    Warns:
        DataWarning: what was read from a column ``split``.
    """
    if source is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Problem("digits", Rows(tuple(digits.feature_names), matrix=digits.data), digits.target, task or "classification")
    path = existing(Path(source))
    if path.is_dir():
        files, labels = image_files(path)
        loose = labels.count("")
        if loose:
            raise DataError(f"folder {path} must hold one folder per class; {loose} images lie outside of any.")
        return Problem(path.resolve().name, read_images(files), np.array(labels, dtype=object), task)
    if path.suffix == ".npz":
        return _npz_problem(path, task)
    rows = read_table(path)
    if target is None:
        raise DataError(f"target must name the column to predict. {path.name} has: {', '.join(rows.names[:12])}.")
    if target not in rows.names:
        near = difflib.get_close_matches(target, rows.names, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(rows.names[:12])}."
        raise DataError(f"target must be a column of {path.name}, got {target!r}. {hint}")
    if len(rows.names) < 2:
        raise DataError(f"{path.name} must have a column besides the target.")
    values, rows = rows.column(target), rows.without(target)
    test = named_test(rows)
    if test is None:
        return Problem(path.name.split(".")[0], rows, values, task, target_name=target)
    if len(rows.names) < 2:
        raise DataError(f"{path.name} must have a column besides the target and 'split'.")
    told = f"its {len(test)} test rows are the test part" if len(test) else "it names no test rows, so the test part is drawn as always"
    warnings.warn(f"column 'split' is not an input: {told}, the other {len(rows) - len(test)} rows are to train on.", DataWarning, stacklevel=2)
    return Problem(path.name.split(".")[0], rows.without("split"), values, task, test if len(test) else None, target_name=target)


def named_test(rows: Rows) -> np.ndarray | None:
    """The test rows that a column named ``split`` names, in order; ``None`` without such a column, or where it holds anything else.

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


def load_rows(source: str | Path, preprocessing: Preprocessing | ImagePreprocessing, target: str = "") -> tuple[Any, list[str]]:
    """Read data to predict for, as tensors that fit ``preprocessing``. A column called ``target`` is passed over.

    Returns:
        The inputs, and a name for each row (its number, or the image's path).
    """
    import torch

    path = existing(Path(source))
    if isinstance(preprocessing, ImagePreprocessing):
        if path.is_dir():
            files, _ = image_files(path)
            shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
            return torch.from_numpy(preprocessing.transform(read_images(files, shape))), [str(file.relative_to(path)) for file in files]
        arrays = read_npz(path)
        x = _inputs_of(path, arrays)
        return torch.from_numpy(preprocessing.transform(as_pixels("X", x))), [str(i) for i in range(len(x))]
    if path.suffix == ".npz":
        x = _inputs_of(path, read_npz(path))
        rows = Rows(tuple(f"x{i}" for i in range(x.reshape(len(x), -1).shape[1])), matrix=x.reshape(len(x), -1).astype(np.float64))
    else:
        rows = read_table(path)
    if len(rows) == 0:
        raise DataError(f"{path.name} must have rows, got an empty table.")
    if target in rows.names and target not in (*preprocessing.numeric, *preprocessing.nominal):
        rows = rows.without(target)
    if "split" not in preprocessing.nominal and named_test(rows) is not None:
        rows = rows.without("split")
    return torch.from_numpy(preprocessing.transform(rows)), [str(i) for i in range(len(rows))]


def read_table(path: Path) -> Rows:
    """A CSV, CSV.gz or Parquet file.

    Raises:
        DataError: another kind of file, or no table in it.
    """
    import polars

    name = path.name.lower()
    try:
        if name.endswith((".csv", ".csv.gz")):
            frame = polars.read_csv(path, infer_schema_length=None, null_values=["", "?", "NA"])
        elif name.endswith((".parquet", ".pq")):
            frame = polars.read_parquet(path)
        else:
            raise DataError(f"data must be .csv, .csv.gz, .parquet, .npz or a folder of images, got {path.name!r}.")
    except polars.exceptions.NoDataError:
        raise DataError(f"{path.name} must have a header and rows, got an empty file.") from None
    except (polars.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path.name} must be a readable table, got: {str(error).splitlines()[0]}.") from None
    if frame.height == 0:
        raise DataError(f"{path.name} must have rows, got an empty table.")
    return frame_rows(frame)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz``; pickled objects in it are never loaded."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as error:
        raise DataError(f"{path.name} must hold plain arrays of numbers, got: {error}") from None
    except Exception as error:  # numpy raises many kinds for a damaged zip
        raise StorageError(f"{path.name} must be a readable .npz, got: {error}.") from None


def _npz_problem(path: Path, task: str | None) -> Problem:
    arrays = read_npz(path)
    fixed = None
    if {"X_train", "y_train", "X_test", "y_test"} <= set(arrays):
        x = np.concatenate([arrays["X_train"], arrays["X_test"]])
        y = np.concatenate([arrays["y_train"], arrays["y_test"]])
        fixed = np.arange(len(arrays["X_train"]), len(x))
    elif {"X", "y"} <= set(arrays):
        x, y = arrays["X"], arrays["y"]
    else:
        raise DataError(f"{path.name} must hold X_train, y_train, X_test, y_test, or X, y; it holds {', '.join(sorted(arrays)) or 'nothing'}.")
    if len(x) != len(y):
        raise DataError(f"{path.name} must have a target for each row, got {len(x)} rows and {len(y)} targets.")
    if y.ndim != 1:
        raise DataError(f"{path.name}: y must have one dimension, got {y.ndim}.")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path.name}: X must hold numbers, got {x.dtype}. Text belongs in a table.")
    inputs: Rows | np.ndarray
    inputs = Rows(tuple(f"x{i}" for i in range(x.shape[1])), matrix=x.astype(np.float64)) if x.ndim == 2 else as_pixels("X", x)
    if isinstance(inputs, np.ndarray) and not np.isfinite(inputs.astype(np.float32)).all():
        raise DataError(f"{path.name}: X must hold finite numbers, got NaN or infinity in an image.")
    return Problem(path.stem, inputs, y, task, fixed)


def _inputs_of(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    for name in ("X", "X_test"):
        if name in arrays:
            return arrays[name]
    raise DataError(f"{path.name} must hold X or X_test, it holds {', '.join(sorted(arrays)) or 'nothing'}.")
