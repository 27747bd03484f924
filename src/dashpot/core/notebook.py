"""What notebooks show: a value as plain HTML, and a line that is written anew in place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from importlib import import_module
from typing import Any

ROWS = 30
"""Rows of a table that are shown; how many more there are is said."""
# Colours are the notebook's own, light or dark; its rules for tables are overruled cell by cell.
_CELL = "text-align:left;vertical-align:top;padding:0.15em 1em 0.15em 0;background:none;color:inherit"
_HEAD = f"{_CELL};font-weight:600;border-bottom:1px solid currentColor"


def table(head: Sequence[object], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A table; every cell is escaped.

    >>> table(("name",), [("<b>",)]).count("&lt;b&gt;")
    1
    """
    parts = ['<table style="border-collapse:collapse;color:inherit">']
    if caption:
        parts += [f'<caption style="text-align:left;color:inherit">{escape(caption)}</caption>']
    if any(map(str, head)):
        parts += ["<thead>", _row(head, "th", _HEAD), "</thead>"]
    parts += ["<tbody>", *(_row(row, "td", _CELL) for row in rows[:ROWS]), "</tbody></table>"]
    return "".join(parts) + (words([f"and {len(rows) - ROWS:,} more"]) if len(rows) > ROWS else "")


def words(lines: Sequence[object]) -> str:
    """A paragraph for each line, escaped."""
    return "".join(f'<p dir="auto" style="margin:0.3em 0">{escape(str(line))}</p>' for line in lines)


def titled(title: object, *parts: str) -> str:
    """Parts that are HTML already, below a title, which is escaped."""
    return f'<div><p dir="auto" style="margin:0.3em 0;font-weight:600">{escape(str(title))}</p>{"".join(parts)}</div>'


def page_html(page: Any) -> str:
    """The short form of a report's page: its title, its sentences and its first table.

    Args:
        page: a :class:`~dashpot.report.page.blocks.Page`.
    """
    tables = [block for section in page.sections for block in section.blocks if block.kind == "table"]
    first = [table(t.head, t.rows, t.caption) + (words([t.note]) if t.note else "") for t in tables[:1]]
    return titled(page.title, words(page.summary), *first)


def shown_by(place: str, value: Any) -> str:
    """A value in short by the function that makes its page, ``module:function``. A text, as pages import records."""
    module, _, name = place.partition(":")
    return page_html(getattr(import_module(module), name)(value))


def _row(cells: Sequence[object], tag: str, style: str) -> str:
    made = (f'<{tag} dir="auto" style="{style}">{escape(str(cell))}</{tag}>' for cell in cells)
    return f"<tr>{''.join(made)}</tr>"


class Line:
    """One line in the output of a notebook's cell, written anew by each call; False where this is no notebook.

    Needs no widgets, and what is left in a saved notebook is the last line.
    """

    def __init__(self) -> None:
        self._show, self._handle = _display(), None

    def __bool__(self) -> bool:
        return self._show is not None

    def __call__(self, text: str) -> None:
        """Show it in place of what was there."""
        # Two forms of one output: a front end takes the first that it can.
        form = {"text/plain": text, "text/html": words([text])}
        if self._handle is not None:
            self._handle.update(form, raw=True)
        elif self._show is not None:
            self._handle = self._show(form, raw=True, display_id=True)


def _display() -> Any:
    """IPython's ``display`` in a kernel, whose outputs can be replaced; None elsewhere, IPython in a terminal too."""
    ipython = sys.modules.get("IPython")  # in a notebook it is there
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return import_module("IPython.display").display
