"""Many texts at once, against one after another."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dashpot.core.draws import hashed_each, uniform_by
from dashpot.techniques.augment.text.base import WordTechnique
from dashpot.texts import chunks as module
from dashpot.texts.chunks import Chunks
from dashpot.texts.many import Many, Numbers, new_strings, spared
from dashpot.texts.protecting import DEFAULT
from dashpot.texts.rows import uniform_rows
from dashpot.texts.strings import Strings
from dashpot.texts.tokens import Splitter
from tests.techniques.text_helpers import CHINESE, EDGES, EVERY, LATIN, PLAIN, WORDS, apply

SHORT = [
    *(edge for edge in EDGES if len(edge) < 1000),
    "I wasn't there, but  it cost 3.50 (20 %)!\n\tReally?",
    "这部电影不好看，花了30元。真的！",
    "see https://x.org/a?b=1&c=2, mail a.b@c.de or <a href='x y'>here</a> {user name} [MASK] %s @you",
    "हिन्दी में 👩‍👩‍👧 ok 🇩🇪 nbsp\xa0here",
]
ODD = [" a", "a ", "a  b", "\ta b\n", "a \n b", "  ", "\n", " \u00a0 x \u00a0 ", "a\nb c\n d", "x <b c> d  e"]


@pytest.mark.parametrize("tokenizer", ["words", "characters", str.split])
@pytest.mark.parametrize("protect", [DEFAULT, "none", "numbers|it cost"])
def test_texts_in_tokens_are_those_of_the_splitter(tokenizer: Any, protect: str) -> None:
    split = Splitter(tokenizer, protect)
    together = Chunks(split)
    for some in ([*SHORT, *ODD], ODD[::-1], ["a b"], [], [""], ["", "b c", ""]):
        for _ in range(2):  # the second time from memory
            many, alone = together(some), [split(text) for text in some]
            assert many.gaps is not None
            assert many.ends is not None
            assert many.texts() == some
            assert many.lists() == [words.tokens for words in alone]
            places, starts = many.places()
            first = many.starts
            for k, words in enumerate(alone):
                assert (places[starts[k] : starts[k + 1]] - first[k]).tolist() == list(words.places)
                gaps = [*many.strings.of(many.gaps[first[k] : first[k + 1]]), many.strings.of(many.ends[k : k + 1])[0]]
                assert gaps == words.gaps


def test_what_is_remembered_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_MOST_KNOWN", 20)
    together = Chunks(Splitter("words", DEFAULT))
    for k in range(30):
        some = [f"w{k} x{k}, {k}", f"a b {k}"]
        assert together(some).texts() == some
        assert together.listed([["a", f"w{k}"]]).lists() == [["a", f"w{k}"]]
        assert len(together._known) <= 30


def test_strings_and_numbers() -> None:
    strings = Strings()
    words = [f"word {i % 3000}" for i in range(5000)]
    numbers = strings.numbers(words)
    assert strings.of(numbers) == words
    assert len(strings) == 3000
    asked: list[str] = []

    def length(word: str) -> int:
        asked.append(word)
        return len(word)

    assert strings.ask(length, numbers[:10]).tolist() == [6] * 10
    assert strings.ask(length, numbers).tolist() == [len(word) for word in words]
    assert len(asked) == len(set(asked)) == 3000
    assert strings.ask(length, numbers[:0]).tolist() == []


def test_the_numbers_are_those_of_each_text() -> None:
    sizes = [3, 0, 1, 5]
    many = Many(new_strings(), np.zeros(9, np.int32), np.concatenate([[0], np.cumsum(sizes)]), np.ones(9, dtype=bool))
    keys = np.array([5, 2**63 + 1, 7, 2**64 - 1], dtype=np.uint64)
    rows = list(uniform_rows(keys, [2 * size + 1 for size in sizes]))
    numbers = Numbers(keys, many)
    first = [u for row, size in zip(rows, sizes, strict=True) for u in row[:size]]
    second = [u for row, size in zip(rows, sizes, strict=True) for u in row[size : 2 * size]]
    assert numbers.of_tokens(0).tolist() == first
    assert numbers.of_tokens(1, np.array([8, 3])).tolist() == [second[8], second[3]]
    assert numbers.of_texts(2).tolist() == [row[-1] for row in rows]
    assert hashed_each(keys[:1], np.array([4])).tolist() == uniform_by(keys[:1], 5)[0, 4:].tolist()


def test_of_each_text_one_word_is_spared() -> None:
    free = np.array([True, True, False, True, False, True, True])
    many = Many(new_strings(), np.zeros(7, np.int32), np.array([0, 3, 3, 5, 7]), free)
    numbers = np.array([0.5, 0.5, 0.9, 0.1, 0.9, 0.2, 0.3])
    found = spared(np.array([True, True, False, True, False, True, False]), numbers, many)
    assert found.tolist() == [False, True, False, False, False, True, False]
    assert spared(free, numbers, many).tolist() == [False, True, False, False, False, True, False]


@pytest.mark.parametrize("technique", [*EVERY, *LATIN], ids=lambda t: t.name)
def test_techniques_do_to_many_what_they_do_to_one(technique: WordTechnique) -> None:
    some = [*SHORT, *ODD, CHINESE, PLAIN, PLAIN.upper()]
    rate = "rate" if hasattr(technique, "rate") else "p"
    for options in ({}, {"tokenizer": "characters"}, {"protect": "none", rate: 0.3}):
        own = dataclasses.replace(technique, **options)
        for texts in (some, [text.split() for text in some if text.split()]):
            alone = [apply_at(own, text, k) for k, text in enumerate(texts)]
            assert apply(own, texts) == alone


def apply_at(technique: WordTechnique, text: Any, index: int) -> Any:
    from dashpot.augment.text import TextTransform

    return TextTransform(technique)(text, index=index)


def test_a_derived_technique_that_edits_otherwise_is_obeyed() -> None:
    from dashpot.augment import text

    class Reversed(text.RandomDeletion):
        def edit(self, words: Any, draws: Any) -> Any:
            return words.tokens[::-1], range(len(words.tokens))

    assert apply(Reversed(0.5), ["a b c"] * 6) == ["c b a"] * 6
    assert apply(text.SynonymReplacement(1.0, synonyms=WORDS), ["one"] * 6) != ["one"] * 6


def test_long_batches_are_cut() -> None:
    from dashpot.augment import text

    some = [f"{PLAIN} {k}" for k in range(4100)]
    found = apply(text.RandomSwap(0.5), some)
    for k in (0, 2047, 2048, 4099):
        assert found[k] == apply_at(text.RandomSwap(0.5), some[k], k)
