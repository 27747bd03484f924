"""What estimators take: the columns of a table by position, images and signals; and the rows that count."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_feature_names, _check_n_features, _check_sample_weight, check_array

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.weights import as_counts, checked_weights
from dashpot.data.files.arrays import as_inputs
from dashpot.data.kinds import kind_of
from dashpot.data.rows import Rows, decided, to_rows
from dashpot.data.tables.columnar import is_missing
from dashpot.data.tables.monotone import directed
from dashpot.data.tables.reading import Reading
from dashpot.data.texts.fields import Fields
from dashpot.data.texts.rows import as_texts, columns_for, how_of, is_frame, is_texts, texts_in
from dashpot.data.texts.words import all_texts

FORMS = "a table [n, features], images [n, h, w], [n, h, w, c] or [n, c, h, w], or signals [n, channels, steps]"
KINDS = (None, "text")
"""What ``kind`` of an estimator may be."""


def array_of(x: Any) -> np.ndarray | None:
    """X as an array, where it has more axes than a table; else None.

    Raises:
        DataError: what is no array of numbers, such as images of several sizes.
    """
    if is_frame(x):
        return None
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    elif isinstance(x, list | tuple):
        try:
            x = np.asarray(x)
        except (ValueError, TypeError):  # parts of several shapes
            _refuse_sizes(x)
            return None
    if not isinstance(x, np.ndarray):
        return None
    if x.dtype == object and x.ndim == 1:
        _refuse_sizes(x)
    if x.ndim < 3:
        return None
    if x.ndim > 4:
        raise DataError(f"X must be {FORMS}, got {list(x.shape)}.")
    if x.dtype.kind not in "fiub":
        raise DataError(f"X must hold numbers where it has {x.ndim} axes, got {x.dtype}. Convert it.")
    return x


def texts_as(estimator: BaseEstimator, x: Any, columns: tuple[str, ...], fields: Fields) -> np.ndarray:
    """Texts [n, columns] of a prediction, in any form: columns of a frame as scikit-learn has them, others by position.

    Args:
        estimator: named in errors.
        columns, fields: of training.

    Raises:
        DataError: no texts.
        ValueError: no rows, or other columns, in the words of scikit-learn.
    """
    if is_frame(x) and hasattr(x, "columns"):
        rows = table(estimator, x, reset=False, columns=columns, reading=None)
        found = columns_for("X", rows, columns, fields)
    else:
        found = as_texts("X", x, columns, fields)
        _demand_rows(estimator, found)
        if found.shape[1] != len(columns):
            raise ValueError(
                f"X has {found.shape[1]} features, but {type(estimator).__name__} is expecting {len(columns)} features"
                " as input."
            )
    return found


def _refuse_sizes(parts: Any) -> None:
    """DataError where the parts are arrays of two axes and more: images, of which each has its own size."""
    shapes = [list(np.shape(part)) for part in parts if isinstance(part, np.ndarray | torch.Tensor)]
    if len(shapes) == len(parts) and any(len(shape) > 1 for shape in shapes):
        other = next((shape for shape in shapes if shape != shapes[0]), shapes[0])
        raise DataError(
            f"X must be one array of images of one size, got {len(parts)} arrays such as {shapes[0]} and {other}."
            " Resize them, and stack them with numpy.stack."
        )


def arrays(estimator: BaseEstimator, x: np.ndarray) -> np.ndarray:
    """The images [n, channels, height, width] or signals [n, channels, steps] of a training.

    Args:
        estimator: named in errors; how many numbers a row has is set there.
        x: of three or four axes.

    Raises:
        DataError: another shape, or numbers that are not finite.
        ValueError: there are no rows, in the words of scikit-learn.
    """
    _demand_rows(estimator, x)
    _check_feature_names(estimator, x, reset=True)  # of an earlier training on a table
    found = np.asarray(as_inputs("X", x))
    estimator.n_features_in_ = int(np.prod(found.shape[1:]))
    return found


def arrays_as(estimator: BaseEstimator, x: Any, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """The same of a prediction, for what was trained on rows of this ``kind`` and ``shape``.

    Raises:
        DataError: another one, or numbers that are not finite.
    """
    found, got = array_of(x), list(np.shape(x))
    if found is not None:
        _demand_rows(estimator, found)
        found = np.asarray(as_inputs("X", found, kind))
        if found.shape[1:] == shape:
            return found
    forms = {"image": f"images [n, {', '.join(map(str, shape))}] or [n, {shape[1]}, {shape[-1]}, {shape[0]}]"}
    wanted = forms.get(kind, f"{kind}s [n, {', '.join(map(str, shape))}]")
    raise DataError(f"X must be {wanted}, as in training, got {got}." + " A single one is X[None]." * (found is None))


def _demand_rows(estimator: BaseEstimator, x: Any) -> None:
    if len(x) == 0:
        name = type(estimator).__name__
        raise ValueError(f"Found array with 0 sample(s) (shape={x.shape}) while a minimum of 1 is required by {name}.")


def table(estimator: BaseEstimator, x: Any, *, reset: bool, columns: Any, reading: Reading | None) -> Rows:
    """Columns by position; where training and ``x`` both have names, these must be the same in the same order, as
    everywhere in scikit-learn.

    Args:
        estimator: named in errors; in a training, the number of columns and their names are set there.
        reset: this is a training.
        columns: their names in training.
        reading: how a training reads them; later tables are read as that one was.
    """
    frame, name = is_frame(x), type(estimator).__name__
    if not frame:
        # scikit-learn's own checks, so that its users meet the messages they know.
        x = check_array(x, accept_sparse=True, dtype=None, ensure_all_finite="allow-nan", estimator=estimator)
        if getattr(x, "dtype", None) is not None and x.dtype.kind == "c":
            raise ValueError("Complex data not supported")
    rows = to_rows(x)  # which refuses names that repeat, before scikit-learn asks for them
    _check_feature_names(estimator, x, reset=reset)
    if len(rows) == 0:
        _demand_rows(estimator, x)
    if not frame:
        _check_n_features(estimator, x, reset=reset)
    elif reset:
        estimator.n_features_in_ = len(rows.names)
    elif len(rows.names) != estimator.n_features_in_:
        raise ValueError(
            f"X has {len(rows.names)} features, but {name} is expecting {estimator.n_features_in_} features as input."
        )
    # Names on both sides are the same by now, in the same order; where one side has none, scikit-learn has warned
    # and the position counts.
    return decided(rows, reading) if reading is not None else rows.renamed(columns)


def inputs_of(
    estimator: BaseEstimator, x: Any, kind: str | None, reading: Reading
) -> tuple[Rows | np.ndarray, dict[str, Any]]:
    """The inputs of a training, and of texts what else their preprocessing is fitted with.

    Args:
        estimator: named in errors; the number of columns and their names are set there.
        kind: ``"text"``: the columns are texts, or stand beside them; None: as found.
        reading: how columns are read.

    Raises:
        ConfigError: another kind, or a reading of what is no table.
        DataError: X cannot be used.
    """
    if kind not in KINDS:
        raise ConfigError("kind", "'text' or None", kind, "None finds tables, images, signals and sentences.")
    if is_texts(x):
        if reading != Reading():
            raise ConfigError("numeric, dates and categorical", "None where X is no table", type(x).__name__)
        _check_feature_names(estimator, None, reset=True)  # of an earlier training on a table
        texts = as_texts("X", x)
        estimator.n_features_in_ = 1
        return texts, {"columns": ("text",)}
    if isinstance(x, list | tuple) and any(isinstance(value, str) for value in x):
        row, odd = next((i, value) for i, value in enumerate(x) if not isinstance(value, str) and not is_missing(value))
        raise DataError(f"X must hold a text in each row where it is a list of texts, got {odd!r} in row {row}.")
    found = array_of(x)
    if found is not None:
        if reading != Reading() or kind is not None:
            option = "kind" if kind is not None else "numeric, dates and categorical"
            raise ConfigError(option, "None where X is no table", list(found.shape))
        return arrays(estimator, found), {}
    rows = table(estimator, x, reset=True, columns=(), reading=reading)
    if kind == "text" or all_texts(rows, reading.categorical):
        return texts_in(rows), how_of(rows, reading.categorical)
    return rows, {}


def told(kind: str, monotone: Any, **of_texts: Any) -> dict[str, Any]:
    """What else the preprocessing is fitted with, of what the caller said.

    Raises:
        ConfigError: what is of texts, or of tables, for other data.
    """
    for name, given in of_texts.items():
        if given is not None and kind != "text":
            raise ConfigError(name, "None for other data than texts", str(given), "Leave it out.")
    return {name: given for name, given in of_texts.items() if given is not None} | directed(monotone, kind)


def kind_name(inputs: Rows | np.ndarray) -> str:
    """``"table"``, ``"image"``, ``"signal"`` or ``"text"``."""
    return kind_of(inputs).name


def picked(inputs: Any, rows: np.ndarray) -> Any:
    """Some rows."""
    return inputs.take(rows) if isinstance(inputs, Rows) else inputs[rows]


def present(inputs: Any, y: Any, sample_weight: Any) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Inputs, targets and weights without the rows of weight 0, which are absent, whatever their target; None where all
    weigh the same. Raises ValueError where a row has no target, or a label none.
    """
    y = np.asarray(y)
    if y.ndim and len(inputs) != len(y):
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{len(inputs)}, {len(y)}]")
    weight = None
    if sample_weight is not None:
        # scikit-learn's own checks, so that its users meet the messages they know, and what it does not ask.
        ones = np.empty((len(inputs), 1))
        found = _check_sample_weight(sample_weight, ones, dtype=np.float64, ensure_non_negative=True)
        kept = np.flatnonzero(checked_weights("sample_weight", found, len(inputs)))
        inputs, y, weight = picked(inputs, kept), y[kept], as_counts(found[kept])
    if y.dtype == object:
        absent = np.array([not isinstance(label, str) and is_missing(label) for label in y.flat])
        if absent.any():
            raise DataError(
                f"y must be there in every row; it is missing in {int(absent.sum())} of {len(y)}. Remove those rows."
            )
    return inputs, y, weight
