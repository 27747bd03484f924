"""How a text file writes a table: line ends, separators, quotes, comments and blank lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError
from dashpot.data.tables.written_numbers import PLAIN

SEPARATORS = (",", ";", "\t", "|")
WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
CHUNK = 1 << 22
SAMPLE_BYTES, SAMPLE_LINES = 1 << 18, 60
_LF, _CR, _QUOTE, _HASH, _SPACE, _TAB = 10, 13, 34, 35, 32, 9


@dataclass(frozen=True)
class Scan:
    """What all bytes of a file say.

    Attributes:
        ascii: whether all are ASCII.
        zero: whether there is a NUL among them.
        quotes: where double quotes are.
        starts: of lines that begin with a space, a tab, ``#`` or a line end: they may be blank, or comments.
    """

    ascii: bool
    zero: bool
    quotes: np.ndarray
    starts: np.ndarray


def scan(data: np.ndarray) -> Scan:
    """Go once through the bytes of a file, uint8 [n], in pieces that fit a cache."""
    plain, zero = True, False
    quotes, starts = [], []
    first = data[:1]
    if len(first) and first[0] in (_LF, _CR, _SPACE, _TAB, _HASH):
        starts.append(np.zeros(1, dtype=np.int64))
    for begin in range(0, len(data), CHUNK):
        part = data[begin : begin + CHUNK]
        plain = plain and int(part.max()) < 128
        zero = zero or not part.all()
        found = np.flatnonzero(part == _QUOTE)
        if len(found):
            quotes.append(found + begin)
        ends = np.flatnonzero(part == _LF) + begin + 1
        ends = ends[ends < len(data)]
        after = data[ends]
        odd = ends[(after <= _HASH) & np.isin(after, (_LF, _CR, _SPACE, _TAB, _HASH))]
        if len(odd):
            starts.append(odd)
    empty = np.zeros(0, dtype=np.int64)
    return Scan(plain, zero, np.concatenate([empty, *quotes]), np.concatenate([empty, *starts]))


def regular_quotes(data: np.ndarray, quotes: np.ndarray, separator: str) -> bool:
    """Whether all quotes open or close a whole field, or are doubled within one; not so in ``5" pipe``."""
    if not len(quotes):
        return True
    if len(quotes) % 2:
        return False
    ends = np.array([_LF, _CR, ord(separator)], dtype=np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    before, after = np.maximum(opening - 1, 0), np.minimum(closing + 1, len(data) - 1)
    opens = (opening == 0) | np.isin(data[before], ends)
    opens[1:] |= opening[1:] == closing[:-1] + 1
    closes = (closing == len(data) - 1) | np.isin(data[after], ends)
    closes[:-1] |= closing[:-1] + 1 == opening[1:]
    return bool(opens.all() and closes.all())


def lines_to_drop(data: Any, starts: np.ndarray, quotes: np.ndarray, separator: str) -> list[tuple[int, int]]:
    """Start and stop of blank lines, and of comments: lines that begin with ``#`` and do not have as many fields as the
    header, or stand before it.
    """
    outside = starts[np.searchsorted(quotes, starts) % 2 == 0]
    blanks, hashes = [], []
    for start in outside.tolist():
        stop = data.find(b"\n", start)
        stop = len(data) if stop < 0 else stop + 1
        line = data[start:stop]
        if not line.strip(b" \r\n" if separator == "\t" else b" \t\r\n"):
            blanks.append((start, stop))
        elif line.startswith(b"#"):
            hashes.append((start, stop))
    return sorted(blanks + _comments(data, blanks, hashes, separator))


def _comments(
    data: Any, blanks: Sequence[tuple[int, int]], hashes: Sequence[tuple[int, int]], separator: str
) -> list[tuple[int, int]]:
    known, dropped = dict([*blanks, *hashes]), dict(blanks)
    place, top = 0, []
    while place in known:
        if place not in dropped:
            top.append((place, known[place]))
        place = known[place]
    stop = data.find(b"\n", place)
    first = _fields(data[place : stop if stop >= 0 else len(data)], separator)
    if top and _is_header(_fields(data[slice(*top[-1])], separator), first):
        top.pop()
    width = len(first)
    below = [
        (start, stop) for start, stop in hashes if start > place and len(_fields(data[start:stop], separator)) != width
    ]
    return [*top, *below]


def _is_header(names: list[str], first: list[str]) -> bool:
    """Whether a line with ``#`` is the header: it has the fields of the first row of data, and no numbers."""
    import re

    numbers = [any(re.match(PLAIN, field.strip()) for field in line) for line in (names, first)]
    return len(names) == len(first) > 1 and numbers == [False, True]


def _fields(line: bytes, separator: str) -> list[str]:
    text = line.decode("utf-8", "replace").strip("\r\n").replace("\r", " ")
    return next(iter(_split([text], separator)), [])


def _split(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The fields of each row; none where Python's reader gives up, as at a field of megabytes."""
    try:
        return list(csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=separator))
    except csv.Error:
        return []


def check_separator(separator: str | None) -> str | None:
    """One character, or the name of one; None stays None.

    Raises:
        ConfigError: anything else.
    """
    if separator is None:
        return None
    chosen = WORDS.get(separator, separator)
    if len(chosen) != 1 or not chosen.isascii() or chosen.isalnum() or chosen in '"\r\n.':
        raise ConfigError("separator", "one character such as ',' ';' '|' or tab", separator)
    return chosen


def sample_of(data: Any) -> list[str]:
    """The first lines that are neither blank nor begin with ``#`` (all of them, where all begin with it)."""
    head = data[:SAMPLE_BYTES]
    if len(data) > SAMPLE_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n")]
    lines = [line for line in head.decode("utf-8", "replace").replace("\r\n", "\n").split("\n") if line.strip()]
    return ([line for line in lines if not line.startswith("#")] or lines)[:SAMPLE_LINES]


def sniffed(lines: Sequence[str]) -> str:
    """The separator that gives all lines the same number of fields, more than one; the comma where none does.

    Example:
        >>> sniffed(["x;y", "1,5;2,5", "2,5;3,5"]), sniffed(["x,y", "1;2,3"]), sniffed(["x", "1"])
        (';', ',', ',')
    """
    best, most = ",", (0, 1)
    for mark in SEPARATORS:
        widths = [len(row) for row in _split(lines, mark) if row]
        if not widths or widths[0] < 2:
            continue
        # A quoted field may be cut at the end of the sample; short rows are filled, long ones are refused.
        same = sum(width == widths[0] for width in widths) / len(widths)
        score = (2 if same == 1 else 1 if same > 0.5 else 0, widths[0])
        if score > most:
            best, most = mark, score
    return best


def spaced(lines: Sequence[str], separator: str) -> bool:
    """Whether a space follows every separator of the data, as in ``a, b``."""
    if separator == " ":
        return False
    rows = _split(lines[1:], separator)
    return any(len(row) > 1 for row in rows) and all(field.startswith(" ") for row in rows for field in row[1:])
