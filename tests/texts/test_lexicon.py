"""Lexicons and grams against slow versions written apart from them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dashpot.core.errors import DataError
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.texts.counting import KeyCounts, texts_with_terms
from dashpot.texts.grams import SKIP, entries_of, grams_of, keys_of, words_only
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
        places = range(len(marked))
        skips = {(marked[i], "...", marked[k]) for i in places for k in places if 2 <= k - i <= 4}
        holds.append({*marked, *pieces, *grams, *skips})
    names: list[object] = ["", "<unknown>", "<edge>", *lexicon.words, *(f"#{piece}" for piece in lexicon.pieces)]
    for key in lexicon.grams:
        first, *rest = (str(names[entry]) for entry in entries_of(key))
        names.append((first, *(["..."] if key >= SKIP else []), *rest))
    assert any("..." in name for name in names if isinstance(name, tuple))
    assert lexicon.texts == len(TEXTS)
    assert list(lexicon.counts) == [sum(name in held for held in holds) for name in names]
    assert lexicon.frequencies[SPECIAL] == np.float32(np.log(8 / (1 + lexicon.counts[SPECIAL])) + 1)
    assert set(Lexicon(lexicon.words, lexicon.pieces, lexicon.grams, 4).frequencies.tolist()) == {1.0}


@pytest.mark.parametrize("skips", [False, True])
def test_grams_are_those_that_a_loop_counts(skips: bool) -> None:
    g = np.random.default_rng(0)
    rows = g.integers(0, 9, (40, 12))  # entries from 6 on are pieces, zeros are gaps
    counts: Counter[tuple[int, ...]] = Counter()
    for row in rows:
        words = [int(entry) for entry in row if 0 < entry < 6]
        found = {tuple(words[i : i + n]) for n in (2, 3) for i in range(len(words) - n + 1)}
        if skips:  # 0 stands for the words between
            found |= {(words[i], 0, words[k]) for i in range(len(words)) for k in range(i + 2, min(i + 5, len(words)))}
        counts.update(found)
    held = KeyCounts()
    for some in grams_of(rows, 6, skips=skips):
        held.add(some)
    keys, times = held.result()
    named = {_gram(int(key)): int(count) for key, count in zip(keys, times, strict=True)}
    assert named == dict(counts)
    assert [*grams_of(rows[:0], 6, skips=skips)] == []


def _gram(key: int) -> tuple[int, ...]:
    entries = entries_of(key)
    return (entries[0], 0, entries[1]) if key >= SKIP else entries


def test_of_many_grams_the_most_frequent_of_each_kind_are_kept() -> None:
    texts = [[chr(97 + (i * k) % 7) for k in range(1, 9)] for i in range(1, 30)]
    every, few = Lexicon.fit(texts), Lexicon.fit(texts, most={"grams": 10, "skips": 6})
    for wanted, kept in ((10, [key < SKIP for key in few.grams]), (6, [key >= SKIP for key in few.grams])):
        assert sum(kept) == wanted
    times = dict(zip(every.grams, every.counts[every.entries :], strict=True))
    for kind in (False, True):
        inside = [times[key] for key in few.grams if (key >= SKIP) == kind]
        others = [times[key] for key in every.grams if (key >= SKIP) == kind and key not in few.grams]
        assert min(inside) >= max(others)


def test_long_texts_have_no_pairs_with_words_between() -> None:
    long, short = ["a", "b", "c", "d"] * 20, ["a", "b", "c", "d"]
    assert any(key >= SKIP for key in Lexicon.fit([short, short]).grams)
    assert not any(key >= SKIP for key in Lexicon.fit([long, long]).grams)


def test_words_move_together_and_grams_read_back() -> None:
    assert words_only(np.array([[2, 9, 0, 5, 3]]), 6).tolist() == [[2, 5, 3, 0, 0]]
    top = (1 << 20) - 1
    pairs, triples, skips = keys_of(np.array([[top, 1, top]]), skips=True)
    assert entries_of(int(triples[0, 0])) == (top, 1, top)
    assert [entries_of(int(keys[0, 0])) for keys in (pairs, skips)] == [(top, 1), (top, top)]
    assert pairs[0, 0] < triples[0, 0] < SKIP <= skips[0, 0]


def test_with_bounded_memory_what_is_frequent_is_still_counted() -> None:
    """1,000 numbers come once each between those that come often: at most 40 are kept at once."""
    g = np.random.default_rng(1)
    often = np.repeat(np.arange(5), [50, 60, 70, 80, 90])
    stream = np.concatenate([often, np.arange(100, 1100)])[g.permutation(350 + 1000)]
    bounded = KeyCounts(most=40, waiting=30)
    for part in np.array_split(stream, 30):
        bounded.add(part)
    keys, times = bounded.result()
    assert not bounded.exact
    assert len(keys) <= 40
    terms = texts_with_terms(({str(number)} for number in stream), most=40)
    assert len(terms) <= 40
    for counts in (dict(zip(map(str, keys), times.tolist(), strict=True)), terms):
        assert max(counts, key=lambda name: counts[name]) == "4"
        assert [counts[str(k)] <= wanted for k, wanted in enumerate((50, 60, 70, 80, 90))] == [True] * 5
        assert sum(counts[str(k)] for k in range(5)) > 0.8 * 350


def test_grams_that_were_forgotten_meanwhile_are_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXTS[i % len(TEXTS)] for i in range(60)]
    whole = Lexicon.fit(texts)
    for name, value in (("MOST_KEYS", 60), ("WAITING", 10)):
        monkeypatch.setattr(f"dashpot.texts.counting.{name}", value)
    bounded = Lexicon.fit(texts)
    assert 0 < len(bounded.grams) < len(whole.grams)
    times = dict(zip(whole.grams, whole.counts[whole.entries :], strict=True))
    assert list(bounded.counts[bounded.entries :]) == [times[key] for key in bounded.grams]


def test_shapes_of_other_scripts() -> None:
    assert [shape_of(token) for token in ("好", "٣", "é", "É", "👍", "-3", "x2")] == [0, 1, 0, 3, 5, 4, 4]


def test_blocks_of_texts_give_the_rows_of_all_texts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXTS[i % len(TEXTS)][: 1 + i % 4] for i in range(23)]
    whole = Lexicon.fit(texts)
    rows = whole.transform(texts)
    preprocessing = TextPreprocessing(("text",), whole)
    cells = np.array([[" ".join(tokens)] for tokens in texts], dtype=object)
    at_once = preprocessing.transform(cells)
    for module in ("dashpot.texts.lexicon", "dashpot.data.texts.preprocessing"):
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
