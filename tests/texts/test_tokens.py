"""Texts to tokens and back."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest

import dashpot
from dashpot.core.draws import uniform_by
from dashpot.texts.protecting import DEFAULT
from dashpot.texts.rows import uniform_rows
from dashpot.texts.scripts import MARKS, SPACELESS, SPACELESS_MARKS
from dashpot.texts.tokens import Splitter, joined

TEXTS = (
    "I wasn't there, but  it cost 3.50 (20 %)!\n\tReally?",
    "这部电影不好看，花了30元。真的！",
    "東京へ行きました。カレーは美味しい",
    "हिन्दी में लिखा हुआ पाठ",
    "שלום עולם, مرحبا بالعالم",
    "see https://x.org/a?b=1&c=2, mail a.b@c.de or <a href='x y'>here</a> {user name} { name } [MASK] %s @you",
    "👩‍👩‍👧 ok 👍🏽 🇩🇪🇫🇷 ❤️",
    "well-known  e-mail’s don’t NUL\x00inside nbsp\xa0here",
    "",
    "   ",
    "...",
    "ab " * 200 + "x" * 100,
    "." * 50_000,
    "{" + " " * 50_000,
    "x" * 50_000 + "1" * 50_000 + "a-" * 50_000,
)


@pytest.mark.parametrize("tokenizer", ["words", "characters"])
@pytest.mark.parametrize("protect", [DEFAULT, "none", "numbers|it cost"])
def test_what_is_not_changed_comes_back(tokenizer: str, protect: str) -> None:
    split = Splitter(tokenizer, protect)
    for text in TEXTS * 2:  # the second time from memory
        words = split(text)
        assert joined(words.tokens, range(len(words.tokens)), words.gaps) == text
        assert len(words.gaps) == len(words.tokens) + 1
        whole = split.whole(text)
        assert (words.tokens, words.gaps, words.places) == (whole.tokens, whole.gaps, whole.places)
        assert all(not gap.strip() or "\x00" in gap for gap in words.gaps)


def test_tokens_and_what_may_change() -> None:
    split = Splitter("words", DEFAULT)

    def seen(text: str) -> tuple[list[str], list[str]]:
        words = split(text)
        return words.tokens, [words.tokens[i] for i in words.places]

    assert seen(TEXTS[0]) == (
        ["I", "wasn't", "there", ",", "but", "it", "cost", "3.50", "(", "20", "%", ")", "!", "Really", "?"],
        ["I", "there", "but", "it", "cost", "Really"],
    )
    assert seen("这部电影不好看，花了30元。") == (
        ["这", "部", "电", "影", "不", "好", "看", "，", "花", "了", "30", "元", "。"],
        ["这", "部", "电", "影", "好", "看", "花", "了", "元"],
    )
    assert seen(TEXTS[3])[0] == ["हिन्दी", "में", "लिखा", "हुआ", "पाठ"]
    assert seen(TEXTS[6])[0] == ["👩‍👩‍👧", "ok", "👍🏽", "🇩🇪", "🇫🇷", "❤️"]
    tokens, free = seen(TEXTS[5])
    assert {"https://x.org/a?b=1&c=2", "a.b@c.de", "<a href='x y'>", "</a>", "{ name }", "[MASK]", "%s"} <= set(tokens)
    assert free == ["see", "mail", "or", "here", "user", "name"]
    assert seen("the 20th MP3-player, covid-19 and +5%")[1] == ["the", "player", "and"]
    assert Splitter("characters", "none")("Cafe\u0301 好").tokens == ["C", "a", "f", "e\u0301", "好"]


def test_a_function_of_the_user_is_the_tokenizer() -> None:
    pieces = ["这部", "电影", "不好看", "，", "花了", "30", "元", "。"]
    words = Splitter(lambda text: pieces, "numbers|negations|看，花")("这部 电影不好看，花了30元。")
    assert words.tokens == ["这部", "电影", "不好看，花了", "30", "元", "。"]
    assert words.places == [0, 1, 4]
    assert joined(words.tokens, range(6), words.gaps) == "这部 电影不好看，花了30元。"
    for wrong, told in ((lambda t: ["no"], "is not in what is left"), (lambda t: [3], "must give texts, got 3")):
        with pytest.raises(dashpot.DataError, match=f"tokenizer must give .*|{told}"):
            Splitter(wrong, "none")("这部")
    assert Splitter(lambda t: [], "none")("这部").tokens == []


def test_marks_are_those_of_unicode() -> None:
    inside = re.compile(f"[{MARKS}{SPACELESS}{SPACELESS_MARKS}\u302a-\u302f\u0eb1-\u0ecd]")
    for code in range(0x300, 0xFE00):
        character = chr(code)
        if unicodedata.category(character)[0] == "M":
            assert inside.match(character), hex(code)
        elif re.match(f"[{MARKS}]", character):  # letters, or what the two tables of Unicode do not agree on
            assert character.isalnum() or unicodedata.category(character) in ("Cn", "Cf"), hex(code)


def test_numbers_of_a_text_do_not_depend_on_its_neighbours() -> None:
    keys = np.arange(50, dtype=np.uint64)
    lengths = [int(n) for n in np.random.default_rng(0).integers(0, 30, 50)]
    lengths[20] = 100_000
    for key, length, row in zip(keys, lengths, uniform_rows(keys, lengths), strict=True):
        assert row == uniform_by([int(key)], length)[0].tolist()
