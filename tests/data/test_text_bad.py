"""Texts that are bad or odd: one clear message, or rows of which networks make finite numbers."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
import torch

from dashpot import nets
from dashpot.core.errors import ConfigError, DataError
from dashpot.core.recipe import Recipe
from dashpot.data import load_problem
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.data.texts.rows import as_texts
from dashpot.data.texts.tokens import tokens_of
from dashpot.runs.saved import load_run, save_model, save_setup
from dashpot.texts.cutting import cutter
from dashpot.texts.spelling import LONGEST
from dashpot.training.builtin import network_for

ODD = {
    "emoji": "great 👍🏽 👨‍👩‍👧 day 🇩🇪!",
    "right to left": "שלום עולם, مرحبا بالعالم \u202e!",
    "scripts": "Hello мир 世界 สวัสดี नमस्ते こんにちは",
    "html": '<p class="a">Fish &amp; chips<br/>5 &lt; 6</p>',
    "control": "a\0b\x1fc\x07d\ufeff",
    "spaces": " \t\u00a0\u3000\n a \u200b b ",
    "combined": "a\u0301e\u0308 \u0301",
}


def columns(*texts: str | None) -> np.ndarray:
    return np.array([*texts, None], dtype=object)[:-1, None]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("tokenizer", ["words", "characters"])
def test_nothing_is_lost_of_odd_texts(name: str, tokenizer: str) -> None:
    text = ODD[name]
    tokens = cutter(tokenizer)(text)
    place = 0
    for token in tokens:
        start = text.index(token, place)
        assert not any(character.isalnum() for character in text[place:start])
        place = start + len(token)
    assert not any(character.isalnum() for character in text[place:])
    how = TextPreprocessing.fit(columns(text, text), np.arange(2), tokenizer=tokenizer)
    again = TextPreprocessing.from_dict(json.loads(json.dumps(how.to_dict(), ensure_ascii=False).encode()))
    assert np.array_equal(again.transform(columns(text)), how.transform(columns(text)))


@pytest.mark.parametrize("net", ["textconv", "textbag"])
def test_rows_of_nothing_give_finite_numbers(net: str) -> None:
    texts = columns("a day", "a night", "", None, "a", "   ", "zzz")
    how = TextPreprocessing.fit(texts, np.arange(7))
    network = nets.build("text", how.shape, 3, net=net, **how.sizes).eval()
    how.ready(network)
    rows = torch.from_numpy(np.vstack([how.transform(texts), np.zeros((1, *how.shape), dtype=np.int32)]))
    for some in (rows, rows[2:3], rows[-1:], rows[-1:].repeat(3, 1), rows[:0]):
        out = network(some)
        assert out.shape == (len(some), 3)
        assert torch.isfinite(out).all()
    network.train()
    network(rows).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())
    assert torch.equal(rows[2], rows[3])
    assert torch.equal(rows[2], rows[5])


def test_long_texts_are_cut() -> None:
    many, one = "so much to say " * 70_000, string.ascii_lowercase * 40_000
    with pytest.warns(UserWarning, match="of 2 of 4 training texts only the first 510 words and marks are read"):
        how = TextPreprocessing.fit(columns(many, many, one, one), np.arange(4))
    rows = how.transform(columns(many, one))
    assert (how.shape, how.lexicon.names(rows[0])[-3:]) == ((512,), ["so", "much", "<edge>"])
    assert max(map(len, how.lexicon.words)) == LONGEST
    assert how.lexicon.names(rows[1]) == ["<edge>", one[:LONGEST], "<edge>"]


def test_long_texts_in_files(tmp_path: Path) -> None:
    text = 'it was 5" long ' * 70_000
    rows = "".join(f"{i} {text},{'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
    problem = load_problem(tmp_path / "a.csv", "label")
    assert (problem.kind, len(problem.inputs[0, 0])) == ("text", len(f"0 {text}"))


def test_ids_are_told() -> None:
    ids = columns(*(f"{i:04x}q{i * 7919:08x}" for i in range(30)))
    with pytest.warns(UserWarning, match="no word is in two training rows of id: they hold ids"):
        how = TextPreprocessing.fit(ids, np.arange(30), columns=["id"])
    network = nets.build("text", how.shape, 2, **how.sizes).eval()
    how.ready(network)
    assert torch.isfinite(network(torch.from_numpy(how.transform(ids)))).all()


def test_a_tokenizer_that_gives_nothing_is_refused() -> None:
    texts = columns("a day", "a night")
    with pytest.raises(DataError, match="texts must have a token in some training row, got none"):
        TextPreprocessing.fit(texts, np.arange(2), tokenizer=lambda text: [])
    with pytest.raises(DataError, match="texts must have a token"):
        TextPreprocessing.fit(np.hstack([columns("", None), columns(" ", "")]), np.arange(2))
    texts = columns("a day", "a night", "a day")
    some = TextPreprocessing.fit(texts, np.arange(3), tokenizer=lambda text: [] if "night" in text else [text])
    assert some.lexicon.names(some.transform(texts)[1]) == ["<edge>", "<edge>"]


def test_texts_that_are_no_unicode_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"X must hold text in UTF-8, .* in row 1"):
        as_texts("X", ["fine", "half \ud800"])
    (tmp_path / "a.jsonl").write_text('{"a": "x"}\n{"a": "\\ud800"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl must hold whole characters, .* in line 2"):
        load_problem(tmp_path / "a.jsonl", "a")
    (tmp_path / "a.csv").write_bytes(b"text,label\nGr\xfc\xdfe,a\n")
    with pytest.raises(DataError, match=r"a\.csv must be text in UTF-8, got the byte 0xfc in line 2"):
        load_problem(tmp_path / "a.csv", "label")


def test_no_text_holds_what_stands_for_columns() -> None:
    assert tokens_of(columns("a\x1fcolour=red"), "words") == [["a", "colour", "=", "red"]]


def pairs(text: str) -> list[str]:
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def test_a_run_with_a_function_asks_for_it_again(tmp_path: Path) -> None:
    rows = "".join(f"this is text {i},{'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
    problem = load_problem(tmp_path / "a.csv", "label", tokenizer=pairs)
    prepared = problem.prepare(np.arange(12))
    network = network_for(problem, prepared).eval()
    (tmp_path / "run").mkdir()
    save_setup(tmp_path / "run", network, prepared, Recipe())
    save_model(tmp_path / "run", network)
    with pytest.raises(ConfigError, match="tokenizer must be named again for a run with one of your own: .*:pairs"):
        load_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="tokenizer must be that of the run"):
        load_run(tmp_path / "run", tokenizer="words")
    _, how, _ = load_run(tmp_path / "run", tokenizer=pairs)
    assert np.array_equal(how.transform(problem.inputs), prepared.x.numpy())


def test_rows_of_many_texts_stay_within_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long text would make every row as long."""
    for name, value in (("CELLS", 400), ("LEAST_LENGTH", 5)):
        monkeypatch.setattr(f"dashpot.data.texts.tokens.{name}", value)
    short, long = "one two three", "one two three four five six seven eight"
    how = TextPreprocessing.fit(columns(*[short] * 199, long), np.arange(200))
    assert how.shape == (5,)  # so few are cut that nothing is said
    with pytest.warns(UserWarning, match="of 8 of 40 training texts only the first 8 words.* within 1 GiB. Split long"):
        how = TextPreprocessing.fit(columns(*[short] * 32, *[long + " nine"] * 8), np.arange(40))
    assert how.lexicon.names(how.transform(columns(long))[0])[-2:] == ["eight", "<edge>"]
