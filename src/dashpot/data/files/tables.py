"""Reading tables from files."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dashpot.core.errors import ConfigError, DataError
from dashpot.data.files.delimited import bytes_of, read_delimited
from dashpot.data.files.json_lines import read_json_lines
from dashpot.data.tables.columnar import Rows

if TYPE_CHECKING:
    import polars

TEXT = tuple(f".{kind}{packed}" for kind in ("csv", "tsv", "txt") for packed in ("", ".gz"))
PARQUET, ARROW, EXCEL = (".parquet", ".pq"), (".feather", ".arrow", ".ipc"), (".xlsx", ".xls", ".xlsb", ".ods")
ARFF = (".arff",)
JSON_LINES = tuple(f"{kind}{packed}" for kind in (".jsonl", ".ndjson") for packed in ("", ".gz"))
FORMATS = (
    "data must be .csv, .tsv, .txt or .jsonl (also with .gz), .parquet, .feather, .xlsx, .arff, .npz, or a folder of"
    " images or texts"
)
_ROW_NUMBERS = re.compile(r"|Unnamed: 0|__index_level_\d+__")


class Table(NamedTuple):
    """A table from a file.

    Attributes:
        frame: its columns; texts to the letter.
        comma: whether the file's form speaks for decimal commas (True) or for points (False); None where it has types.
    """

    frame: polars.DataFrame
    comma: bool | None


def read_table(
    path: Path,
    text: Collection[str] = (),
    *,
    encoding: str | None = None,
    separator: str | None = None,
    decimal: str | None = None,
) -> Table:
    """A table from a text file (CSV, TSV), Parquet, Feather (Arrow IPC), Excel or ARFF file, or JSON
    lines.

    Args:
        text: columns of a text file that are text even where all of it reads as numbers.
        encoding, separator, decimal: of a text file, where they are not to be found.

    Raises:
        ConfigError: ``encoding`` or ``separator`` for a file that is no text.
        DataError: another kind of file, or no table in it.
    """
    name = path.name.lower()
    if name.endswith(TEXT):
        found = read_delimited(path, encoding=encoding, separator=separator, text=text, decimal=decimal)
        table = Table(*found)
    else:
        for option, value in (("encoding", encoding), ("separator", separator)):
            if value is not None and not (option == "encoding" and name.endswith(ARFF + JSON_LINES)):
                raise ConfigError(option, "given for a text file, such as .csv", value, f"Leave it out for {name}.")
        table = Table(_binary(path, name, encoding), None)
    if table.frame.height == 0:
        raise DataError(f"{path.name} must have rows, got an empty table.")
    return table


def _binary(path: Path, name: str, encoding: str | None) -> polars.DataFrame:
    import polars

    readers: tuple[tuple[tuple[str, ...], Any], ...] = (
        (PARQUET, lambda: polars.read_parquet(path, glob=False)),
        (ARROW, lambda: polars.read_ipc(path.read_bytes())),
        (EXCEL, lambda: _excel(path)),
        (ARFF, lambda: _arff(path, encoding)),
        (JSON_LINES, lambda: read_json_lines(path.name, bytes(bytes_of(path)), encoding)),
    )
    reader = next((reader for endings, reader in readers if name.endswith(endings)), None)
    if reader is None:
        raise DataError(f"{FORMATS}, got {path.name!r}.")
    try:
        frame: polars.DataFrame = reader()
    except DataError:
        raise
    except polars.exceptions.NoDataError:
        raise DataError(f"{path.name} must have a header and rows, got an empty file.") from None
    except Exception as error:  # each reader has errors of its own for a damaged file
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path.name} must be a readable table, got: {first}.") from None
    return frame


def _excel(path: Path) -> polars.DataFrame:
    import polars

    try:
        return polars.read_excel(path)
    except ImportError:  # polars asks for one of its engines
        raise DataError(
            f"{path.name} needs a reader of Excel files: pip install fastexcel. Or save the sheet as CSV."
        ) from None


def _arff(path: Path, encoding: str | None) -> polars.DataFrame:
    """By the reader that scikit-learn brings; nominal attributes are declared categories."""
    import polars

    from dashpot.data.files.encodings import to_utf8

    try:
        from sklearn.externals import _arff as arff
    except ImportError:
        raise DataError(f"{path.name} needs scikit-learn's reader of ARFF files. Save it as CSV instead.") from None
    text = to_utf8(path.name, path.read_bytes(), encoding).decode()
    found = arff.load(text, encode_nominal=False)
    columns: list[polars.Series] = []
    for (name, kind), values in zip(found["attributes"], zip(*found["data"], strict=True), strict=False):
        if isinstance(kind, list):
            columns.append(polars.Series(name, values, dtype=polars.Enum(list(dict.fromkeys(kind)))))
        elif kind == "STRING":
            columns.append(polars.Series(name, values, dtype=polars.String))
        else:
            columns.append(polars.Series(name, [None if v is None else float(v) for v in values], dtype=polars.Float64))
    return polars.DataFrame(columns)


def row_numbers(rows: Rows) -> list[str]:
    """The columns that only number the rows, as pandas writes them.

    Example:
        >>> row_numbers(Rows(("", "a"), matrix=np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]])))
        ['']
    """
    named = [name for name in rows.names if _ROW_NUMBERS.fullmatch(name) and rows.column(name).dtype != object]
    return [name for name in named if _consecutive(rows.column(name))]


def _consecutive(numbers: np.ndarray) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers % 1 == 0).all() and (np.diff(numbers) == 1).all())
