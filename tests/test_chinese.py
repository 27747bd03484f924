"""The Chinese of the documentation and of the messages: every sentence is there, and nothing that nobody says."""

from __future__ import annotations

import ast
import gettext
import re
import runpy
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from dashpot.core.language import say, speaking

DOCS = Path(__file__).parents[1] / "docs"
LOCALE = DOCS / "locale" / "zh_CN" / "LC_MESSAGES"
CATALOGUES = sorted(LOCALE.rglob("*.po"))
DIRECTIVES = re.compile(r":::\w*|\{note\}|\{grid\}[\d ]*|\{grid-item-card\}|:link: \S+|:link-type: doc|:[\w-]+:|\d+\.")
ENTRY = re.compile(r"^(.+) <[\w/-]+>$", re.MULTILINE)
"""Of a list of pages: one with a name of its own, which navigation shows."""
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
    text = re.sub(r"^```.*?^```|^ {4}.*?$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return " ".join(text.split())


def page_of(path: Path) -> Path:
    return (DOCS / path.relative_to(LOCALE)).with_suffix(".md")


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_is_that_of_its_page(path: Path) -> None:
    said = prose(page_of(path)) + " ".join(ENTRY.findall(page_of(path).read_text(encoding="utf-8")))
    found = messages(path)
    assert found
    for english, chinese in found.items():
        assert " ".join(english.split()) in said, english
        assert any("\u4e00" <= letter <= "\u9fff" or letter == "\u3001" for letter in chinese), chinese
        # Links, code and measured numbers are the same, in their order.
        assert sorted(MARKUP.findall(english)) == sorted(MARKUP.findall(chinese)), english


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_what_navigation_calls_a_page_is_translated(path: Path) -> None:
    named = ENTRY.findall(page_of(path).read_text(encoding="utf-8"))
    assert set(named) <= set(messages(path))
    assert bool(named) == (path.name == "index.po" and path.parent == LOCALE)


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_page_says_nothing_that_its_catalogue_lacks(path: Path) -> None:
    left = prose(page_of(path))
    for english in sorted(messages(path), key=len, reverse=True):
        left = left.replace(" ".join(english.split()), " ")
    left = MARKUP.sub(" ", left)
    left = DIRECTIVES.sub(" ", left)
    assert not re.findall(r"[A-Za-z]{2,}", left), left


def test_the_switch_of_languages_leads_to_the_pages_that_are_translated() -> None:
    template = (DOCS / "_templates" / "language.html").read_text(encoding="utf-8")
    named = {name for name in re.findall(r'"([\w/]+)"', template) if (DOCS / f"{name}.md").exists()}
    assert named == {path.relative_to(LOCALE).with_suffix("").as_posix() for path in CATALOGUES}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS.parent / "scripts" / "messages"))


def test_the_catalogue_has_what_is_said_and_no_more(script: dict[str, Any]) -> None:
    said, text = script["messages"](), script["CATALOGUE"].read_text(encoding="utf-8")
    found = messages(script["CATALOGUE"])
    assert list(found) == list(said), "run scripts/messages"
    assert len(found) > 400
    assert not [english for english, chinese in found.items() if not chinese], (
        "translate these, and run scripts/messages"
    )
    assert script["written"](found, said) == text, "run scripts/messages"


def test_places_of_a_message_are_those_of_its_translation(script: dict[str, Any]) -> None:
    for english, chinese in messages(script["CATALOGUE"]).items():
        places = [{(name, form) for _, name, form, _ in Formatter().parse(text) if name} for text in (english, chinese)]
        assert places[0] == places[1], english
        # What a mark of punctuation joins stays joined, and indented lines stay indented.
        assert english.startswith("  ") == chinese.startswith("  "), english


def test_what_gettext_reads_is_the_catalogue(script: dict[str, Any]) -> None:
    path = script["CATALOGUE"].with_suffix(".mo")
    found = messages(script["CATALOGUE"])
    assert path.read_bytes() == script["compiled"](found), "run scripts/messages"
    with path.open("rb") as file:
        read = gettext.GNUTranslations(file)
    assert read.charset() == "UTF-8"
    assert {english: read.gettext(english) for english in found} == found


def test_a_message_is_said_in_the_language_that_is_spoken() -> None:
    assert say("{n:,} rows", n=1200) == "1,200 rows"
    with speaking("zh"):
        assert say("{n:,} rows", n=1200) == "1,200 行"
        assert say("a {name} that nobody translated") == "a {name} that nobody translated"
        assert say("") == ""
    assert say("loss") == "loss"
