"""Tables in text files (CSV, TSV): any dialect in, a frame of numbers and of texts as they are written out."""

from __future__ import annotations

import csv
import gzip
import io
import mmap
import re
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dashpot.core.errors import DataError, StorageError
from dashpot.data.files.dialects import (
    SAMPLE_BYTES,
    check_separator,
    lines_to_drop,
    regular_quotes,
    sample_of,
    scan,
    sniffed,
    spaced,
)
from dashpot.data.files.encodings import found_encoding, to_utf8, valid_utf8
from dashpot.data.tables.formats import MISSING_WORDS
from dashpot.data.tables.written_numbers import GROUPED_POINTS, PLAIN

if TYPE_CHECKING:
    import polars

Bytes = bytes | mmap.mmap
INFER_ROWS = 5000
TRIES = 4
LONGEST_FIELD = 1 << 27
"""Characters of a field; the csv module's own limit is 131,072."""


class Delimited(NamedTuple):
    """A table from a text file.

    Attributes:
        frame: numbers as float64, all else as text to the letter, in which words for missing values
            may be null.
        comma: whether its separator speaks for decimal commas.
    """

    frame: polars.DataFrame
    comma: bool


class _File(NamedTuple):
    """A text file, ready to be split: UTF-8, a line for each row, no comments."""

    name: str
    source: Path | bytes
    data: Bytes
    separator: str
    regular: bool
    spaced: bool
    header: list[str]


def read_delimited(
    path: Path,
    *,
    encoding: str | None = None,
    separator: str | None = None,
    text: Collection[str] = (),
    decimal: str | None = None,
    only: str | None = None,
) -> Delimited:
    """Read a text file.

    A UTF-8 or UTF-16 file is known by its mark or its bytes; another encoding must be said. The separator (comma,
    semicolon, tab or ``|``) is the one that gives the first lines as many fields as the header. Blank lines are no
    rows, nor are lines that begin with ``#`` and do not have the fields of the header. Fields may be quoted; a quote
    within a field (``5" pipe``) is a character. Where a space follows every separator, it is no part of the fields.
    Lines may end as on Unix, Windows or old Macs.

    Args:
        text: columns that are text even where they are numbers: targets, and what the caller says.
        decimal: what the caller says of decimal marks.
        only: read this column alone, with words for missing values as they are written.

    Raises:
        ConfigError: an encoding or separator that cannot be.
        DataError: no table; the message says what is wrong in which line.
    """
    file = _opened(path, encoding, check_separator(separator))
    frame = _rows(file) if not file.regular else _fast(file, text, decimal, only)
    if only is not None:
        frame = frame.select(only)
    if file.spaced:
        import polars.selectors as cs

        frame = frame.with_columns(cs.string().str.strip_chars_start(" "))
    return Delimited(frame, file.separator == ";")


def _opened(path: Path, encoding: str | None, separator: str | None) -> _File:
    source: Path | bytes = path
    data = bytes_of(path)
    if not isinstance(data, mmap.mmap):
        source = data
    seen = scan(np.frombuffer(data, dtype=np.uint8))
    if encoding is not None or seen.zero or found_encoding(data[:4]) or not (seen.ascii or valid_utf8(data)):
        source = data = to_utf8(path.name, bytes(data), encoding)
        seen = scan(np.frombuffer(data, dtype=np.uint8))
    head = data[:SAMPLE_BYTES]
    if head.count(b"\r") - head.count(b"\r\n") >= max(1, head.count(b"\n")):  # an old Mac's lines
        source = data = bytes(data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        seen = scan(np.frombuffer(data, dtype=np.uint8))
    lines = sample_of(data)
    if not lines:
        raise DataError(f"{path.name} must have a header and rows, got an empty file.")
    mark = separator or sniffed(lines)
    space = spaced(lines, mark)
    regular = regular_quotes(np.frombuffer(data, dtype=np.uint8), seen.quotes, mark)
    # Where quotes are only characters, no line lies within them, and a blank one is dropped by its own reader.
    drop = lines_to_drop(data, seen.starts, seen.quotes[: None if regular else 0], mark) if len(seen.starts) else []
    drop = drop if regular else [(start, stop) for start, stop in drop if data[start : start + 1] == b"#"]
    if drop:
        source = data = _without(data, drop)
    try:
        header = next(csv.reader(io.StringIO(_first(data), newline=""), delimiter=mark, skipinitialspace=space), [])
    except csv.Error as error:
        raise DataError(f"{path.name} must be a readable table, got: {error}, in its header.") from None
    return _File(path.name, source, data, mark, regular, space, _checked(path.name, header))


def bytes_of(path: Path) -> Bytes:
    """All bytes; of a large file as a view of it that takes no memory."""
    try:
        if path.name.lower().endswith(".gz"):
            return gzip.decompress(path.read_bytes())
        if path.stat().st_size < 1 << 20:
            return path.read_bytes()
        with path.open("rb") as handle:
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} must be a whole gzip file, got: {error}. Pack it again.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}. Check its rights.") from error


def _without(data: Bytes, drop: list[tuple[int, int]]) -> bytes:
    kept, place = [], 0
    for start, stop in drop:
        kept.append(data[place:start])
        place = stop
    return b"".join([*kept, data[place:]])


def _first(data: Bytes) -> str:
    """The header, which may hold line ends within quotes, and some more."""
    return data[: 1 << 20].decode("utf-8", "ignore")


def _checked(file: str, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    names = names if len(set(names)) == len(names) else header
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(
            f"column names of {file} must be different from each other, got {', '.join(map(repr, twice))} more than"
            " once. Rename or remove one."
        )
    # Several columns without a name get one, as polars gives it.
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if name == "" and name in seen:
            names[i] = f"_duplicated_{seen[''] - 1}"
        seen[name] = seen.get(name, 0) + 1
    return names


def _fast(file: _File, text: Collection[str], decimal: str | None, only: str | None) -> polars.DataFrame:
    """By polars, with types from the first rows; a column that turns out to hold anything else is read as text."""
    import polars

    source: Any = file.source if isinstance(file.source, Path) else io.BytesIO(file.source)
    options: dict[str, Any] = {"separator": file.separator, "glob": False, "null_values": None}
    try:
        sample = polars.read_csv(source, infer_schema=False, n_rows=INFER_ROWS, **options)
        if sample.width != len(file.header):  # lone carriage returns, which polars takes for text
            return _rows(file)
        kept = {file.header.index(name) for name in text if name in file.header}
        numeric = [i not in kept and only is None and _numbers(sample[:, i], decimal) for i in range(len(file.header))]
        # Looking for words in every field takes as long as all else. In texts they are found later.
        worded = any(numeric[i] and sample[:, i].is_in(MISSING_WORDS).any() for i in range(len(numeric)))
        for _ in range(TRIES):
            if worded:
                options["null_values"] = list(MISSING_WORDS)
            types = [polars.Float64 if number else polars.String for number in numeric]
            if not isinstance(source, Path):
                source.seek(0)
            try:
                frame = polars.read_csv(source, schema=dict(zip(sample.columns, types, strict=True)), **options)
                break
            except polars.exceptions.ComputeError as error:
                found = re.search(r"could not parse .* \(column number (\d+)\)", str(error), re.DOTALL)
                if found is None:
                    raise
                if worded:
                    numeric[int(found.group(1)) - 1] = False
                worded = True
        else:
            if not isinstance(source, Path):
                source.seek(0)
            frame = polars.read_csv(source, infer_schema=False, **options)
    except polars.exceptions.NoDataError:
        raise DataError(f"{file.name} must have a header and rows, got an empty file.") from None
    except (polars.exceptions.PolarsError, OSError) as error:
        _demand_widths(file)
        raise DataError(f"{file.name} must be a readable table, got: {str(error).splitlines()[0]}.") from None
    return frame.rename(dict(zip(frame.columns, file.header, strict=True)))


def _numbers(column: polars.Series, decimal: str | None) -> bool:
    """Whether the first values are plain numbers, of which nobody can doubt that they are."""
    some = column.drop_nulls().str.strip_chars_start(" ")
    some = some.filter(~some.is_in(MISSING_WORDS))
    if not len(some) or not some.str.contains(PLAIN).all() or some.str.contains(r"^[+-]?0\d").any():
        return False
    pointed = some.str.contains(".", literal=True)
    if decimal == "," and pointed.any():
        return False
    return not (pointed.any() and (some.str.contains(GROUPED_POINTS) | ~pointed).all())


def _rows(file: _File) -> polars.DataFrame:
    """By Python's own reader, to which a quote within a field is a character."""
    import polars

    columns: list[list[str | None]] = [[] for _ in file.header]
    for number, row in enumerate(_split(file)):
        if number == 0 or not row or (len(row) == 1 and not row[0].strip() and len(columns) > 1):
            continue
        for i, cells in enumerate(columns):
            cells.append(row[i] if i < len(row) else None)
    return polars.DataFrame(
        dict(zip(file.header, columns, strict=True)), schema=dict.fromkeys(file.header, polars.String)
    )


def _split(file: _File) -> list[list[str]]:
    """All rows as Python's reader has them.

    Raises:
        DataError: a row with more fields than the header, or a quote that is never closed.
    """
    text = bytes(file.data).decode()
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=file.separator, skipinitialspace=file.spaced)
    rows: list[list[str]] = []
    width, begin = len(file.header), 1
    try:
        for row in reader:
            if len(row) > width:
                raise _too_wide(file, begin, len(row))
            rows.append(row)
            last, begin = begin, reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{file.name} must be a readable table, got: {error}, after line {begin}.") from None
    if rows and any("\n" in field for field in rows[-1]) and text.count('"') % 2:
        raise DataError(
            f"{file.name} must close every quote that opens a field; the one in line {last} is not closed. Close it, or"
            " double it where it is a part of the text."
        )
    return rows


def _demand_widths(file: _File) -> None:
    """Raise the error that names the line, where one has more fields than the header."""
    _split(file)


def _too_wide(file: _File, line: int, fields: int) -> DataError:
    return DataError(
        f"{file.name} must have as many fields in every line as in its header, got {fields} in line {line} and"
        f" {len(file.header)} in the header, separated by {file.separator!r}. Quote fields that hold the separator, or"
        " say separator= (--separator)."
    )
