"""A font with ideographs, for names in figures: Matplotlib's own has none, and draws boxes instead."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

FILES = re.compile(
    r"NotoSans(Mono)?(CJK|SC|TC|JP|KR|HK)|SourceHanSans|wqy-|msyh|simhei|simsun|deng|PingFang|STHeiti|Hiragino"
    r"|DroidSansFallback",
    re.IGNORECASE,
)
"""Names of files of usual ones, on Linux, Windows and macOS."""


@functools.cache
def with_ideographs() -> tuple[str, ...]:
    """The family of an installed one, made known to Matplotlib, whose own list may be older than the font; nothing
    where there is none.
    """
    from matplotlib import font_manager

    found = [path for path in font_manager.findSystemFonts() if FILES.match(Path(path).name)]
    for path in sorted(found, key=lambda path: ("mono" in path.lower(), "regular" not in path.lower(), path)):
        try:
            font_manager.fontManager.addfont(path)
            entry = font_manager.fontManager.ttflist[-1]
            # In bold text the same, without a message that the weight is another one.
            font_manager.fontManager.ttflist.append(dataclasses.replace(entry, weight=700))
            return (entry.name,)
        except (OSError, RuntimeError, ValueError):  # a file that FreeType does not read: the next one
            continue
    return ()
