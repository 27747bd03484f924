"""What a page is made of: sections of words, tables, charts, pictures and texts to copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from dashpot.core.language import spoken


@dataclass(frozen=True)
class Words:
    """Paragraphs."""

    lines: Sequence[str]
    kind: Literal["words"] = "words"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row.

    Attributes:
        head: names of the columns.
        rows: texts, the first of each names the row; cells that start with a digit or a sign stand to the right.
        caption: what it shows, in one sentence.
        note: small print below.
        marked: numbers of the rows that stand out.
        first: rows that are seen at once; the others open on request.
        sortable: whether a click on a column's name sorts the rows.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    note: str = ""
    marked: frozenset[int] = frozenset()
    first: int = 30
    sortable: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Chart:
    """A drawing with what it shows in words.

    Attributes:
        svg: the drawing.
        title: above it.
        note: small print below.
        keys: (class of the mark, its meaning).
    """

    svg: Markup
    title: str
    note: str = ""
    keys: Sequence[tuple[str, str]] = ()
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Charts:
    """Several small drawings beside each other."""

    charts: Sequence[Chart]
    note: str = ""
    kind: Literal["charts"] = "charts"


@dataclass(frozen=True)
class Copy:
    """Texts to copy, each with its name.

    Attributes:
        texts: (name, text).
    """

    texts: Sequence[tuple[str, str]]
    kind: Literal["copy"] = "copy"


@dataclass(frozen=True)
class Picture:
    """An image file inside the page.

    Attributes:
        source: a ``data:`` address.
        alt: what it shows.
    """

    source: str
    alt: str
    kind: Literal["picture"] = "picture"


Block = Words | Table | Chart | Charts | Copy | Picture


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; one without blocks is left out."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Its place in the page's address.

        >>> Section("Train-test gap", ()).anchor
        'train-test-gap'
        """
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        title: of the data and the command.
        summary: what was asked, what was found, how sure that is.
        sections: those without blocks are left out.
        tips: what a mark says when it is pointed at, by its key.
        language: of the words; that which is spoken when the page is made.
    """

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    tips: Mapping[str, Sequence[str]] = field(default_factory=dict)
    language: str = field(default_factory=spoken)
