"""Reading data: tables, arrays, and folders of images or texts."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from dashpot.core.errors import ConfigError, DataError, UnknownNameError, listed
from dashpot.data.digits import digits
from dashpot.data.files.arrays import read_labelled
from dashpot.data.files.delimited import read_delimited
from dashpot.data.files.dialects import check_separator
from dashpot.data.files.encodings import check_encoding
from dashpot.data.files.remote import at_hand
from dashpot.data.files.tables import read_table, row_numbers
from dashpot.data.kinds import KINDS
from dashpot.data.parts import class_folders, named_test, warn_of_others
from dashpot.data.pictures.decoding import read_images
from dashpot.data.pictures.images import existing, image_files
from dashpot.data.problem import Problem, guess_task
from dashpot.data.rows import Rows, decided_frame
from dashpot.data.signals import signals_of
from dashpot.data.tables.columnar import DataWarning
from dashpot.data.tables.monotone import directed
from dashpot.data.tables.reading import Reading, missing_of
from dashpot.data.tables.targets import demand_present, target_of
from dashpot.data.texts.documents import document_files, holds_documents, read_documents
from dashpot.data.texts.rows import how_of, texts_in
from dashpot.data.texts.words import all_texts
from dashpot.texts.cutting import tokenizer_of
from dashpot.texts.encoder import encoder_of

if TYPE_CHECKING:
    import polars


class TextForm(TypedDict):
    """What a caller says of a text file."""

    encoding: str | None
    separator: str | None


def load_problem(
    source: str | Path | None = None,
    target: str | None = None,
    task: str | None = None,
    weights: str | None = None,
    *,
    numeric: Iterable[str] | None = None,
    dates: Iterable[str] | None = None,
    categorical: Iterable[str] | None = None,
    decimal: str | None = None,
    day_first: bool | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    kind: str | None = None,
    tokenizer: Any = None,
    vectors: str | Path | None = None,
    encoder: Any = None,
    monotone: Any = None,
) -> Problem:
    """Read data with a target.

    Args:
        source: a table (CSV, TSV, CSV.gz, JSON lines, Parquet, Feather, Excel, ARFF) with ``target`` naming a column,
            ``.npz`` (``X_train y_train X_test y_test``, or ``X y``), or a folder of class folders of images or of
            texts (``.txt``), or a URL of one (:func:`dashpot.data.files.remote.at_hand`); ``None`` is scikit-learn's
            digits as a table of 64 features.
        target: the target column of a table. Class labels are what the file says, to the letter.
        task: ``"classification"`` or ``"regression"``; guessed from the target by default.
        weights: the column of a table that says how much each row counts, which is no input: a row of weight 0 is
            absent, one of weight 2 counts as two rows.
        numeric, dates, categorical: columns of numbers, of dates and of names; by default what
            :func:`dashpot.data.tables.reading.decide` finds.
        decimal: the decimal mark in texts, ``"."`` or ``","``; by default what the columns show.
        day_first: whether 05/01/2024 is the 5th of January; by default what the column shows.
        encoding: of a text file; UTF-8 and UTF-16 are found.
        separator: of a text file; comma, semicolon, tab and ``|`` are found.
        kind: of the inputs, ``"table"``, ``"image"``, ``"signal"`` or ``"text"``; by default the source tells
            (:func:`dashpot.data.files.arrays.as_inputs`). The columns of a table may be the steps of a signal. A
            table whose columns all hold sentences (:func:`dashpot.data.texts.column.reads_as_text`) is of kind
            ``"text"``; where it is said of another one, its numbers and names are words beside those of its texts.
        tokenizer: of texts, ``"words"`` (the default), ``"characters"``, a function or a file
            (:func:`dashpot.texts.cutting.tokenizer_of`).
        vectors: of texts, a file of vectors of words from which a convolutional network starts
            (:func:`dashpot.texts.vectors.vectors_of`). By default they are learned from the training texts;
            ``"random"``: it starts without.
        encoder: of texts, a folder of a model whose vectors networks learn from
            (:func:`dashpot.texts.encoder.encoder_of`).
        monotone: directions of numeric columns of a table (:func:`dashpot.data.tables.monotone.directions`).

    A column named ``split`` that holds nothing but train, valid (validation, val, dev) and test is no input: its test
    rows are the test part. So are the images or texts in ``test``, where the folder holds nothing but folders of these
    names with class folders in them.

    Raises:
        ConfigError: a target without data, weights without a table, or a column that is not there.
        StorageError: no such file, or one that cannot be read.
        DataError: the data cannot be used; the message says why and what to do.

    Warns:
        DataWarning: what was read from a column ``split`` or from folders, row numbers that were left out, and a column
            of which it is not certain what it holds.
    """
    cut = None if tokenizer is None else tokenizer_of(tokenizer)
    reader = None if encoder is None else encoder_of(encoder)
    source = None if source is None else at_hand(source)
    if weights is not None and (source is None or Path(source).is_dir() or Path(source).suffix == ".npz"):
        raise ConfigError("weights", "None where data are no table", weights, "Only a table has columns.")
    reading = Reading.of(numeric, dates, categorical, decimal, day_first)
    check_encoding(encoding)
    form: TextForm = {"encoding": encoding, "separator": check_separator(separator)}
    if kind not in (None, *KINDS):
        raise UnknownNameError("kind", str(kind), KINDS)
    problem = _problem(source, target, task, weights, reading, form, kind)
    if cut is not None:
        if problem.kind != "text":
            way = "Say kind='text' (--kind text) if its columns are texts."
            raise ConfigError("tokenizer", "None for other data than texts", tokenizer, way)
        problem.how["tokenizer"] = cut
    problem.how |= directed(monotone, problem.kind)
    for name, given in (("vectors", vectors), ("encoder", reader)):
        if given is None:
            continue
        if problem.kind != "text":
            way = "Say kind='text' (--kind text) if its columns are texts."
            raise ConfigError(name, "None for other data than texts", str(given), way)
        problem.how[name] = given
    return problem


def _problem(
    source: str | Path | None,
    target: str | None,
    task: str | None,
    weights: str | None,
    reading: Reading,
    form: TextForm,
    kind: str | None,
) -> Problem:
    if source is None:
        if target is not None:
            raise ConfigError(
                "target",
                "given together with data",
                target,
                "Without data, scikit-learn's digits are used, which have one target.",
            )
        _demand_table(reading, form, "scikit-learn's digits", kind, "table")
        names, pixels, labels = digits()
        return Problem("digits", Rows(names, matrix=pixels), labels, task or "classification")
    path = existing(Path(source))
    if path.is_dir():
        return _folder_problem(path, task, reading, form, kind)
    if path.suffix == ".npz":
        _demand_table(reading, form, "an .npz file", kind, "table", "image", "signal")
        inputs, values, test = read_labelled(path, kind)
        return Problem(path.stem, inputs, values, task, test)
    _demand_kind(kind, path.name, "table", "signal", "text")
    return _table_problem(path, target, task, weights, reading, form, kind)


def _folder_problem(path: Path, task: str | None, reading: Reading, form: TextForm, kind: str | None) -> Problem:
    """Images or texts in class folders."""
    texts = kind == "text" or (kind is None and holds_documents(path))
    what, encoding = ("text", form["encoding"]) if texts else ("image", None)
    _demand_table(reading, {**form, "encoding": None} if texts else form, f"a folder of {what}s", kind, what)
    files = document_files(path) if texts else image_files(path)
    labels, test = class_folders(path, files, what)
    if len(set(labels)) < 2:
        one = f"got only {labels[0]!r}"
        raise DataError(f"folder {path} must hold {what}s of at least 2 classes, one folder each, {one}.")
    warn_of_others(path, files, what)
    inputs = read_documents(files, encoding) if texts else read_images(files)
    how = {"columns": ("text",)} if texts else {}
    return Problem(path.resolve().name, inputs, np.array(labels, dtype=object), task, test, how=how)


def _demand_table(reading: Reading, form: TextForm, what: str, kind: str | None, *known: str) -> None:
    """Options for the columns of a table are refused where there is none, and so are other kinds than are known."""
    given: dict[str, Any] = {**vars(reading), **form}
    for option, value in given.items():
        if value is not None and value != ():
            raise ConfigError(option, "given for a table", value, f"Leave it out for {what}.")
    _demand_kind(kind, what, *known)


def _demand_kind(kind: str | None, what: str, *known: str) -> None:
    if kind not in (None, *known):
        raise ConfigError("kind", f"{' or '.join(known)} for {what}", kind)


def _table_problem(
    path: Path,
    target: str | None,
    task: str | None,
    weights: str | None,
    reading: Reading,
    form: TextForm,
    kind: str | None,
) -> Problem:
    kept = [*reading.dates, *reading.categorical, *([] if target is None else [target])]
    frame, comma = read_table(path, kept, decimal=reading.decimal, **form)
    if target is None:
        raise DataError(f"target must name the column to predict. {path.name} has: {listed(frame.columns)}.")
    _demand_column("target", target, frame.columns, path)
    column = frame[target]
    weight, present = None, np.ones(frame.height, dtype=bool)
    if weights is not None:
        _demand_column("weights", weights, frame.columns, path)
        if weights == target:
            raise DataError(f"weights must be another column than the target, got {weights!r}.")
        weight, frame = frame[weights].to_numpy(), frame.drop(weights)
        present = weight != 0 if weight.dtype.kind in "fiu" else present
    values, task = _target(path, column, task, present, reading, comma, form)
    frame = frame.drop(target)
    del column
    rows = decided_frame(frame, reading, comma)
    del frame
    for name in row_numbers(rows):
        warnings.warn(f"column {name!r} is not an input: it numbers the rows.", DataWarning, stacklevel=4)
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
            stacklevel=4,
        )
        rows = rows.without("split")
        if not rows.names:
            raise DataError(f"{path.name} must have a column besides the target and 'split'.")
    fixed = test if test is not None and len(test) else None
    rows = _only_texts(rows, reading) if kind is None else rows
    inputs: Rows | np.ndarray = signals_of(path.name, rows) if kind == "signal" else rows
    how: dict[str, Any] = {}
    if kind == "text" or (kind is None and all_texts(rows, reading.categorical)):
        inputs, how = texts_in(rows), how_of(rows, reading.categorical)
    return Problem(path.name.split(".")[0], inputs, values, task, fixed, target, weight, weights or "", how)


def _only_texts(rows: Rows, reading: Reading) -> Rows:
    """Without columns of a single value, where all others hold sentences: they would make a mixed table of texts."""
    same = [name for name in rows.names if rows.column(name).dtype == object and len(rows.levels(name).names) < 2]
    rest = rows
    for name in same:
        rest = rest.without(name)
    if not same or not rest.names or not all_texts(rest, reading.categorical):
        return rows
    shown = ", ".join(map(repr, same))
    warnings.warn(f"left out, since they have one value in all rows: {shown}.", DataWarning, stacklevel=5)
    return rest


def _target(
    path: Path,
    column: polars.Series,
    task: str | None,
    present: np.ndarray,
    reading: Reading,
    comma: bool | None,
    form: TextForm,
) -> tuple[np.ndarray, str]:
    """The target and its task. What stands in rows of weight 0 is not read: they hold the first value of the others."""
    import polars

    some = column if present.all() else column.gather(np.flatnonzero(present))
    if some.null_count() or (some.dtype == polars.String and missing_of(some).any()):
        written = read_delimited(path, only=column.name, **form).frame[column.name] if comma is not None else None
        demand_present(column, written, present)
    values = target_of(some, task, reading, comma)
    if task is None:
        task = guess_task(values)
        values = target_of(some, task, reading, comma)
    if len(values) < len(column) and len(values):
        whole = np.full(len(column), values[0], dtype=values.dtype)
        whole[present] = values
        values = whole
    return values, task


def _demand_column(name: str, column: str, columns: list[str], path: Path) -> None:
    if column not in columns:
        near = difflib.get_close_matches(column, columns, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {listed(columns)}."
        raise DataError(f"{name} must be a column of {path.name}, got {column!r}. {hint}")
