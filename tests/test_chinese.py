"""The Chinese of the documentation: every sentence of a page is there, and nothing that no page says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
CATALOGUES = sorted((DOCS / "locale" / "zh_CN" / "LC_MESSAGES").glob("*.po"))
MARKUP = re.compile(r"\{measured\}`[^`]*`|`[^`]*`|\]\([^)]*\)")


def messages(path: Path) -> dict[str, str]:
    """The sentences of a catalogue and their translations."""
    found: dict[str, list[str]] = {}
    pairs, kind = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("msgid "):
            found = {"msgid": [], "msgstr": []}
            pairs.append(found)
        if line.startswith(("msgid ", "msgstr ")):
            kind, _, line = line.partition(" ")
        if line.startswith('"'):
            found[kind].append(ast.literal_eval(line))
    return {"".join(pair["msgid"]): "".join(pair["msgstr"]) for pair in pairs[1:]}


def prose(path: Path) -> str:
    """A page in one line, without its programs."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return " ".join(text.split())


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_is_that_of_its_page(path: Path) -> None:
    said = prose(DOCS / f"{path.stem}.md")
    found = messages(path)
    assert len(found) > 20
    for english, chinese in found.items():
        assert " ".join(english.split()) in said, english
        assert any("\u4e00" <= letter <= "\u9fff" or letter == "\u3001" for letter in chinese), chinese
        # Links, code and measured numbers are the same, in their order.
        assert sorted(MARKUP.findall(english)) == sorted(MARKUP.findall(chinese)), english


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_page_says_nothing_that_its_catalogue_lacks(path: Path) -> None:
    left = prose(DOCS / f"{path.stem}.md")
    for english in sorted(messages(path), key=len, reverse=True):
        left = left.replace(" ".join(english.split()), " ")
    left = MARKUP.sub(" ", left)
    left = re.sub(r"^ *    .*|:::\w*|\{note\}|:[\w-]+:|\d+\.", " ", left)
    known = {"python3 -m venv .venv source .venv/bin/activate pip install -c constraints.txt -e ."}
    for text in known:
        left = left.replace(text, " ")
    assert not re.findall(r"[A-Za-z]{2,}", left), left
