"""Further sources of texts: a file for each document, and JSON lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError, DataError
from dashpot.data import load_problem, load_rows

WORDS = ("so", "much", "to", "say", "and", "no", "time")


def documents(folder: Path, parts: tuple[str, ...] = ("",)) -> list[str]:
    """Texts in folders of classes, and their paths in order."""
    names = []
    for part in parts:
        for i in range(8):
            place = folder / part / ("good", "bad")[i % 2] / f"{i}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"{WORDS[i % 7]} is what\nI have {i}", encoding="utf-8")
            names.append(str(place.relative_to(folder)))
    return sorted(names)


def test_a_folder_of_documents(tmp_path: Path) -> None:
    names = documents(tmp_path / "a")
    problem = load_problem(tmp_path / "a")
    assert (problem.kind, problem.classes, problem.how["columns"]) == ("text", ("bad", "good"), ("text",))
    assert problem.inputs[:, 0].tolist() == [(tmp_path / "a" / name).read_text() for name in names]
    assert problem.fixed_test is None
    prepared = problem.prepare(np.arange(8))
    x, rows = load_rows(tmp_path / "a", prepared.preprocessing)
    assert (rows, torch.equal(x, prepared.x)) == (names, True)
    flat = tmp_path / "new"
    flat.mkdir()
    (flat / "one.txt").write_text("so much")
    (flat / "none.txt").write_text("")
    assert load_rows(flat, prepared.preprocessing)[1] == ["none.txt", "one.txt"]


def test_folders_that_name_parts(tmp_path: Path) -> None:
    documents(tmp_path, ("train", "test"))
    with pytest.warns(UserWarning, match="the 8 texts in 'test' are the test part"):
        problem = load_problem(tmp_path)
    assert problem.fixed_test is not None
    assert (problem.n, len(problem.fixed_test)) == (16, 8)


def test_documents_that_do_not_do(tmp_path: Path) -> None:
    documents(tmp_path)
    (tmp_path / "bad" / "9.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(DataError, match=r"9\.txt must be text in UTF-8, got the byte 0xfc in line 1"):
        load_problem(tmp_path)
    assert load_problem(tmp_path, encoding="latin-1").n == 9
    (tmp_path / "bad" / "9.txt").write_bytes(b"a text\0and more")
    with pytest.raises(DataError, match=r"9\.txt must be text, got a NUL character in line 1"):
        load_problem(tmp_path)
    (tmp_path / "bad" / "9.txt").rename(tmp_path / "9.txt")
    with pytest.raises(DataError, match="1 text lies outside of any"):
        load_problem(tmp_path)
    (tmp_path / "9.txt").rename(tmp_path / "bad" / "9.doc")
    with pytest.warns(UserWarning, match="1 file is no text by its name"):
        assert load_problem(tmp_path).n == 8
    with pytest.raises(ConfigError, match="separator must be given for a table"):
        load_problem(tmp_path, separator=";")
    with pytest.raises(DataError, match="must hold images"):
        load_problem(tmp_path, kind="image")


def lines(rows: list[dict[str, object]]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"


TEXT = "the line {} of\na text\u2028with ends"
ROWS: list[dict[str, object]] = [
    {"text": TEXT.format(i), "stars": i % 5 + 0.5, "label": bool(i % 2), "n": i if i % 2 else "x"} for i in range(12)
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz"])
def test_json_lines_are_a_table(tmp_path: Path, name: str) -> None:
    data = lines([*ROWS, {"text": None, "label": True, "later": "y"}]).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    problem = load_problem(tmp_path / name, "label")
    assert (problem.kind, problem.classes, problem.n) == ("table", ("false", "true"), 13)
    rows = problem.inputs
    assert rows.column("stars").tolist()[:3] == [0.5, 1.5, 2.5]
    assert np.isnan(rows.column("stars")[12])
    assert rows.column("n").tolist()[:2] == ["x", "1"]
    assert rows.column("later").tolist() == [None] * 12 + ["y"]
    assert rows.column("text").tolist() == [row["text"] for row in ROWS] + [None]


def test_json_lines_of_texts_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([{"text": row["text"], "label": row["label"]} for row in ROWS]), encoding="utf-8")
    problem = load_problem(path, "label", tokenizer="characters")
    assert (problem.kind, problem.how["tokenizer"]) == ("text", "characters")
    prepared = problem.prepare(np.arange(12))
    assert torch.equal(load_rows(path, prepared.preprocessing)[0], prepared.x)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "an object of JSON on each line, got .* in line 2"),
        (b"[1, 2]\n", r"got '\[1, 2\]' in line 1"),
        (b'{"a": [1]}\n', "got list in 'a' of line 1"),
        (b"\n\n", "must have rows with columns"),
        (b'{"a": "\xff"}\n', "must be text in UTF-8, got the byte 0xff in line 1"),
        (b'{"a": "\x00"}\n', "got a NUL character in line 1"),
        (b"[" * 100_000, "an object of JSON on each line"),
    ],
)
def test_json_lines_that_are_none_are_told_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_problem(tmp_path / "a.jsonl", "a")


def test_a_tokenizer_is_for_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(ROWS))
    with pytest.raises(ConfigError, match="tokenizer must be None for other data than texts"):
        load_problem(tmp_path / "a.jsonl", "label", tokenizer="words")
    with pytest.raises(ConfigError, match="got 'letters'"):
        load_problem(tmp_path / "none.csv", "label", tokenizer="letters")
