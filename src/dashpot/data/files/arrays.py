"""Reading arrays from ``.npz`` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dashpot.core.errors import DataError, StorageError
from dashpot.data.files.large_arrays import LargeImages
from dashpot.data.pictures.images import as_pixels
from dashpot.data.rows import Rows
from dashpot.data.signals import as_signals, demand_finite, looks_like_signals


def read_npz(path: Path, large: LargeImages | None = None) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz``; pickled objects in it are never loaded.

    Args:
        large: some of them, which are not read but stood in for.
    """
    unread = large.shapes if large is not None else {}
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files if name not in unread}
    except ValueError as error:
        raise DataError(f"{path.name} must hold plain arrays of numbers, got: {error}") from None
    except Exception as error:  # numpy raises many kinds for a damaged zip
        raise StorageError(f"{path.name} must be a readable .npz, got: {error}.") from None
    return held | {name: large.stand_in(name) for name in unread if large is not None}


def read_labelled(path: Path, kind: str | None = None) -> tuple[Rows | np.ndarray, np.ndarray, np.ndarray | None]:
    """Inputs, target and, where the file names one, the rows of the test part.

    Args:
        kind: of the inputs, as :func:`as_inputs` takes it.

    Raises:
        DataError: the arrays are not of one form, or do not fit each other.
    """
    large = LargeImages.of(path, kind)
    arrays = read_npz(path, large)
    fixed = None
    if {"X_train", "y_train", "X_test", "y_test"} <= set(arrays):
        for part in ("train", "test"):
            _check_pair(path, f"X_{part}", arrays[f"X_{part}"], f"y_{part}", arrays[f"y_{part}"])
        one, other = arrays["X_train"], arrays["X_test"]
        if one.shape[1:] != other.shape[1:]:
            raise DataError(
                f"{path.name}: X_train and X_test must have rows of one shape, got {list(one.shape[1:])} and"
                f" {list(other.shape[1:])}."
            )
        kinds = [arrays[name].dtype for name in ("y_train", "y_test")]
        if (kinds[0].kind in "SU") != (kinds[1].kind in "SU"):
            raise DataError(
                f"{path.name}: y_train and y_test must both be numbers or both be text, got {kinds[0]} and {kinds[1]}."
            )
        x = np.concatenate([one, other]) if large is None else one
        y = np.concatenate([arrays["y_train"], arrays["y_test"]])
        fixed = np.arange(len(one), len(one) + len(other))
    elif {"X", "y"} <= set(arrays):
        x, y = arrays["X"], arrays["y"]
        _check_pair(path, "X", x, "y", y)
    else:
        raise DataError(
            f"{path.name} must hold X_train, y_train, X_test, y_test, or X, y; it holds"
            f" {', '.join(sorted(arrays)) or 'nothing'}."
        )
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path.name}: y must be text in UTF-8, got: {error}.") from None
    return large.read() if large is not None else as_inputs(f"{path.name}: X", x, kind), y, fixed


def read_inputs(path: Path) -> np.ndarray:
    """What to predict for: X, or X_test."""
    arrays = read_npz(path)
    for name in ("X", "X_test"):
        if name in arrays:
            _check_inputs(path, name, arrays[name])
            return arrays[name]
    raise DataError(f"{path.name} must hold X or X_test, it holds {', '.join(sorted(arrays)) or 'nothing'}.")


def as_inputs(name: str, x: np.ndarray, kind: str | None = None) -> Rows | np.ndarray:
    """An array as the inputs of a problem.

    Args:
        kind: ``"table"``, ``"image"`` or ``"signal"``. By default two axes are a table; of three, [n, k, steps] with k
            below 8 are signals of k channels, and others grey images; four are images.

    Raises:
        DataError: another shape, or numbers that are not finite.
    """
    if kind is None:
        kind = "table" if x.ndim == 2 else "signal" if looks_like_signals(x) else "image"
    if kind == "table":
        return as_rows(x)
    if kind == "signal":
        signals = as_signals(name, x)
        demand_finite(name, signals)
        return signals
    return as_pixels(name, x)


def as_rows(x: np.ndarray) -> Rows:
    """A table of all that each row has."""
    flat = x.reshape(len(x), int(np.prod(x.shape[1:])))
    return Rows(tuple(f"x{i}" for i in range(flat.shape[1])), matrix=flat.astype(np.float64))


def _check_pair(path: Path, x_name: str, x: np.ndarray, y_name: str, y: np.ndarray) -> None:
    _check_inputs(path, x_name, x)
    if y.ndim != 1:
        raise DataError(
            f"{path.name}: {y_name} must have one dimension, a target for each row, got shape {list(y.shape)}. Save one"
            " column of it; several targets are trained in Python, by dashpot.fit with a model of your own."
        )
    if len(x) != len(y):
        raise DataError(
            f"{path.name} must have a target for each row, got {len(x)} rows in {x_name} and {len(y)} targets in"
            f" {y_name}."
        )
    if y.dtype.kind not in "fiubSU":
        raise DataError(f"{path.name}: {y_name} must hold numbers, truth values or text, got {y.dtype}. Convert it.")


def _check_inputs(path: Path, name: str, x: np.ndarray) -> None:
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path.name}: {name} must hold numbers, got {x.dtype}. Text belongs in a table.")
    if x.ndim < 2:
        raise DataError(
            f"{path.name}: {name} must have 2 dimensions or more, the first one of rows, got shape {list(x.shape)}."
        )
