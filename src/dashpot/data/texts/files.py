"""Files of texts, read and written row by row: a text on each line, a column of a table, or JSON lines."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dashpot.core.errors import ConfigError, DataError, StorageError, UnknownNameError
from dashpot.data.files.dialects import SAMPLE_BYTES, sample_of, sniffed
from dashpot.data.files.encodings import check_encoding, found_encoding, nul_character, to_utf8

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl")
_LONGEST_FIELD = 1 << 27  # the csv module's own limit is 131,072 characters

Row = dict[str, Any]
"""A line of a file; of a plain text file its only column is ``text``."""


class TextFile:
    """A file of texts: ``.txt`` with a text on each line, ``.csv`` and ``.tsv`` with a header, or ``.jsonl``.

    Args:
        path: of the file. The separator of a ``.csv`` is found.
        column: the one with the texts; by default ``text``, or the only one.
        encoding: of the file; UTF-8 and UTF-16 are found.

    Raises:
        ConfigError: another kind of file, or an encoding that Python does not know.
        StorageError: the file cannot be read.
        DataError: it is empty, no text in this encoding, holds a NUL character as it stands (in JSON an escaped one
            is a character like any other), or has no such column.
    """

    def __init__(self, path: Path, column: str | None = None, encoding: str | None = None) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError("a file of texts", f"one that ends in {', '.join(SUFFIXES)}", str(path))
        check_encoding(encoding)
        self.path, self._kind, self._encoding = path, path.suffix.lower(), encoding
        first = next(self._lines(), None)
        if first is None:
            raise DataError(f"{path} has no rows.")
        self.columns = list(first)
        if column is None and len(self.columns) > 1 and "text" not in self.columns:
            raise DataError(
                f"{path} has the columns {', '.join(self.columns)}. Say which one holds the texts, with --column."
            )
        self.column = column or ("text" if "text" in self.columns else self.columns[0])
        if self.column not in self.columns:
            raise UnknownNameError("--column", self.column, self.columns)

    def rows(self) -> Iterator[Row]:
        """The rows; a text that is missing is empty.

        Raises:
            DataError: a row whose text is none, or that is not like the first; with its line.
        """
        for number, row in enumerate(self._lines(), 1):
            text = row.get(self.column)
            if text is not None and not isinstance(text, str):
                raise DataError(f"{self.path}, row {number}: {self.column} must be a text, got {text!r}.")
            yield row if text is not None else {**row, self.column: ""}

    def _lines(self) -> Iterator[Row]:
        try:
            with self.path.open("rb") as file:
                encoding = self._encoding or found_encoding(file.read(4096)) or "utf-8"
            with self.path.open(encoding=encoding, newline="") as file:
                if self._kind == ".csv":
                    separator = sniffed(sample_of(file.read(SAMPLE_BYTES).encode("utf-8", "replace")))
                    file.seek(0)
                else:
                    separator = "\t"
                yield from self._parsed(self._checked(file), separator)
        except UnicodeDecodeError:
            # As all other files are read, for the line and what stands there.
            to_utf8(str(self.path), self.path.read_bytes(), self._encoding)
            raise
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error}. Check the path.") from error

    def _checked(self, file: Iterable[str]) -> Iterator[str]:
        """The lines without a mark of byte order."""
        for number, line in enumerate(file, 1):
            if "\0" in line:
                raise nul_character(str(self.path), number)
            yield line if number > 1 else line.removeprefix("\ufeff")

    def _parsed(self, lines: Iterator[str], separator: str) -> Iterator[Row]:
        if self._kind == ".txt":
            for line in lines:
                yield {"text": line.rstrip("\r\n")}
        elif self._kind == ".jsonl":
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield self._json(number, line)
        else:
            csv.field_size_limit(_LONGEST_FIELD)
            reader = csv.DictReader(lines, delimiter=separator)
            try:
                for row in reader:
                    if None in row or None in row.values():
                        wanted = len(reader.fieldnames or ())
                        raise DataError(
                            f"{self.path}, line {reader.line_num}: must have {wanted} columns, like the header."
                        )
                    yield row
            except csv.Error as error:
                raise DataError(f"{self.path}, line {reader.line_num}: {error}.") from None

    def _json(self, number: int, line: str) -> Row:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{self.path}, line {number}: no JSON ({error}).") from None
        if not isinstance(row, dict):
            raise DataError(
                f'{self.path}, line {number}: must be an object such as {{"text": ...}}, got {line[:40]!r}.'
            )
        return row


@contextlib.contextmanager
def writing(path: Path, columns: list[str]) -> Iterator[Callable[[Row], None]]:
    """A function that writes a row to a file of the kinds of :class:`TextFile`; the file is there when all is written.

    Raises:
        StorageError: the file cannot be written.
        DataError: a text with a NUL character, which only JSON can hold so that it is read again.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigError("a file of texts", f"one that ends in {', '.join(SUFFIXES)}", str(path))
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            write = _writer(file, kind, columns)
            yield write if kind == ".jsonl" else _without_nul(path, write)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path} could not be written: {error.strerror or error}. Name another place.") from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _without_nul(path: Path, write: Callable[[Row], None]) -> Callable[[Row], None]:
    def written(row: Row) -> None:
        for name, value in row.items():
            if isinstance(value, str) and "\0" in value:
                raise DataError(
                    f"{path} must hold texts without NUL characters, got {value[:40]!r} in column {name}. Write a"
                    " .jsonl file, or take them out."
                )
        write(row)

    return written


def _writer(file: Any, kind: str, columns: list[str]) -> Callable[[Row], None]:
    if kind == ".txt":
        # A text with line ends would be several.
        return lambda row: file.write(" ".join(str(row[columns[0]]).splitlines()) + "\n")
    if kind == ".jsonl":
        return lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")
    table = csv.DictWriter(file, columns, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
    table.writeheader()
    return table.writerow
