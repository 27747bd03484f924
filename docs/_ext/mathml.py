"""Formulas as MathML, which browsers draw themselves: no script, no fonts and no network."""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")
LOGGER = logging.getLogger(__name__)


# Parentheses of MathML grow by themselves, and a few commands have another name.
SAME = ((re.compile(r"\\[bB]igg?[lrm]?(?![a-zA-Z])"), ""), (re.compile(r"\\dots(?![a-zA-Z])"), r"\\ldots"))


def mathml(source: str, node: nodes.Node, block: bool) -> str:
    """A formula's MathML; one that cannot be read is a warning that names it."""
    for pattern, other in SAME:
        source = pattern.sub(other, source)
    try:
        return with_accents(str(tex2mathml(source.strip(), as_block=block)))
    except Exception as error:  # docutils raises its own kind, and ValueError, by what it meets
        LOGGER.warning("formula %r: %s", source, error, location=node)
        return f"<code>{html.escape(source)}</code>"


def with_accents(markup: str) -> str:
    """Letters with an accent and an index: the index beside them, not below."""
    # Named characters that XML does not know become what they stand for.
    tree = ElementTree.fromstring(re.sub(r"&(?!amp;|lt;|gt;)\w+;", lambda found: html.unescape(found[0]), markup))
    for parent in tree.iter():
        for i, node in enumerate(list(parent)):
            if not (node.tag.endswith("munderover") and node[0].tag.endswith("mi")):
                continue
            letter, index, accent = list(node)
            space = node.tag.removesuffix("munderover")
            outer, inner = ElementTree.Element(f"{space}msub"), ElementTree.Element(f"{space}mover", accent="true")
            inner.extend([letter, accent])
            outer.extend([inner, index])
            outer.tail = node.tail
            parent[i] = outer
    return ElementTree.tostring(tree, encoding="unicode")


def inline(self: Any, node: nodes.Element) -> None:
    self.body.append(mathml(node.astext(), node, block=False))
    raise nodes.SkipNode


def block(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<div class="math">{mathml(node.astext(), node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
