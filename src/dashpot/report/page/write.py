"""From a page to one HTML file that needs nothing else."""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from dashpot.core.files import write_atomic
from dashpot.core.language import say, speaking, spoken
from dashpot.report.page.blocks import Page

FILE = "report.html"
LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""As a page names them."""
CODE = re.compile(r"`([^`]+)`")
SCRIPT = re.compile(r'say\("([^"]*)"')
"""What the script says."""


def render(page: Page) -> str:
    """The page as HTML. Everything in it is escaped but the drawings, whose words are."""
    sections = [section for section in page.sections if section.blocks]
    own = {"css": _own("page.css"), "js": _own("page.js"), "tips": _tips(page), "say": say}
    with speaking(page.language):
        words, language = _words(), LANGUAGES[page.language]
        return str(_template().render(page=page, sections=sections, words=words, language=language, **own))


def write_page(page: Page, path: str | Path) -> Path:
    """Write the page as a whole.

    Raises:
        StorageError: it could not be written; what stood there before is untouched.
    """
    path = Path(path)
    write_atomic(path, render(page).encode("utf-8", errors="replace"))
    return path


def _tips(page: Page) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps({key: list(lines) for key, lines in page.tips.items()}, ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _words() -> dict[str, str]:
    """What the page's script says, where that is not English."""
    return {} if spoken() == "en" else {text: say(text) for text in SCRIPT.findall(str(_own("page.js")))}


def _own(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"numeric": _numeric, "coded": _coded}
    return environment.from_string(str(_own("page.html")))


def _coded(text: str) -> Markup:
    """A sentence in which what stands between backticks is shown as code.

    >>> print(_coded("`dashpot predict <RUN>` or ` alone"))
    <code>dashpot predict &lt;RUN&gt;</code> or ` alone
    """
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def _numeric(cell: str) -> bool:
    """Whether a cell of a table is a number, perhaps with its interval or unit.

    >>> _numeric("+0.01 [-0.02, 0.04]"), _numeric("12,345"), _numeric("3 %"), _numeric("L1"), _numeric("")
    (True, True, True, False, False)
    """
    bare = cell.lstrip("+-\N{MINUS SIGN}")
    return bare[:1].isdigit() and not any(letter.isalpha() and letter != "e" for letter in cell.removesuffix("x"))
