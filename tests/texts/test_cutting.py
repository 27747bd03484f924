"""Tokenizers of a model: patterns, functions and files of Hugging Face's ``tokenizers``; saved as JSON and back."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from dashpot.core.errors import ConfigError, DataError, StorageError
from dashpot.texts.cutting import Subwords, again, cutter, tokenizer_dict, tokenizer_from, tokenizer_of


def shout(text: str) -> list[str]:
    return text.upper().split()


class Tokenizer:
    """The part of ``tokenizers.Tokenizer`` that is used, for a file ``{"model": {"pieces": n}}``: runs of n."""

    def __init__(self, pieces: int) -> None:
        self.pieces, self.padded, self.cut = pieces, True, True

    @staticmethod
    def from_str(text: str) -> Tokenizer:
        return Tokenizer(json.loads(text)["model"]["pieces"])

    def no_padding(self) -> None:
        self.padded = False

    def no_truncation(self) -> None:
        self.cut = False

    def to_str(self) -> str:
        return json.dumps({"model": {"type": "Runs", "pieces": self.pieces}})

    def encode(self, text: str, add_special_tokens: bool = True) -> Any:
        n = self.pieces
        tokens = [f"##{text[i : i + n]}" for i in range(0, len(text), n)]
        return types.SimpleNamespace(tokens=["[CLS]"] * add_special_tokens + tokens + ["[PAD]"] * self.padded)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("tokenizers")
    module.Tokenizer = Tokenizer  # type: ignore[attr-defined]  # a module of this test's own
    monkeypatch.setitem(sys.modules, "tokenizers", module)


def test_patterns_and_functions_cut() -> None:
    assert cutter("words")("Don't go, 很好!") == ["Don't", "go", ",", "很", "好", "!"]
    assert cutter("characters")("ab 1") == ["a", "b", "1"]
    assert cutter(tokenizer_of(shout))("a b") == ["A", "B"]
    assert cutter(tokenizer_of(iter))("a b") == ["a", "b"]
    assert cutter(tokenizer_of("builtins:str.split"))("a  b") == ["a", "b"]


def test_a_function_is_saved_by_name_and_named_again() -> None:
    made = tokenizer_of(shout)
    saved = json.loads(json.dumps(tokenizer_dict(made)))
    assert saved == f"{__name__}:shout"
    found = tokenizer_from(saved)
    with pytest.raises(ConfigError, match=f"named again for a run with one of your own: {__name__}:shout"):
        again(found, None)
    with pytest.raises(ConfigError, match="that of the run"):
        again(found, str.split)
    assert again(found, shout) == again(found, saved) == made
    assert again("words", None) == again("words", "words") == "words"


def test_a_file_is_saved_with_the_run(package: None, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(Tokenizer(2).to_str(), encoding="utf-8")
    made = tokenizer_of(str(path))
    assert cutter(made)("abc") == ["##ab", "##c"]
    assert (str(made), made) == ("Runs", tokenizer_of(path))
    path.unlink()
    found = tokenizer_from(json.loads(json.dumps(tokenizer_dict(made))))
    assert cutter(again(found, None))("abc") == ["##ab", "##c"]
    assert cutter(pickle.loads(pickle.dumps(made)))("abc") == ["##ab", "##c"]
    assert tokenizer_of(Tokenizer(3)) == Subwords(Tokenizer(3).to_str())


def test_a_real_tokenizer_is_read(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    real = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    real.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    real.enable_padding(length=9)
    real.save(str(tmp_path / "tokenizer.json"))
    assert cutter(tokenizer_of(tmp_path / "tokenizer.json"))("b a c") == ["b", "a", "?"]


def test_what_is_no_tokenizer_is_refused(package: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        tokenizer_of(tmp_path / "none.json")
    for name, content in (("a.json", b'{"model": 1}'), ("b.json", b"no JSON"), ("c.json", b"\xff")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match="tokenizer must be words, characters, a function"):
            tokenizer_of(tmp_path / name)
    for given, message in (
        ("letters", "got 'letters'"),
        (7, "got 7"),
        ("no_such_module:f", "Importing it gave ModuleNotFoundError"),
        ("math:pi", "It is float"),
    ):
        with pytest.raises(ConfigError, match=message):
            tokenizer_of(given)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match="pip install tokenizers"):
        cutter(Subwords("{}"))("a")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda text: None, "failed for 'a text'"),
        (lambda text: text, "must give a list of texts, got 'a text'"),
        (lambda text: [1], "must give a list of texts, got 1"),
        (lambda text: text.missing, "failed for 'a text': AttributeError"),
    ],
)
def test_what_gives_no_tokens_is_told(function: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cutter(tokenizer_of(function))("a text")
