"""Search in Chinese without a dictionary of words: every two neighbouring ideographs are a term.

Sphinx's own way needs jieba, and its page names a stemmer that it does not load.
"""

from __future__ import annotations

import re
from itertools import pairwise

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.search.zh import SearchChinese

RUN = re.compile(r"[\u4e00-\u9fff]+")
SPLIT = r"""
function splitQuery(query) {
  const latin = query.match(/[a-zA-Z0-9_]+/g) || [];
  const pairs = (query.match(/[\u4e00-\u9fff]+/g) || []).flatMap((run) =>
    run.length < 2 ? [run] : [...run.slice(1)].map((letter, i) => run[i] + letter));
  return [...latin, ...pairs];
}
"""


class Pairs(SearchChinese):
    """Latin words, and pairs of ideographs."""

    lang = "zh"
    language_name = "English"  # of the stemmer, for the Latin words
    js_splitter_code = SPLIT

    def split(self, text: str) -> list[str]:
        pairs = [first + second for run in RUN.findall(text) for first, second in pairwise(run)]
        return [*super().split(text), *pairs]


def named(app: Sphinx, config: Config) -> None:
    """The name of the menu that holds the last pages, which the theme does not translate."""
    if config.language.startswith("zh"):
        config.html_theme_options = {**config.html_theme_options, "header_dropdown_text": "更多"}


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(Pairs)
    app.connect("config-inited", named)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
