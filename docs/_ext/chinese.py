"""The Chinese site beyond its catalogues: search, the theme's words, and the titles of pages that stay English.

Search is without a dictionary of words: every two neighbouring ideographs are a term. Sphinx's own way needs jieba, and
its page names a stemmer that it does not load.
"""

from __future__ import annotations

import gettext
import re
from itertools import pairwise

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.locale import translators
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


THEME = {
    "Collapse Sidebar": "收起侧栏",
    "Expand Sidebar": "展开侧栏",
    "Color mode": "颜色模式",
    "System Settings": "跟随系统",
}
"""What the theme's own catalogue lacks."""
TITLES = {
    "api/index": "接口",
    "architecture": "架构",
    "batch-norm": "作为正则化的批归一化",
    "benchmarks": "基准测试",
    "changelog": "更新日志",
    "combinations": "组合规则",
    "container": "在容器里运行",
    "contributing": "参与开发",
    "distributed": "分布式训练",
    "examples/index": "图例",
    "families": "每项技术单独的收益",
    "fine-tuning": "用 Transformers 的 Trainer 微调",
    "guides/notebooks": "笔记本",
    "guides/own-loop": "自己的训练循环",
    "guides/search": "一台或多台机器上的搜索",
    "loops": "在其他训练循环里使用",
    "many-machines": "多台机器上的搜索",
    "mathematics": "数学",
    "techniques/index": "技术",
    "trackers": "实验跟踪",
}
ENGLISH = " · 英文"
"""Stands behind the titles of pages that are not translated."""


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


class Words(gettext.NullTranslations):
    """What :data:`THEME` has, and else what stands there."""

    def gettext(self, message: str) -> str:
        return THEME.get(message, message)


def translate_theme(app: Sphinx) -> None:
    """Fall back on our words where the theme's catalogue has none."""
    if app.config.language.startswith("zh"):
        translators["general", "sphinx"].add_fallback(Words())


def translate_titles(app: Sphinx, env: BuildEnvironment) -> None:
    """Of pages that stay English, in what leads to them."""
    if not app.config.language.startswith("zh"):
        return
    for page in env.found_docs & TITLES.keys():
        title = TITLES[page] + ENGLISH
        for text in (env.titles[page], env.longtitles[page], env.tocs[page].next_node(nodes.reference)):
            if text is not None:
                text.children = []
                text += nodes.Text(title)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(Pairs)
    app.connect("config-inited", named)
    app.connect("builder-inited", translate_theme)
    app.connect("env-updated", translate_titles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
