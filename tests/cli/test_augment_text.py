"""``dashpot augment-text``, and ``dashpot show-augment`` of texts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import dashpot
from dashpot.cli.augment_text import augment_text
from dashpot.cli.show_augment import show_augment

RECIPE = ["random-deletion:rate=0.3", "random-swap:rate=0.2"]
TEXTS = ["the plot is old but the cast new", "天气很好，我们去公园散步", "", 'say "hi", twice a day'] * 30


@pytest.fixture
def table(tmp_path: Path) -> Path:
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "review", "label"), *((i, text, i % 2) for i, text in enumerate(TEXTS))])
    return tmp_path / "in.csv"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_row_is_followed_by_its_copies(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    augment_text(table, tmp_path / "out.csv", RECIPE, copies=3, column="review", seed=5)
    rows, transform = read(tmp_path / "out.csv"), dashpot.augment.text.TextTransform(RECIPE, 5)
    expected = []
    for i, text in enumerate(TEXTS):
        new = dict.fromkeys(transform(text, index=i, epoch=copy) for copy in range(3))
        expected += [
            {"id": str(i), "review": one, "label": str(i % 2)} for one in [text, *(n for n in new if n != text)]
        ]
    assert rows == expected
    assert len(rows) > 2.5 * len(TEXTS)
    told = capsys.readouterr().out
    assert f"{len(rows):,} rows of 120" in told
    assert f"{4 * 120 - len(rows):,} copies equal" in told
    augment_text(table, tmp_path / "copies.csv", RECIPE, copies=3, column="review", seed=5, originals=False)
    assert read(tmp_path / "copies.csv") == [r for r in rows if r["review"] != TEXTS[int(r["id"])]]


def test_other_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS[:8]) + "\n", encoding="utf-8")
    augment_text(tmp_path / "in.txt", tmp_path / "out.txt", RECIPE)
    lines = (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line in TEXTS] == TEXTS[:8]
    objects = [{"text": text, "y": [i]} for i, text in enumerate(TEXTS[:8])] + [{"text": None, "y": []}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, objects)), encoding="utf-8-sig")
    augment_text(tmp_path / "in.jsonl", tmp_path / "out.jsonl", RECIPE)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["text"] for one in found] == [*lines, ""]


def test_bad_files_are_named(table: Path, tmp_path: Path) -> None:
    def refused(message: str, data: Path, out: str = "new.csv", column: str | None = "review") -> None:
        with pytest.raises(dashpot.DashpotError, match=message):
            augment_text(data, tmp_path / out, RECIPE, column=column)

    refused(r"id, review, label\. Say which one holds the texts, with --column", table, column=None)
    refused(
        r"--column must be one of id, review, label, got 'reviews'\. Did you mean 'review'", table, column="reviews"
    )
    refused("a file of texts must be one that ends in .txt", table, "new.parquet")
    refused("OUT must be a .csv, .tsv or .jsonl file", table, "new.txt")
    refused("cannot be read", tmp_path / "nowhere.csv")
    for content, message in (
        (b"id,review\n1,a\n2,b,c\n", "line 3: must have 2 columns"),
        (
            'id,review\n0,"so\nmuch"\n1,café\n'.encode("latin-1"),
            r"bad\.csv must be text in UTF-8, got the byte 0xe9 in line 4.*latin-1 it reads '1,caf\u00e9'.*--encoding",
        ),
        (b"id,review\n1,a\n2,b\0\n", r"bad\.csv must be text, got a NUL character in line 3\. Say its encoding"),
        (b"id,review\n", "has no rows"),
    ):
        (tmp_path / "bad.csv").write_bytes(content)
        refused(message, tmp_path / "bad.csv")
    for content, message in ((b'{"review": "a"}\nx\n', "line 2: no JSON"), (b'{"review": 3}', "row 1: review must be")):
        (tmp_path / "bad.jsonl").write_bytes(content)
        refused(message, tmp_path / "bad.jsonl", "new.jsonl")
    with pytest.raises(dashpot.ConfigError, match="--with must be a technique on texts"):
        augment_text(table, tmp_path / "new.csv", column="review")
    with pytest.raises(dashpot.ConfigError, match=r"recipe must be made of techniques on texts, .*\(--with\)"):
        augment_text(table, tmp_path / "new.csv", ["mixup"], column="review")
    assert not list(tmp_path.glob("new*"))
    assert not list(tmp_path.glob(".new*"))
    (tmp_path / "there.csv").write_text("mine")
    refused("OUT must be the name of a new file", table, "there.csv")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "utf-16-be"])
def test_files_of_other_encodings_and_separators_become_utf_8(encoding: str, tmp_path: Path) -> None:
    texts = [f"ein schöner Tag in Köln, sagt Gast {i}" for i in range(40)]
    content = "review;label\n" + "".join(f'"{text}";{i % 2}\n' for i, text in enumerate(texts))
    (tmp_path / "in.csv").write_bytes(content.encode(encoding))
    said = encoding if encoding == "latin-1" else None  # the others are found
    augment_text(tmp_path / "in.csv", tmp_path / "out.csv", RECIPE, column="review", encoding=said)
    rows = read(tmp_path / "out.csv")
    assert [row["review"] for row in rows if row["review"] in texts] == texts
    assert {row["label"] for row in rows} == {"0", "1"}
    assert len(rows) > 60
    with pytest.raises(dashpot.ConfigError, match=r"encoding must be one that Python knows, .* got 'klingon'"):
        augment_text(tmp_path / "in.csv", tmp_path / "new.csv", RECIPE, column="review", encoding="klingon")


def test_an_escaped_nul_is_a_character_that_only_json_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"one\0two three four five {i}" for i in range(9)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    augment_text(tmp_path / "in.jsonl", tmp_path / "out.jsonl", RECIPE)
    found = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [text for text in found if text in texts] == texts
    for name in ("out.csv", "out.txt"):
        with pytest.raises(dashpot.DataError, match=rf"{name} must hold texts without NUL .* text\. Write a \.j"):
            augment_text(tmp_path / "in.jsonl", tmp_path / name, RECIPE)
        assert not (tmp_path / name).exists()
    capsys.readouterr()
    show_augment(tmp_path / "in.jsonl", ["random-swap"], images=2, draws=1)
    shown = capsys.readouterr().out
    assert "one\\x00two" in shown
    assert "\0" not in shown


def test_originals_stand_above_their_draws(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_augment(table, ["random-deletion:rate=0.5"], images=3, draws=2, column="review")
    blocks = capsys.readouterr().out.strip("\n").split("\n\n")
    assert len(blocks) == 3
    assert all(block.splitlines()[0].split("original  ")[1] in TEXTS for block in blocks)
    assert all(len(block.splitlines()) == 3 for block in blocks)
    show_augment(table, column="review")
    assert "punctuation-insertion" in capsys.readouterr().out
