"""Synonyms of the package wn, and words of jieba: by stand-ins of what is used of their interfaces."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import dashpot
from dashpot.augment import text
from dashpot.texts import wordnet
from tests.techniques.text_helpers import apply

MEANINGS = {
    "tiny:1": [["film", "movie", "picture show"], ["film", "Film", "cinema", "movie"], ["good", "fine"]],
    "omw-cmn:1.4": [["电影", "影片"]],
}


class Failed(Exception):
    """As wn.Error."""


@pytest.fixture
def wn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package wn of two lexicons; gives the words that are asked for."""
    asked: list[str] = []

    def lexicons(*, lexicon: str) -> list[str]:
        if " " in lexicon:
            raise Failed("bad specifier")
        return [name for name in MEANINGS if lexicon in ("*", name, name.partition(":")[0])]

    class Wordnet:
        def __init__(self, lexicon: str | None = None) -> None:
            self.meanings = [words for name in lexicons(lexicon=lexicon or "*") for words in MEANINGS[name]]

        def synsets(self, form: str) -> list[Any]:
            asked.append(form)
            found = [words for words in self.meanings if form in map(str.lower, words)]
            return [SimpleNamespace(lemmas=lambda words=words: words) for words in found]

    module = ModuleType("wn")
    for name, value in (("lexicons", lexicons), ("Wordnet", Wordnet), ("Error", Failed)):
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "wn", module)
    wordnet._opened.cache_clear()
    return asked


def test_synonyms_of_all_meanings(wn: list[str]) -> None:
    technique = text.SynonymReplacement(1.0, synonyms="wordnet:tiny:1")
    found = apply(technique, ["Film it, not good"] * 60)
    assert {one.split()[0] for one in found} == {"Movie", "Picture", "Cinema"}
    assert {one.split()[-1] for one in found} == {"fine"}
    assert len(wn) == len(set(wn))  # each once
    every = text.SynonymReplacement(1.0, synonyms="wordnet", tokenizer=lambda one: ["电影", "好"])
    assert apply(every, ["电影好"]) == ["影片好"]


def test_it_is_written_and_read_back(wn: list[str]) -> None:
    technique = text.SynonymReplacement(0.5, synonyms="wordnet:tiny:1")
    recipe = dashpot.Recipe((technique,))
    assert dashpot.Recipe.from_dict(recipe.to_dict()) == recipe
    assert dashpot.Recipe.coerce("synonym-replacement:rate=0.5,synonyms=wordnet:tiny:1") == recipe
    assert pickle.loads(pickle.dumps(technique)) == technique


def test_what_is_missing_is_said(wn: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, told in (("wordnet:other", "python -m wn download"), ("wordnet:a b", "bad specifier. Fetch one")):
        with pytest.raises(dashpot.ConfigError, match=rf"SynonymReplacement\.synonyms must be wordnet:LEXICON.*{told}"):
            text.SynonymReplacement(synonyms=wrong)
    monkeypatch.setitem(sys.modules, "wn", None)
    wordnet._opened.cache_clear()
    with pytest.raises(dashpot.ConfigError, match="Install the package: pip install wn"):
        text.SynonymReplacement(synonyms="wordnet:tiny:1")


def test_jieba_is_a_tokenizer_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("jieba")

    def lcut(sentence: str) -> list[str]:
        return ["我们", "喜欢", "电影", " ", "和", "GPT", "。"]

    lcut.__module__ = "jieba"
    lcut.__qualname__ = "lcut"
    module.lcut = lcut  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "jieba", module)
    technique = text.SynonymReplacement(1.0, synonyms={"电影": "影片", "喜欢": "爱"}, tokenizer="jieba:lcut")
    assert apply(technique, ["我们喜欢电影 和GPT。"] * 5) == ["我们爱影片 和GPT。"] * 5
    assert "jieba:lcut" in str(technique)
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(dashpot.ConfigError, match="There is no module jieba here. Install its package"):
        text.RandomDeletion(tokenizer="jieba:lcut")
    with pytest.raises(dashpot.ConfigError, match="There is no such function in builtins"):
        text.RandomDeletion(tokenizer="builtins:none")
