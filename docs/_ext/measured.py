"""Numbers of the result files on pages, read while the site is built, so that none can go stale.

``{measured}`text-augment > arms > bag > half > mean | .3f``` is one number: the file's name, keys, and a format. A last
part such as ``* 100`` or ``/ 1e6`` scales it. The directive ``evidence`` draws a table of ``evidence.py`` by its name.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, ClassVar

import evidence
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@functools.cache
def result(name: str) -> Any:
    """A result file's content."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def value(text: str) -> str:
    """The number that the text of a role asks for.

    Raises:
        KeyError: a file or key that is not there.
    """
    path, _, shape = text.partition("|")
    name, *keys = (part.strip() for part in path.split(">"))
    found = result(name)
    for key in keys:
        found = found[int(key)] if isinstance(found, list) else found[key]
    shape, _, scale = shape.partition("*")
    return format(float(found) * float(scale or 1), shape.strip()) if shape.strip() else str(found)


class Measured(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return [nodes.Text(value(self.text))], []
        except (KeyError, IndexError, OSError, ValueError) as error:
            message = self.inliner.reporter.warning(f"no result for {self.text!r}: {error!r}", line=self.lineno)
            return [], [message]


class Evidence(SphinxDirective):
    """A table made of result files."""

    required_arguments = 1
    option_spec: ClassVar = {"caption": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(RESULTS))
        made = getattr(evidence, self.arguments[0].replace("-", "_"))(result, RESULTS)
        if made is None:
            return []
        head, rows = made
        return [table(head, rows)]


def table(head: list[str], rows: list[list[str]]) -> nodes.Element:
    """A table of plain cells; what stands in backticks is code, and numbers are aligned to the right."""
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    top, body = nodes.thead(), nodes.tbody()
    top += _row(head)
    body += [_row(cells) for cells in rows]
    group += [top, body]
    whole = nodes.table(classes=["measured"])
    whole += group
    frame = nodes.container(classes=["scroll"])
    frame += whole
    return frame


def _row(cells: list[str]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        paragraph = nodes.paragraph()
        for i, part in enumerate(cell.split("`")):
            for j, piece in enumerate(part.split("**")) if i % 2 == 0 else ():
                if piece:
                    paragraph += nodes.strong(text=piece) if j % 2 else nodes.Text(piece)
            if i % 2:
                paragraph += nodes.literal(text=part)
        entry = nodes.entry()
        entry += paragraph
        row += entry
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("measured", Measured())
    app.add_directive("evidence", Evidence)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
