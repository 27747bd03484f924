"""C++ kernels: compiled once for this processor by the installed C++ compiler, and kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import warnings
from pathlib import Path

from dashpot.core import compiler
from dashpot.core.compiler import Unusable
from dashpot.core.threads import cores

_FAILED: dict[Path, Unusable] = {}
_told = False


class SlowerWarning(UserWarning):
    """What Dashpot does is right, and takes longer than it need."""


def library(source: Path) -> ctypes.CDLL | None:
    """The compiled and loaded ``source``, or None where there is no C++ compiler that can, or ``DASHPOT_NO_COMPILER``
    is set; the first time that happens in a process, a :class:`SlowerWarning` says what it costs.
    """
    try:
        found = compiler.load(source, compiler.command())
    except Unusable as error:
        _FAILED[source] = error
        tell()
        return None
    _FAILED.pop(source, None)
    return found


def why_not(source: Path) -> str:
    """Why :func:`library` gave nothing for ``source``, and the way out."""
    error = _FAILED.get(source) or _unusable()
    return f"{error.reason[:1].upper()}{error.reason[1:]}. {error.remedy}".strip() if error is not None else ""


def failed(source: Path) -> bool:
    """Whether :func:`library` was asked for ``source`` and could not give it."""
    return source in _FAILED


def missing() -> str:
    """In one line: what it costs that kernels cannot be used, why they cannot, and the way out; empty where they can,
    as far as is known before they are compiled.
    """
    error = next(iter(_FAILED.values()), None) or _unusable()
    if error is None:
        return ""
    return (
        "Dashpot's C++ kernels cannot be used: results are the same to rounding, but optimizer steps with a penalty"
        f" take 3 to 40 times as long, and searches several times ({error.reason}). {error.remedy}"
    ).strip()


def tell() -> None:
    """Warn, once in a process, where :func:`missing` says something."""
    global _told
    if not _told and (text := missing()):
        _told = True
        warnings.warn(text, SlowerWarning, stacklevel=2)


def prepare(*, images: bool = True) -> list[threading.Thread]:
    """Begin to compile the kernels of the package that are not in the cache yet, in the background; the first use of
    one waits for it. One compiler runs on each core, and those of images come last.

    Args:
        images: also those that only images need, which take longer than all others together.

    Returns:
        The background threads; none where there is no compiler.
    """
    tell()
    if _unusable() is not None:
        return []
    sources = sorted(Path(__file__).parents[1].rglob("*.cpp"), key=lambda source: (_of_images(source), source))
    waiting = [source for source in sources if images or not _of_images(source)][::-1]

    def work() -> None:
        with contextlib.suppress(IndexError):  # from an empty list
            while True:
                library(waiting.pop())

    count = min(cores(), len(waiting))
    threads = [threading.Thread(target=work, name=f"compiling kernels {n}", daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads


def _of_images(source: Path) -> bool:
    """Whether only images need this kernel; pairs of rows are mixed in tables too."""
    return source.parent.name == "imaging" and source.stem != "pairs"


def _unusable() -> Unusable | None:
    try:
        compiler.command()
    except Unusable as error:
        return error
    return None
