"""Reading data: tables, arrays and folders of images."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError, DataError
from dashpot.data.arrays import as_rows, read_inputs, read_labelled
from dashpot.data.images import ImagePreprocessing, as_pixels, existing, image_files, read_images
from dashpot.data.kinds import Prepares
from dashpot.data.parts import class_folders, named_test
from dashpot.data.preprocessing import DataWarning, Preprocessing
from dashpot.data.problem import Problem
from dashpot.data.rows import Rows, frame_rows, to_rows
from dashpot.data.tables import CSV, read_table, row_numbers, target_of, warn_of_text_like_numbers


def load_problem(
    source: str | Path | None = None,
    target: str | None = None,
    task: str | None = None,
    weights: str | None = None,
) -> Problem:
    """Read data with a target.

    Args:
        source: CSV, CSV.gz or Parquet (with ``target`` naming a column), ``.npz`` (``X_train y_train X_test y_test``,
            or ``X y``), or a folder of class folders of images; ``None`` is scikit-learn's digits as a table of 64
            features.
        target: the target column of a table.
        task: ``"classification"`` or ``"regression"``; guessed from the target by default.
        weights: the column of a table that says how much each row counts, which is no input: a row of weight 0 is
            absent, one of weight 2 counts as two rows.

    A column named ``split`` that holds nothing but train, valid (validation, val, dev) and test is no input: its test
    rows are the test part. So are the images in ``test``, where the folder holds nothing but folders of these names
    with class folders in them.

    Raises:
        ConfigError: a target without data, or weights without a table.
        StorageError: no such file, or one that cannot be read.
        DataError: the data cannot be used; the message says why and what to do.

    Warns:
        DataWarning: what was read from a column ``split`` or from folders, row numbers that were left out, and a text
            column that looks like numbers.
    """
    if weights is not None and (source is None or Path(source).is_dir() or Path(source).suffix == ".npz"):
        raise ConfigError("weights", "None where data are no table", weights, "Only a table has columns.")
    if source is None:
        from sklearn.datasets import load_digits

        if target is not None:
            raise ConfigError(
                "target",
                "given together with data",
                target,
                "Without data, scikit-learn's digits are used, which have one target.",
            )
        digits = load_digits()
        return Problem(
            "digits", Rows(tuple(digits.feature_names), matrix=digits.data), digits.target, task or "classification"
        )
    path = existing(Path(source))
    if path.is_dir():
        files = image_files(path)
        labels, test = class_folders(path, files)
        return Problem(path.resolve().name, read_images(files), np.array(labels, dtype=object), task, test)
    if path.suffix == ".npz":
        inputs, values, test = read_labelled(path)
        return Problem(path.stem, inputs, values, task, test)
    return _table_problem(path, target, task, weights)


def _table_problem(path: Path, target: str | None, task: str | None, weights: str | None) -> Problem:
    frame = read_table(path)
    if target is None:
        raise DataError(f"target must name the column to predict. {path.name} has: {', '.join(frame.columns[:12])}.")
    _demand_column("target", target, frame.columns, path)
    weight = None
    if weights is not None:
        _demand_column("weights", weights, frame.columns, path)
        if weights == target:
            raise DataError(f"weights must be another column than the target, got {weights!r}.")
        weight, frame = frame[weights].to_numpy(), frame.drop(weights)
    values, rows = target_of(frame[target], task), frame_rows(frame.drop(target))
    for name in row_numbers(rows):
        warnings.warn(f"column {name!r} is not an input: it numbers the rows.", DataWarning, stacklevel=3)
        rows = rows.without(name)
    if not rows.names:
        raise DataError(f"{path.name} must have a column besides the target.")
    test = named_test(rows)
    if test is not None:
        told = (
            f"its {len(test)} test rows are the test part"
            if len(test)
            else "it names no test rows, so the test part is drawn as always"
        )
        warnings.warn(
            f"column 'split' is not an input: {told}, the other {len(rows) - len(test)} rows are to train on.",
            DataWarning,
            stacklevel=3,
        )
        rows = rows.without("split")
        if not rows.names:
            raise DataError(f"{path.name} must have a column besides the target and 'split'.")
    if path.name.lower().endswith(CSV):
        warn_of_text_like_numbers(rows)
    fixed = test if test is not None and len(test) else None
    return Problem(path.name.split(".")[0], rows, values, task, fixed, target, weight, weights or "")


def _demand_column(name: str, column: str, columns: list[str], path: Path) -> None:
    if column not in columns:
        near = difflib.get_close_matches(column, columns, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(columns[:12])}."
        raise DataError(f"{name} must be a column of {path.name}, got {column!r}. {hint}")


def load_rows(source: str | Path, preprocessing: Prepares, target: str = "", weight: str = "") -> tuple[Any, list[str]]:
    """Read data to predict, as tensors that fit ``preprocessing``. Columns called ``target`` and ``weight`` are passed
    over.

    Returns:
        The inputs, and a name for each row (its number, or the image's path).
    """
    import torch

    path = existing(Path(source))
    if isinstance(preprocessing, ImagePreprocessing):
        if path.is_dir():
            files = image_files(path)
            return torch.from_numpy(preprocessing.transform(read_images(files, preprocessing.shape))), [
                str(file.relative_to(path)) for file in files
            ]
        x = read_inputs(path)
        return torch.from_numpy(preprocessing.transform(as_pixels("X", x))), [str(i) for i in range(len(x))]
    assert isinstance(preprocessing, Preprocessing)
    text = (*preprocessing.nominal, *preprocessing.text)  # of which the new rows alone may read as numbers
    rows = as_rows(read_inputs(path)) if path.suffix == ".npz" else frame_rows(read_table(path, text))
    if len(rows) == 0:
        raise DataError(f"{path.name} must have rows, got an empty table.")
    used = {*preprocessing.numeric, *preprocessing.indicated, *preprocessing.nominal, *preprocessing.text}
    passed_over = {target, weight, *row_numbers(rows)} | ({"split"} if named_test(rows) is not None else set())
    for name in (passed_over - used) & set(rows.names):
        rows = rows.without(name)
    return torch.from_numpy(preprocessing.transform(rows)), [str(i) for i in range(len(rows))]


def new_inputs(x: Any, preprocessing: Prepares, target: str = "", weight: str = "") -> np.ndarray:
    """Arrays, tensors, frames or lists of new rows, as a network takes them. Columns called ``target`` and ``weight``
    are passed over.

    Raises:
        DataError: they do not fit ``preprocessing``.
    """
    given = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x) if isinstance(x, list) else x
    if isinstance(preprocessing, ImagePreprocessing):
        return preprocessing.transform(as_pixels("X", np.asarray(given)))
    assert isinstance(preprocessing, Preprocessing)
    rows = to_rows(given)
    used = {*preprocessing.numeric, *preprocessing.nominal, *preprocessing.text}
    for name in ({target, weight} - used) & set(rows.names):
        rows = rows.without(name)
    return preprocessing.transform(rows)
