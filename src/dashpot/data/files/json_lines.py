"""Tables as JSON lines: an object on each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dashpot.core.errors import DataError
from dashpot.data.files.encodings import to_utf8

if TYPE_CHECKING:
    import polars


def read_json_lines(name: str, data: bytes, encoding: str | None = None) -> polars.DataFrame:
    """Columns by the keys of all objects, in the order in which they come; what an object does not have is missing.
    Numbers and truth values keep their type where a column holds nothing else; a column of both and texts is text.

    Args:
        name: of the file, in errors.
        encoding: UTF-8 and UTF-16 are found.

    Raises:
        DataError: a line that is no object, or holds lists, objects or halves of characters; with its number.

    >>> read_json_lines("a.jsonl", b'{"text": "so", "stars": 5}\\n\\n{"text": null, "stars": 3.5}\\n').rows()
    [('so', 5.0), (None, 3.5)]
    """
    import polars

    columns: dict[str, list[Any]] = {}
    rows = 0
    # Line ends within texts are escaped; Python's own splitlines would cut at others, such as U+2028.
    for number, line in enumerate(to_utf8(name, data, encoding).decode().split("\n"), 1):
        if not line.strip():
            continue
        for key, value in _row(name, number, line).items():
            columns.setdefault(key, [None] * rows).append(value)
        rows += 1
        for values in columns.values():
            if len(values) < rows:
                values.append(None)
    if not columns:
        raise DataError(f"{name} must have rows with columns, got none.")
    return polars.DataFrame([_series(key, values) for key, values in columns.items()])


def _row(name: str, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{name} must hold an object of JSON on each line, got {error} in line {number}.") from None
    if not isinstance(row, dict):
        raise DataError(
            f'{name} must hold an object such as {{"text": "..."}} on each line, got {line.strip()[:40]!r} in line'
            f" {number}."
        )
    for key, value in row.items():
        if isinstance(value, list | dict):
            raise DataError(
                f"{name} must hold texts, numbers and truth values, got {type(value).__name__} in {key!r} of line"
                f" {number}. Convert or remove it."
            )
        try:
            f"{key}{value}".encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{name} must hold whole characters, got {error} in line {number}. Correct it.") from None
    return row


def _series(name: str, values: list[Any]) -> polars.Series:
    import polars

    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return polars.Series(name, values, dtype=polars.Boolean)
    if kinds and kinds <= {int, float}:
        return polars.Series(name, [None if v is None else float(v) for v in values], dtype=polars.Float64)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return polars.Series(name, texts, dtype=polars.String)
