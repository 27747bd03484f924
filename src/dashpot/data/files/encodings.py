"""From the bytes of a text file to UTF-8: the encoding is found where it is certain, else asked for."""

from __future__ import annotations

import codecs
from typing import Any

from dashpot.core.errors import ConfigError, DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SHOWN = ("gb18030", "latin-1")
_AROUND = 30
CHUNK = 1 << 22


def check_encoding(encoding: str | None) -> None:
    """Raise ConfigError unless Python knows the encoding."""
    try:
        known = True
        if encoding is not None:
            codecs.lookup(encoding)
            b"a".decode(encoding)  # rot13 and the like are no encodings of text
    except (LookupError, UnicodeError, AttributeError):
        known = isinstance(encoding, str) and encoding.lower().replace("_", "-")[:6] in ("utf-16", "utf-32")
    if not known:
        way = "Others are utf-16, cp1252, shift_jis, big5, koi8-r."
        raise ConfigError("encoding", "one that Python knows, such as utf-8, latin-1 or gb18030", encoding, way)


def found_encoding(head: bytes) -> str | None:
    """The encoding that the first bytes of a file prove, by their byte-order mark or by the zeros of UTF-16; else None.

    Example:
        >>> found_encoding("x".encode("utf-16")), found_encoding("x,y".encode("utf-16-le")), found_encoding(b"x,y")
        ('utf-16-le', 'utf-16-le', None)
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    some = head[: len(head) // 2 * 2][:4096]
    if b"\0" not in some:
        return None
    even, odd = some[::2].count(0), some[1::2].count(0)
    half = len(some) // 2
    if odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * half and odd < 0.1 * half else None


def valid_utf8(data: Any) -> bool:
    """Whether all bytes (of a file that may be large) are UTF-8; they are looked at in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for begin in range(0, len(data), CHUNK):
            decoder.decode(data[begin : begin + CHUNK], final=begin + CHUNK >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def to_utf8(name: str, data: bytes, encoding: str | None) -> bytes:
    """The same text in UTF-8, without a byte-order mark.

    Args:
        encoding: what the caller says; None: what :func:`found_encoding` finds, else UTF-8.

    Raises:
        ConfigError: Python does not know the encoding.
        DataError: the bytes are no text in it; the message says how a part of them reads in others.
    """
    check_encoding(encoding)
    chosen = encoding or found_encoding(data[:4096]) or "utf-8"
    for mark, name_of_mark in _MARKS:
        if data.startswith(mark) and codecs.lookup(chosen).name[:6] in (name_of_mark[:6], "utf-8-"[:6]):
            data = data[len(mark) :]
            break
    try:
        text = data.decode(chosen)
    except UnicodeDecodeError as error:
        raise bad_byte(name, data, error.start, chosen) from None
    if "\0" in text:
        raise nul_character(name, text.count("\n", 0, text.index("\0")) + 1)
    return data if codecs.lookup(chosen).name == "utf-8" else text.encode()


def nul_character(name: str, line: int) -> DataError:
    """The error for a NUL in a file: another encoding, or no text."""
    return DataError(
        f"{name} must be text, got a NUL character in line {line}. Say its encoding (--encoding), or write it again."
    )


def bad_byte(name: str, data: bytes, place: int, chosen: str) -> DataError:
    """The error for bytes that are no text, with the line, and with what they are in two other encodings."""
    line = data.count(b"\n", 0, place) + 1
    start, stop = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
    part = data[max(start, place - _AROUND) : min(stop if stop >= 0 else len(data), place + _AROUND)].strip()
    shown = []
    for other in _SHOWN:
        try:
            shown.append(f"in {other} it reads {part.decode(other)!r}")
        except UnicodeDecodeError:
            continue
    way = f"Say encoding={' or '.join(map(repr, _SHOWN))}, or another one (--encoding)."
    return DataError(
        f"{name} must be text in {chosen.upper()}, got the byte 0x{data[place]:02x} in line {line}; {', '.join(shown)}."
        f" {way}"
    )
