"""New rows for a trained network: read as those of training were, whatever they would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.files.arrays import as_rows, read_inputs
from dashpot.data.files.tables import read_table, row_numbers
from dashpot.data.kinds import Prepares
from dashpot.data.parts import named_test
from dashpot.data.pictures.decoding import read_images
from dashpot.data.pictures.images import ImagePreprocessing, as_pixels, existing, image_files
from dashpot.data.rows import Rows, decided, frame_rows, to_rows
from dashpot.data.signals import SignalPreprocessing, as_signals, signals_of
from dashpot.data.tables.preprocessing import Preprocessing
from dashpot.data.texts.documents import document_files, read_documents
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.data.texts.rows import as_texts, columns_for


def load_rows(
    source: str | Path,
    preprocessing: Prepares,
    target: str = "",
    weight: str = "",
    *,
    encoding: str | None = None,
    separator: str | None = None,
) -> tuple[Any, list[str]]:
    """Read data to predict, as tensors that fit ``preprocessing``. Columns called ``target`` and ``weight`` are passed
    over. Texts are read as those of training were, whatever they would be alone.

    Args:
        encoding, separator: of a text file, where they are not to be found.

    Returns:
        The inputs, and a name for each row (its number, or the image's path).
    """
    import torch

    path = existing(Path(source))
    if isinstance(preprocessing, ImagePreprocessing) and path.is_dir():
        files = image_files(path)
        x = preprocessing.transform(read_images(files, preprocessing.shape))
        return torch.from_numpy(x), [str(file.relative_to(path)) for file in files]
    if isinstance(preprocessing, ImagePreprocessing | SignalPreprocessing):
        arrays = path.suffix == ".npz" or isinstance(preprocessing, ImagePreprocessing)
        new = read_inputs(path) if arrays else read_table(path, encoding=encoding, separator=separator).frame
        return torch.from_numpy(new_inputs(new, preprocessing, target, weight)), [str(i) for i in range(len(new))]
    if isinstance(preprocessing, TextPreprocessing) and path.is_dir():
        files = document_files(path)
        if len(preprocessing.columns) > 1:
            raise DataError(
                f"data must be a table with {', '.join(preprocessing.columns)}, as in training, got {path}."
            )
        x = preprocessing.transform(read_documents(files, encoding))
        return torch.from_numpy(x), [str(file.relative_to(path)) for file in files]
    if isinstance(preprocessing, TextPreprocessing):
        fields = preprocessing.fields
        own = [name for name in preprocessing.columns if name not in fields.limits or name in fields.formats]
        rows = frame_rows(read_table(path, own, encoding=encoding, separator=separator).frame)
        texts = columns_for(path.name, rows, preprocessing.columns, fields)
        return torch.from_numpy(preprocessing.transform(texts)), [str(i) for i in range(len(texts))]
    assert isinstance(preprocessing, Preprocessing)
    # Of these the new rows alone may read as numbers.
    text = (*preprocessing.nominal, *preprocessing.text, *preprocessing.formats)
    rows = (
        as_rows(read_inputs(path))
        if path.suffix == ".npz"
        else frame_rows(read_table(path, text, encoding=encoding, separator=separator).frame)
    )
    if len(rows) == 0:
        raise DataError(f"{path.name} must have rows, got an empty table.")
    used = {*preprocessing.numeric, *preprocessing.indicated, *preprocessing.nominal, *preprocessing.text}
    passed_over = {target, weight, *row_numbers(rows)} | ({"split"} if named_test(rows) is not None else set())
    rows = _without(rows, passed_over - used)
    return torch.from_numpy(preprocessing.transform(rows)), [str(i) for i in range(len(rows))]


def new_inputs(x: Any, preprocessing: Prepares, target: str = "", weight: str = "") -> np.ndarray:
    """Arrays, tensors, frames or lists of new rows, as a network takes them. Columns called ``target`` and ``weight``
    are passed over.

    Raises:
        DataError: they do not fit ``preprocessing``.
    """
    if isinstance(preprocessing, TextPreprocessing):
        return preprocessing.transform(as_texts("X", x, preprocessing.columns, preprocessing.fields))
    given = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x) if isinstance(x, list) else x
    if isinstance(preprocessing, ImagePreprocessing):
        return preprocessing.transform(as_pixels("X", np.asarray(given)))
    if isinstance(preprocessing, SignalPreprocessing):
        if isinstance(given, np.ndarray):
            return preprocessing.transform(as_signals("X", given))
        rows = decided(to_rows(given))
        rows = _without(rows, {target, weight, "split", *row_numbers(rows)})
        return preprocessing.transform(signals_of("X", rows))
    assert isinstance(preprocessing, Preprocessing)
    rows = to_rows(given)
    used = {*preprocessing.numeric, *preprocessing.nominal, *preprocessing.text}
    return preprocessing.transform(_without(rows, {target, weight} - used))


def _without(rows: Rows, names: set[str]) -> Rows:
    for name in names & set(rows.names):
        rows = rows.without(name)
    return rows
