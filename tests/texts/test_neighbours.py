"""Vectors learned from neighbours, held against counts one by one and a dense decomposition."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.nets import TextConv
from dashpot.nets.text_conv import START
from dashpot.nets.text_vectors import start_from
from dashpot.texts import counting, neighbours
from dashpot.texts.lexicon import SHAPES, SPECIAL, Lexicon
from dashpot.texts.neighbours import Neighbours
from dashpot.training.builtin import built_in

TEXTS = [f"{a} {b} {c} {d}".split() for a in "ab" for b in "cd" for c in "ef" for d in ("gh", "g", "h")]


def learned(texts: list[list[str]], **options: Any) -> tuple[Lexicon, Any]:
    lexicon, near = Lexicon.fit(texts), Neighbours()
    near.add(lexicon.transform(texts) // SHAPES, lexicon.first_piece)
    return lexicon, near.vectors(lexicon, **options)


def test_the_vectors_are_those_of_a_dense_decomposition() -> None:
    """Up to a rotation, which keeps the products of all vectors."""
    lexicon, vectors = learned(TEXTS)
    count: Counter[tuple[str, tuple[str, int]]] = Counter()
    for text in TEXTS:
        row = ["<edge>", *text, "<edge>"]
        for i, word in enumerate(row):
            for other in range(max(0, i - 3), min(len(row), i + 4)):
                if other != i:
                    count[word, (row[other], int(other < i))] += 1
    words, contexts = (sorted({pair[i] for pair in count}) for i in (0, 1))
    n = np.array([[count[word, context] for context in contexts] for word in words], dtype=float)
    shares = n.sum(axis=0) ** 0.75
    with np.errstate(divide="ignore"):
        told = np.log(n * shares.sum() / (n.sum(axis=1, keepdims=True) * shares))
    u, s, _ = np.linalg.svd(np.maximum(told, 0))
    rank = min(len(s), u.shape[1])
    expected = u[:, :rank] * np.sqrt(s[:rank])
    kept = [words.index(word) for word in lexicon.words]
    np.testing.assert_allclose(vectors.table @ vectors.table.T, (expected @ expected.T)[np.ix_(kept, kept)], atol=1e-4)


def test_narrower_ones_are_the_first_numbers() -> None:
    wide, narrow = learned(TEXTS)[1].table, learned(TEXTS, width=2)[1].table
    np.testing.assert_allclose(np.abs(wide[:, :2]), np.abs(narrow), atol=1e-3)


@pytest.mark.parametrize("texts", [[["a"], ["a"]], [["a", "b"]], [[], ["a"]]])
def test_few_words_or_none(texts: list[list[str]]) -> None:
    lexicon, vectors = learned(texts)
    assert vectors.table.shape == (len(lexicon.words), 64)
    assert np.isfinite(vectors.table).all()
    before = TextConv.of(lexicon, outputs=2)
    assert 0 <= start_from(before, lexicon, vectors) <= 1 if len(lexicon.words) else True


def test_no_texts_were_counted() -> None:
    lexicon = Lexicon.fit(TEXTS)
    assert not Neighbours().vectors(lexicon).table.any()


def test_memory_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_KEYS", 40)
    monkeypatch.setattr(counting, "WAITING", 50)
    lexicon, near = Lexicon.fit(TEXTS), Neighbours()
    for text in TEXTS:
        near.add(lexicon.transform([text]) // SHAPES, lexicon.first_piece)
        assert len(near._counts._keys) <= 40
    assert np.isfinite(near.vectors(lexicon).table).all()


def test_of_many_slices_some_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third of eight, which is three of at most three."""
    monkeypatch.setattr(neighbours, "MOST_SLICES", 3)
    lexicon = Lexicon.fit(TEXTS)
    slices = [lexicon.transform(TEXTS[2 * i : 2 * i + 2]) // SHAPES for i in range(8)]
    some, chosen = Neighbours(8), Neighbours()
    for i, rows in enumerate(slices):
        some.add(rows, lexicon.first_piece)
        if i in (0, 3, 6):
            chosen.add(rows, lexicon.first_piece)
    for own, expected in zip(some._counts.result(), chosen._counts.result(), strict=True):
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("width", [3, 64, 70])
def test_networks_of_any_width_start_from_them(width: int) -> None:
    """Half of what a network has anyway, and the rest theirs, so that the length stays as it was."""
    lexicon, vectors = learned([*TEXTS, ["alone"], ["alone"]])
    torch.manual_seed(0)
    net = TextConv.of(lexicon, outputs=2, width=width)
    before = net.word.weight.detach().clone()
    start_from(net, lexicon, vectors)
    after = net.word.weight.detach()
    some = min(width, 64)
    theirs = (after - 0.5 * before)[SPECIAL:, :some].numpy() / 0.75**0.5
    assert np.sqrt(np.mean(theirs**2)) == pytest.approx(START, rel=1e-3)
    ratio = theirs[:, 0] / vectors.table[:, 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)  # one number scales all
    assert torch.equal(after[:, some:], before[:, some:])
    assert torch.equal(after[:SPECIAL], before[:SPECIAL])


def test_words_that_are_used_alike_do_not_start_as_one() -> None:
    lexicon, vectors = learned([f"the {word} film".split() for word in ("great", "awful") * 3])
    place = [lexicon.words.index(word) for word in ("great", "awful")]
    np.testing.assert_allclose(*vectors.table[place], atol=1e-6)
    torch.manual_seed(0)
    net = TextConv.of(lexicon, outputs=2)
    start_from(net, lexicon, vectors)
    one, other = net.word.weight.detach()[[SPECIAL + p for p in place]]
    assert float((one - other).norm()) > 0.2 * float(one.norm())


def test_only_training_rows_teach_them_and_random_leaves_them_out() -> None:
    texts = np.array([" ".join(text) for text in TEXTS] + ["zz zz zz", "a zz"], dtype=object)[:, None]
    train = np.arange(len(TEXTS))
    how = TextPreprocessing.fit(texts, train)
    alone = TextPreprocessing.fit(texts[train], train)
    assert how.vectors is None
    assert how.own_vectors is not None
    assert alone.own_vectors is not None
    assert how.own_vectors.words == alone.own_vectors.words
    np.testing.assert_array_equal(how.own_vectors.table, alone.own_vectors.table)
    none = TextPreprocessing.fit(texts, train, vectors="random")
    assert none.vectors is none.own_vectors is None
    nets = []
    for one in (how, none):
        torch.manual_seed(0)
        net = built_in(one, one.shape, 2, net="textconv")
        assert isinstance(net, TextConv)
        nets.append(net)
    start_from(nets[1], how.lexicon, how.own_vectors)
    assert torch.equal(nets[0].word.weight, nets[1].word.weight)
