"""What each technique makes of texts, against slow versions of a sample that are written here."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest

import dashpot
from dashpot.augment import text
from dashpot.texts.scripts import clusters
from dashpot.texts.translations import store
from tests import translators
from tests.techniques.text_helpers import PLAIN, WORDS, apply, numbers


def test_deletion() -> None:
    for index, found in enumerate(apply(text.RandomDeletion(0.6), [PLAIN] * 40)):
        u = numbers("random-deletion", 0, 0, index, 10)
        assert found == " ".join(w for w, x in zip(PLAIN.split(), u, strict=True) if x >= np.float32(0.6))
    for index, found in enumerate(apply(text.RandomDeletion(1.0), [PLAIN] * 5)):
        u = numbers("random-deletion", 0, 0, index, 10)
        assert found == PLAIN.split()[u.index(max(u))]
    kept = sum(len(one.split()) for one in apply(text.RandomDeletion(0.3), [PLAIN] * 500))
    assert abs(kept / 5000 - 0.7) < 0.02


def test_swap() -> None:
    for index, found in enumerate(apply(text.RandomSwap(0.4), [PLAIN] * 40)):
        u = numbers("random-swap", 0, 0, index, 20)
        words = PLAIN.split()
        for i in range(10):
            if u[i] < 0.4:
                others = [j for j in range(10) if j != i]
                j = others[int(u[10 + i] * 9)]
                words[i], words[j] = words[j], words[i]
        assert found == " ".join(words)
    for found in apply(text.RandomSwap(1.0), ["Well,  one (two)!"] * 9):
        assert sorted(found.replace(",  ", " ").replace("(", "").replace(")!", "").split()) == ["Well", "one", "two"]
        assert (found[-2:], found.count(",  "), found.count(" (")) == (")!", 1, 1)


def test_insertion() -> None:
    for synonyms in (None, WORDS):
        for index, found in enumerate(apply(text.RandomInsertion(0.4, synonyms=synonyms), [PLAIN] * 20)):
            u, words, new = numbers("random-insertion", 0, 0, index, 30), PLAIN.split(), []
            for i, word in enumerate(words):
                new.append(word)
                if u[i] < 0.4:
                    other = words[int(u[10 + i] * 10)]
                    new.append(other if synonyms is None else WORDS[other][int(u[20 + i] * 2)])
            assert found == " ".join(new)
    assert apply(text.RandomInsertion(1.0, synonyms={"zero": "null"}), [PLAIN]) == [PLAIN]


def test_punctuation() -> None:
    counts = []
    for index, found in enumerate(apply(text.PunctuationInsertion(0.5), [PLAIN] * 200)):
        u = numbers("punctuation-insertion", 0, 0, index, 21)
        places = np.argsort(u[:10], kind="stable")[: 1 + int(u[20] * 5)]
        new = [f"{w} {'.;?:!,'[int(u[10 + i] * 6)]}" if i in places else w for i, w in enumerate(PLAIN.split())]
        assert found == " ".join(new)
        counts.append(len(places))
    assert set(counts) == {1, 2, 3, 4, 5}
    found = apply(text.PunctuationInsertion(1.0), ["我 去 example 好"] * 5)
    assert all(set(one) <= set("我 去 example 好。；？：！，.;?:!,") for one in found)


def test_synonyms(tmp_path: Any) -> None:
    file = tmp_path / "words.tsv"
    file.write_text("# mine\none\tuno|ein\n\ntwo,zwei, \n".replace(", ", ""), encoding="utf-8-sig")
    table = {"one": ("uno", "ein"), "two": ("zwei",)}
    asked: list[str] = []
    for source in (
        str(file),
        file,
        table,
        {"one": ["uno", "ein"], "two": "zwei"},
        lambda w: asked.append(w) or table.get(w),
    ):
        technique = text.SynonymReplacement(0.7, synonyms=source)
        for index, found in enumerate(apply(technique, ["one two three ONE One"] * 20)):
            u, words = numbers("synonym-replacement", 0, 0, index, 10), ["one", "two", "three", "ONE", "One"]
            for i, word in enumerate(words):
                choices = table.get(word.lower())
                if u[i] < 0.7 and choices:
                    new = choices[int(u[5 + i] * len(choices))]
                    words[i] = new.upper() if word == "ONE" else new.capitalize() if word == "One" else new
            assert found == " ".join(words)
    assert len(asked) == len(set(asked))


def test_bad_synonyms(tmp_path: Any) -> None:
    file = tmp_path / "words.tsv"
    for line, told in (
        (b"three", "line 2: must be a word, a tab or comma"),
        (b"\tx", "line 2: must be a word"),
        (b"a\tb\tc", "line 2: must be a word"),
        (b"a\tb||c", "line 2: must be a word"),
        (b"a\t\xff", "line 2: not UTF-8"),
    ):
        file.write_bytes(b"one\tuno\n" + line)
        with pytest.raises(dashpot.DataError, match=told):
            text.SynonymReplacement(synonyms=file)
    file.write_text("\n")
    with pytest.raises(dashpot.DataError, match="has no words"):
        text.SynonymReplacement(synonyms=file)
    with pytest.raises(dashpot.ConfigError, match=r"SynonymReplacement\.synonyms must be a dict.*Give one"):
        text.TextTransform("synonym-replacement")
    with pytest.raises(dashpot.ConfigError, match="no such file and no such function"):
        text.SynonymReplacement(synonyms=str(tmp_path / "none.tsv"))
    with pytest.raises(dashpot.DataError, match="the replacements of 'one' must be texts that are not empty, got 3"):
        apply(text.SynonymReplacement(1.0, synonyms=lambda word: [3]), ["one"])


def test_masks() -> None:
    for index, found in enumerate(apply(text.WordMasking(0.4), [PLAIN] * 20)):
        u = numbers("word-masking", 0, 0, index, 10)
        assert found == " ".join("[MASK]" if x < 0.4 else w for w, x in zip(PLAIN.split(), u, strict=True))
    assert apply(text.WordMasking(1.0), [PLAIN])[0].count("[MASK]") == 9
    for index, found in enumerate(apply(text.SpanMasking(0.3, span=3), [PLAIN] * 20)):
        u = numbers("span-masking", 0, 0, index, 10)
        begun = [x < 1 - 0.7 ** (1 / 3) for x in u]
        words = ["[MASK]" if any(begun[max(0, i - 2) : i + 1]) else w for i, w in enumerate(PLAIN.split())]
        if set(words) != {"[MASK]"}:
            assert found == " ".join(words)
    merged = apply(text.SpanMasking(0.3, span=3, merge=True), [PLAIN] * 50)
    assert not any("[MASK] [MASK]" in one for one in merged)
    long = apply(text.SpanMasking(0.3, span=4), [PLAIN * 50] * 40)
    words = [word for one in long for word in one.split()]
    assert abs(sum("[MASK]" in word for word in words) / len(words) - 0.3) < 0.03


def test_noise_on_characters() -> None:
    words = ["typing", "errors", "of", "every", "script", "हिन्दी"]
    found = [one.split() for one in apply(text.CharacterNoise(1.0), [" ".join(words)] * 100)]
    for old, news in zip(words, zip(*found, strict=True), strict=True):
        letters = clusters(old)
        swaps = {
            "".join((*letters[:i], letters[i + 1], letters[i], *letters[i + 2 :])) for i in range(len(letters) - 1)
        }
        drops = {"".join((*letters[:i], *letters[i + 1 :])) for i in range(len(letters))}
        twice = {"".join((*letters[: i + 1], *letters[i:])) for i in range(len(letters))}
        assert set(news) <= swaps | drops | twice
        assert all(set(news) & kind for kind in (swaps, drops, twice))
    near = {"q": set("wa"), "s": set("adweZxz".lower()), "m": set("njk"), "t": set("ryfg")}
    for letter, others in near.items():
        assert set(apply(text.KeyboardNoise(1.0), [letter] * 200)) == others
        assert set(apply(text.KeyboardNoise(1.0), [letter.upper()] * 200)) == {o.upper() for o in others}
    assert apply(text.KeyboardNoise(1.0, layout="jcuken"), ["мир"])[0] != "мир"


def test_sentences() -> None:
    old = 'First one. "Second?" she said.\n\nThird: 3.5 of it!!  Last'
    parts = ["First one.", '"Second?"', "she said.", "Third: 3.5 of it!!", "Last"]
    seen = set()
    for found in apply(text.SentenceShuffle(1.0), [old] * 60):
        order = sorted(parts, key=found.index)
        assert found == "{} {} {}\n\n{}  {}".format(*order)
        seen.add(tuple(order))
    assert len(seen) > 35
    unchanged = sum(one == old for one in apply(text.SentenceShuffle(0.3), [old] * 400))
    assert 0.62 < unchanged / 400 < 0.78
    tokens = ["a", ".", "b", "?", "c"]
    assert sorted(map(tuple, {tuple(one) for one in apply(text.SentenceShuffle(1.0), [tokens] * 50)}))[0] == (
        "a", ".", "b", "?", "c",
    )  # fmt: skip


def test_case_and_width() -> None:
    for to, change in (("lower", str.lower), ("upper", str.upper), ("title", str.capitalize)):
        for index, found in enumerate(apply(text.CaseChange(0.5, to=to), ["One tWO three"] * 10)):
            u = numbers("case-change", 0, 0, index, 6)
            assert found.split() == [
                change(w) if x < 0.5 else w for w, x in zip(["One", "tWO", "three"], u, strict=False)
            ]
    assert {*apply(text.CaseChange(1.0), ["fiLm"] * 40)} == {"film", "FILM", "Film"}
    wide = apply(text.WidthChange(1.0, protect="none"), ["GPT 4 好"])[0]
    assert unicodedata.normalize("NFKC", wide) == "GPT 4 好"
    assert wide == "ＧＰＴ ４ 好"
    assert apply(text.WidthChange(1.0, protect="none"), [wide]) == ["GPT 4 好"]


class TestBackTranslation:
    def test_each_text_is_translated_once_and_a_run_goes_on(self, tmp_path: Any) -> None:
        asked: list[list[str]] = []
        texts = [f"text number {word}" for word in PLAIN.split()] * 2

        def forward(some: list[str]) -> list[str]:
            if len(asked) == 2:
                raise KeyboardInterrupt
            asked.append(some)
            return [one.upper() for one in some]

        options = {"backward": translators.longer, "batch_size": 4, "cache": str(tmp_path / "cache.sqlite")}
        technique = text.BackTranslation(1.0, forward=forward, **options)
        with pytest.raises(KeyboardInterrupt):
            apply(technique, texts)
        assert asked == [texts[:4], texts[4:8]]
        store.cache_clear()  # another process
        asked[:] = [[]]
        assert apply(technique, texts) == [f"{one.upper()} indeed" for one in texts]
        assert asked == [[], texts[8:10]]
        store.cache_clear()
        asked[:] = [[], []]  # would be interrupted
        assert apply(technique, texts)[0] == "TEXT NUMBER ONE indeed"

    def test_what_is_protected_or_empty_is_not_used(self) -> None:
        answers = {"a 7": "A 8", "7 cats": "Cats: 7", "b": " ", "c {x}": "c", "": "never"}
        technique = text.BackTranslation(1.0, forward=lambda t: t, backward=lambda t: [answers[one] for one in t])
        assert apply(technique, list(answers)) == ["a 7", "Cats: 7", "b", "c {x}", ""]

    def test_variants_and_probability(self) -> None:
        count = iter(range(10**6))
        technique = text.BackTranslation(
            0.5, forward=lambda t: t, backward=lambda t: ["x" * (next(count) + 1) for _ in t], variants=3
        )
        found = [one for epoch in range(100) for one in apply(technique, ["a b", "c d"], epoch=epoch)]
        assert len(set(found)) == 2 + 6
        assert 70 < sum(one in ("a b", "c d") for one in found) < 130

    def test_bad_translators_are_named(self) -> None:
        with pytest.raises(dashpot.ConfigError, match=r"BackTranslation\.forward must be a function of a list"):
            text.TextTransform("back-translation")
        for wrong in (lambda t: t[:-1], lambda t: "ab", lambda t: [None] * len(t), lambda t: 3):
            with pytest.raises(dashpot.DataError, match=r"BackTranslation\.backward must give a list of 2 texts"):
                apply(text.BackTranslation(1.0, forward=translators.louder, backward=wrong), ["a", "b"])
        with pytest.raises(dashpot.UsageError, match="needs whole texts"):
            apply(text.BackTranslation(1.0, forward=translators.louder, backward=translators.louder), [["a"]])
        with pytest.raises(dashpot.StorageError, match="cannot be used"):
            technique = text.BackTranslation(1.0, forward=len, backward=len, cache="/nowhere/at/all")
            apply(technique, ["a"])
