"""Short names in docstrings, such as ``:class:`ElasticNet```, lead to a technique's card or to the API; examples are
trimmed.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

REPOSITORY = re.compile(r"^(\.\./)?(benchmarks|src|tests|scripts|CONTRIBUTING|CHANGELOG|LICENSE|README)")


def resolve(app: Sphinx, env: BuildEnvironment, node: Any, inner: nodes.Element) -> nodes.Element | None:
    """A name by its last part, where it is the only one; else the plain words, without a link."""
    if node.get("refdomain") == "py":
        name = node["reftarget"].split(".")[-1]
        objects = env.domains["py"].objects
        exact = [key for key in (f"dashpot.{node['reftarget']}", f"dashpot.{name}") if key in objects]
        ends = [key for key in objects if key.split(".")[-1] == name and key.startswith("dashpot.")]
        found = exact[:1] or (ends if len(ends) == 1 else [])
        if found:
            entry = objects[found[0]]
            uri = app.builder.get_relative_uri(node["refdoc"], entry.docname) + "#" + entry.node_id
            link = nodes.reference("", "", internal=True, refuri=uri)
            link += inner
            return link
        return inner
    if node.get("reftype") == "myst" and REPOSITORY.match(node["reftarget"]):
        # Files of the repository that are no pages of the site: their name is said.
        return nodes.literal(text=node["reftarget"].removeprefix("../"))
    return None


def trim(app: Sphinx, doctree: nodes.document) -> None:
    """Examples end without the empty line that doctest needs."""
    for node in doctree.findall(nodes.literal_block):
        text = node.astext()
        if text != text.rstrip() and len(node.children) == 1:
            node.rawsource = text.rstrip()
            node[:] = [nodes.Text(text.rstrip())]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", resolve)
    app.connect("doctree-read", trim)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
