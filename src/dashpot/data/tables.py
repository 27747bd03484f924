"""Reading tables from files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.preprocessing import DataWarning
from dashpot.data.rows import MISSING, Rows, frame_rows

if TYPE_CHECKING:
    import polars

MISSING_WORDS = ["", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL"]
CSV = (".csv", ".csv.gz")
NEARLY_ALL = 0.9
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ROW_NUMBERS = re.compile(r"|Unnamed: 0|__index_level_\d+__")


def read_table(path: Path, text: Collection[str] = ()) -> polars.DataFrame:
    """A CSV, CSV.gz or Parquet file.

    Args:
        text: columns of a CSV file that are text even where all of it reads as numbers.

    Raises:
        DataError: another kind of file, or no table in it.
    """
    import polars

    name = path.name.lower()
    try:
        if name.endswith(CSV):
            # A file's name may hold brackets, which are no pattern.
            frame = polars.read_csv(
                path,
                infer_schema_length=None,
                null_values=MISSING_WORDS,
                glob=False,
                schema_overrides=dict.fromkeys(text, polars.String),
            )
            _check_header(path, frame)
        elif name.endswith((".parquet", ".pq")):
            frame = polars.read_parquet(path, glob=False)
        else:
            raise DataError(f"data must be .csv, .csv.gz, .parquet, .npz or a folder of images, got {path.name!r}.")
    except polars.exceptions.NoDataError:
        raise DataError(f"{path.name} must have a header and rows, got an empty file.") from None
    except (polars.exceptions.PolarsError, OSError) as error:
        way = " Is the separator a comma?" if "more fields" in str(error) else ""
        raise DataError(f"{path.name} must be a readable table, got: {str(error).splitlines()[0]}.{way}") from None
    if frame.height == 0:
        raise DataError(f"{path.name} must have rows, got an empty table.")
    return frame


def _check_header(path: Path, frame: polars.DataFrame) -> None:
    import polars

    if len(frame.columns) == 1 and any(mark in frame.columns[0] for mark in ";\t|"):
        raise DataError(
            f"{path.name} must have several columns, got one named {frame.columns[0]!r}. Is the separator a comma?"
        )
    # polars gives the second of two equal names a new one, but a file may have such a name itself.
    if any("_duplicated_" in name for name in frame.columns):
        header = polars.read_csv(path, has_header=False, n_rows=1, infer_schema=False, glob=False).row(0)
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            shown = ", ".join(map(repr, twice))
            raise DataError(
                f"column names of {path.name} must be different from each other, got {shown} more than once. Rename or"
                " remove one."
            )


def target_of(column: polars.Series, task: str | None) -> np.ndarray:
    """A target without conversion: as float64, neighbours above 2^53 would be one class, and truth values would be
    called 0 and 1.

    Example:
        >>> import polars
        >>> target_of(polars.Series([True, False, None]), None)
        array(['true', 'false', None], dtype=object)
    """
    import polars

    if column.dtype == polars.Boolean and task != "regression":
        column = column.cast(polars.String)
    if column.dtype.is_integer() and column.null_count() == 0:
        return column.to_numpy()
    return frame_rows(column.to_frame()).column(column.name)


def row_numbers(rows: Rows) -> list[str]:
    """The columns that only number the rows, as pandas writes them.

    Example:
        >>> row_numbers(Rows(("", "a"), matrix=np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]])))
        ['']
    """
    named = [name for name in rows.names if _ROW_NUMBERS.fullmatch(name) and rows.column(name).dtype != object]
    return [name for name in named if (rows.column(name) % 1 == 0).all() and (np.diff(rows.column(name)) == 1).all()]


def warn_of_text_like_numbers(rows: Rows) -> None:
    """A column of numbers is text if some are written otherwise, such as 1,5 with a comma: each of them would be a
    level of its own.

    Warns:
        DataWarning: there is such a column.
    """
    for name in rows.names:
        if rows.column(name).dtype != object:
            continue
        column = rows.levels(name)
        counts = np.bincount(column.codes, minlength=len(column.names)) * np.array(
            [level != MISSING for level in column.names]
        )
        close = np.array([_NUMBER.fullmatch(level.strip().replace(",", ".", 1)) is not None for level in column.names])
        odd = next((level for level in column.names if level != MISSING and not _NUMBER.fullmatch(level)), None)
        share = counts[close].sum() / max(counts.sum(), 1)
        if odd is not None and share >= NEARLY_ALL:
            way = "Numbers are written with a point, and what is missing is left empty."
            warnings.warn(
                f"column {name!r} is read as text, though {share:.0%} of it look like numbers, because of {odd!r}."
                f" {way}",
                DataWarning,
                stacklevel=3,
            )
