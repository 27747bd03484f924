"""Lexicons and grams against slow versions written apart from them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dashpot.core.errors import DataError
from dashpot.data.texts import TextPreprocessing
from dashpot.texts.grams import entries_of, frequent_grams, gram_keys, words_only
from dashpot.texts.lexicon import EDGE, SHAPES, SPECIAL, UNKNOWN, Lexicon, pieces_of, shape_of

TEXTS = [
    ["Who", "wrote", "the", "Iliad", "?"],
    ["Who", "wrote", "Hamlet", "?"],
    ["who", "painted", "the", "Mona", "Lisa", "?"],
    ["Where", "is", "the", "Louvre", "?"],
    list("我今天很高兴"),
    list("我很好"),
    [],
]


def test_words_are_those_of_two_texts_the_most_frequent_first() -> None:
    lexicon = Lexicon.fit(TEXTS)
    counts = Counter(word.lower() for tokens in TEXTS for word in set(tokens))
    wanted = sorted((word for word in counts if counts[word] > 1), key=lambda word: (-counts[word], word))
    assert list(lexicon.words) == wanted


def test_a_row_says_words_their_shapes_and_the_pieces_of_unknown_words() -> None:
    lexicon = Lexicon.fit(TEXTS)
    row = lexicon.transform([["Who", "WROTE", "wrotes"]])[0]
    entry = {word: SPECIAL + i for i, word in enumerate(lexicon.words)}
    known = [
        lexicon.first_piece + lexicon.pieces.index(piece) for piece in pieces_of("wrotes") if piece in lexicon.pieces
    ]
    edge = SHAPES * EDGE
    wanted = [edge, SHAPES * entry["who"] + 3, SHAPES * entry["wrote"] + 2, SHAPES * UNKNOWN]
    wanted += [SHAPES * piece for piece in known] + [edge]
    assert row[row > 0].tolist() == wanted[: lexicon.length - 1] + ([edge] if len(wanted) > lexicon.length else [])


def test_rows_are_cut_and_an_empty_text_is_two_edges() -> None:
    lexicon = Lexicon.fit(TEXTS, length=4)
    rows = lexicon.transform([[], ["who"] * 9])
    assert rows.shape == (2, 4)
    assert lexicon.names(rows[0]) == ["<edge>", "<edge>"]
    assert lexicon.names(rows[1]) == ["<edge>", "who", "who", "<edge>"]


def test_a_lexicon_comes_back_from_json() -> None:
    lexicon = Lexicon.fit(TEXTS)
    again = Lexicon.from_dict({key: list(v) if isinstance(v, tuple) else v for key, v in lexicon.to_dict().items()})
    again.check()
    assert again == lexicon
    assert np.array_equal(again.transform(TEXTS), lexicon.transform(TEXTS))


def test_the_counts_are_of_the_texts_that_hold_a_feature() -> None:
    lexicon = Lexicon.fit(TEXTS)
    known = set(lexicon.words)
    holds: list[set[object]] = []
    for tokens in TEXTS:
        lowered = [token.lower() for token in tokens]
        marked = ["<edge>", *(word if word in known else "<unknown>" for word in lowered), "<edge>"]
        pieces = {f"#{piece}" for word in lowered for piece in pieces_of(word)}
        grams = {tuple(marked[i : i + n]) for n in (2, 3) for i in range(len(marked) - n + 1)}
        holds.append({*marked, *pieces, *grams})
    names: list[object] = ["", "<unknown>", "<edge>", *lexicon.words, *(f"#{piece}" for piece in lexicon.pieces)]
    names += [tuple(str(names[entry]) for entry in entries_of(key)) for key in lexicon.grams]
    assert lexicon.texts == len(TEXTS)
    assert list(lexicon.counts) == [sum(name in held for held in holds) for name in names]
    assert lexicon.frequencies[SPECIAL] == np.float32(np.log(8 / (1 + lexicon.counts[SPECIAL])) + 1)
    assert set(Lexicon(lexicon.words, lexicon.pieces, lexicon.grams, 4).frequencies.tolist()) == {1.0}


def test_grams_are_those_that_a_loop_counts() -> None:
    g = np.random.default_rng(0)
    rows = g.integers(0, 9, (40, 12))  # entries from 6 on are pieces, zeros are gaps
    counts: Counter[tuple[int, ...]] = Counter()
    for row in rows:
        words = [int(entry) for entry in row if 0 < entry < 6]
        counts.update({tuple(words[i : i + n]) for n in (2, 3) for i in range(len(words) - n + 1)})
    found = frequent_grams(rows, 6, 10**6, 2)[0]
    assert sorted(map(entries_of, found.tolist())) == sorted(gram for gram, count in counts.items() if count >= 2)
    few = {entries_of(key) for key in frequent_grams(rows, 6, 20, 2)[0].tolist()}
    assert len(few) == 20
    assert min(counts[gram] for gram in few) >= max(counts[gram] for gram in counts if gram not in few)
    assert frequent_grams(rows[:0], 6, 20, 2)[0].tolist() == []


def test_words_move_together_and_grams_read_back() -> None:
    assert words_only(np.array([[2, 9, 0, 5, 3]]), 6).tolist() == [[2, 5, 3, 0, 0]]
    top = (1 << 20) - 1
    assert entries_of(int(gram_keys(np.array([top, 1, top]), 3)[0])) == (top, 1, top)


def test_shapes_of_other_scripts() -> None:
    assert [shape_of(token) for token in ("好", "٣", "é", "É", "👍", "-3", "x2")] == [0, 1, 0, 3, 5, 4, 4]


def test_blocks_of_texts_give_the_rows_of_all_texts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXTS[i % len(TEXTS)][: 1 + i % 4] for i in range(23)]
    whole = Lexicon.fit(texts)
    rows = whole.transform(texts)
    preprocessing = TextPreprocessing(("text",), whole)
    cells = np.array([[" ".join(tokens)] for tokens in texts], dtype=object)
    at_once = preprocessing.transform(cells)
    for module in ("dashpot.texts.lexicon", "dashpot.data.texts"):
        monkeypatch.setattr(f"{module}.BLOCK", 5)
    assert Lexicon.fit(texts) == whole
    assert np.array_equal(preprocessing.transform(cells), at_once)
    narrow = whole.narrow_rows(texts)
    assert np.array_equal(narrow, rows[:, : narrow.shape[1]])
    assert not rows[:, narrow.shape[1] :].any()
    assert whole.narrow_rows([]).shape[0] == 0
    cells[17, 0] = 3.5
    with pytest.raises(DataError, match="row 17 must hold a text"):
        preprocessing.transform(cells)
