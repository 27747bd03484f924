"""A page read by Python's own HTML parser: what it says, without what made it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "circle", "path", "rect"}


@dataclass
class Seen(HTMLParser):
    """The elements of a page.

    Attributes:
        tables: rows of cells.
        words: of each element that has its own, in order: (element, text).
        starts: every element with its attributes.
        open: elements that were never closed, in the end.
    """

    tables: list[list[list[str]]] = field(default_factory=list)
    words: list[tuple[str, str]] = field(default_factory=list)
    starts: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    tips: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        here = self.open[-1] if self.open else ""
        if here in ("th", "td"):
            self.tables[-1][-1][-1] += data
        if here == "script" and self.starts[-1][1].get("id") == "tips":
            self.tips = json.loads(data)
        elif data.strip():
            self.words.append((here, data.strip()))

    def table(self, *columns: str) -> list[list[str]]:
        """The rows of the table with these columns first."""
        return next(t[1:] for t in self.tables if t and t[0][: len(columns)] == list(columns))


def read(html: str) -> Seen:
    """The page, whose elements must all be closed in order."""
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert not seen.open
    return seen
