"""Text files in every dialect: encodings, separators, quotes, line ends, blank lines, comments."""

from __future__ import annotations

import gzip
import io
import random
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dashpot
from dashpot.data import load_problem, load_rows
from dashpot.data.files.delimited import read_delimited
from dashpot.data.files.tables import read_table


def read(folder: Path, text: str | bytes, name: str = "a.csv", **options: Any) -> pl.DataFrame:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_delimited(path, **options).frame


SIMPLE = {"a": [1.0, 2.0, 3.0], "b": ["x", "ÿ", "z z"]}


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n2,ÿ\n3,z z\n",
        "a,b\n1,x\n2,ÿ\n3,z z",
        "a,b\r\n1,x\r\n2,ÿ\r\n3,z z\r\n",
        "a,b\r1,x\r2,ÿ\r3,z z\r",
        "a,b\r1,x\r2,ÿ\r3,z z\n",
        "\n\na,b\n\n1,x\n\n \n2,ÿ\n3,z z\n\n\n",
        "a,b\r\n1,x\r\n\r\n2,ÿ\r\n3,z z\r\n\r\n",
        "a;b\n1;x\n2;ÿ\n3;z z\n",
        "a\tb\n1\tx\n2\tÿ\n3\tz z\n",
        "a|b\n1|x\n2|ÿ\n3|z z\n",
        "a, b\n1, x\n2, ÿ\n3, z z\n",
        "# made by hand\n# twice\na,b\n1,x\n# a note, of, three\n2,ÿ\n3,z z\n#end\n",
        '"a","b"\n"1","x"\n"2","ÿ"\n"3","z z"\n',
        'a, b\n1, "x"\n2, "ÿ"\n3, "z z"\n',
        "a,b\n 1,x\n2 ,ÿ\n3,z z\n".replace("2 ", "2"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_dialects_that_are_found(tmp_path: Path, text: str, encoding: str) -> None:
    frame = read(tmp_path, text.encode(encoding)).with_columns(pl.col("a").cast(pl.Float64))
    assert frame.to_dict(as_series=False) == SIMPLE


@pytest.mark.parametrize(("said", "mark"), [(" ", " "), ("tab", "\t"), ("~", "~"), ("semicolon", ";")])
def test_separators_that_are_said(tmp_path: Path, said: str, mark: str) -> None:
    assert read(tmp_path, f"a{mark}b\n1{mark}x\n", separator=said).rows() == [(1.0, "x")]


def test_one_line_of_a_semicolon_file_that_has_commas(tmp_path: Path) -> None:
    frame = read(tmp_path, "a;b\n1,5;x\n2,5;y\n")
    assert frame.to_dict(as_series=False) == {"a": ["1,5", "2,5"], "b": ["x", "y"]}


@pytest.mark.parametrize("encoding", ["latin-1", "gb18030", "cp1252", "shift_jis", "koi8-r"])
def test_other_encodings_are_asked_for(tmp_path: Path, encoding: str) -> None:
    words = {"latin-1": "café", "gb18030": "北京", "cp1252": "café", "shift_jis": "東京", "koi8-r": "мир"}
    word = words[encoding]
    text = f"a,b\n1,{word}\n2,x\n".encode(encoding)
    assert read(tmp_path, text, encoding=encoding).rows() == [(1.0, word), (2.0, "x")]
    with pytest.raises(
        dashpot.DataError, match=r"a.csv must be text in UTF-8, got the byte 0x.. in line 2.*--encoding"
    ):
        read(tmp_path, text)


def test_the_message_shows_what_the_bytes_may_be(tmp_path: Path) -> None:
    with pytest.raises(dashpot.DataError, match="in gb18030 it reads '1,北京'.*encoding='gb18030'"):
        read(tmp_path, "a,b\n1,北京\n".encode("gb18030"))


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "base64"])
def test_encodings_that_are_none(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(dashpot.ConfigError, match="encoding must be one that Python knows"):
        read(tmp_path, "a,b\n1,x\n", encoding=encoding)


@pytest.mark.parametrize("separator", ["", "::", "a", '"', "."])
def test_separators_that_cannot_be(tmp_path: Path, separator: str) -> None:
    with pytest.raises(dashpot.ConfigError, match="separator must be one character"):
        read(tmp_path, "a,b\n1,x\n", separator=separator)


class TestQuotes:
    @pytest.mark.parametrize(
        ("line", "field"),
        [
            ('5" pipe,1', '5" pipe'),
            ('5" pipe 7",1', '5" pipe 7"'),
            ('he said "no",1', 'he said "no"'),
            ('"a ""b"" c",1', 'a "b" c'),
            ('"a,b",1', "a,b"),
            ('"a\n\nb",1', "a\n\nb"),
            ('"a\n#b",1', "a\n#b"),
            ('"",1', None),
        ],
    )
    def test_fields(self, tmp_path: Path, line: str, field: str | None) -> None:
        frame = read(tmp_path, f"a,b\nx,0\n{line}\ny,2\n")
        assert [(word or None, float(number)) for word, number in frame.rows()] == [("x", 0), (field, 1), ("y", 2)]

    def test_one_that_is_never_closed_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(dashpot.DataError, match="must close every quote that opens a field; the one in line 3"):
            read(tmp_path, 'a,b\nx,0\n"y,1\nz,2\n')


def test_a_line_with_too_many_fields_is_named(tmp_path: Path) -> None:
    with pytest.raises(dashpot.DataError, match="got 3 in line 4 and 2 in the header, separated by ','"):
        read(tmp_path, "a,b\n1,x\n2,y\n3,z,w\n4,q\n")


def test_short_lines_have_missing_values(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b,c\n1,x\n2,y,5\n").rows() == [(1, "x", None), (2, "y", 5)]


class TestComments:
    def test_a_value_that_begins_with_a_hash_is_none(self, tmp_path: Path) -> None:
        assert read(tmp_path, "a,b\n#ff0000,1\n#00ff00,2\n")["a"].to_list() == ["#ff0000", "#00ff00"]

    def test_a_header_that_begins_with_one_is_none(self, tmp_path: Path) -> None:
        frame = read(tmp_path, "##made today\n#id\tpos\n7\t5\n8\t6\n")
        assert frame.to_dict(as_series=False) == {"#id": [7, 8], "pos": [5, 6]}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"# only this\n"])
def test_nothing_in_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(dashpot.DataError, match=r"must have (a header and rows|rows), got an empty"):
        read_table(tmp_path / "a.csv")


def test_packed_files(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress("a;b\n\n1;é\n".encode("utf-16")), "a.csv.gz").rows() == [(1, "é")]
    with pytest.raises(dashpot.DataError, match="a.csv.gz must be a whole gzip file"):
        read(tmp_path, b"a,b\n1,2\n", "a.csv.gz")


def test_blank_lines_are_no_rows_to_predict(tmp_path: Path) -> None:
    lines = [f"{i % 7},{'ab'[i % 2]}" for i in range(90)]
    (tmp_path / "a.csv").write_text("x,t\n" + "\n".join(lines[:40]) + "\n\n" + "\n".join(lines[40:]) + "\n\n\n")
    problem = load_problem(tmp_path / "a.csv", "t")
    assert problem.n == 90
    x, names = load_rows(tmp_path / "a.csv", problem.prepare(problem.split(0).train).preprocessing, "t")
    assert (len(x), names[-1]) == (90, "89")


def test_a_late_word_makes_a_column_text(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{i},{i}\n" for i in range(6000)) + "1,x\n"
    frame = read(tmp_path, text)
    assert (frame.schema["a"], frame.schema["b"]) == (pl.Float64, pl.String)
    assert frame["b"][0] == "0"


def test_options_of_text_files_are_refused_elsewhere(tmp_path: Path) -> None:
    pl.DataFrame({"x": [1, 2], "y": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(dashpot.ConfigError, match="separator must be given for a text file"):
        read_table(tmp_path / "a.parquet", separator=";")
    with pytest.raises(dashpot.ConfigError, match="numeric must be given for a table"):
        load_problem(numeric=["x"])


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C",), exclude_characters="\u2028\u2029\x85"), min_size=1
)
CELLS = WORDS.map(str.strip).filter(lambda word: word and not word.startswith("#") and not word[0].isdigit())


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_dialect_is_read_back(tmp_path: Path, data: st.DataObject) -> None:
    """A table of numbers and words, written in a dialect that is drawn, is read as it was."""
    rows = data.draw(st.integers(2, 12))
    words = data.draw(st.lists(CELLS, min_size=rows, max_size=rows))
    numbers = data.draw(st.lists(st.integers(-(10**6), 10**6), min_size=rows, max_size=rows))
    mark = data.draw(st.sampled_from(",;\t|"))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]))
    blank = data.draw(st.booleans())
    notes = data.draw(st.booleans())
    out = io.StringIO()
    for i, line in enumerate([("name", "one", "two"), *zip(words, numbers, numbers, strict=True)]):
        fields = [str(field) for field in line]
        if any(c in fields[0] for c in ',;\t|" '):
            fields[0] = '"' + fields[0].replace('"', '""') + '"'
        out.write(mark.join(fields) + end)
        if blank and i % 3 == 0:
            out.write(end)
        if notes and i % 4 == 1:
            out.write("# a note" + end)
    (tmp_path / "drawn.csv").write_bytes(out.getvalue().encode(encoding))
    frame = read_delimited(tmp_path / "drawn.csv", text=["name"]).frame
    assert frame.columns == ["name", "one", "two"]
    assert frame["one"].to_list() == numbers
    assert frame["name"].to_list() == words


LABELS = st.one_of(
    st.from_regex(r"[+-]?0{0,2}[0-9]{1,3}(\.[0-9]{0,2})?([eE]0)?", fullmatch=True),
    st.sampled_from(["TRUE", "true", "True", "2024-01-05", "05.01.2024", "$5", "5%", "12345678901234567890123", "1,5"]),
    CELLS,
)


@given(labels=st.lists(LABELS, min_size=2, max_size=5, unique=True), mark=st.sampled_from(",;\t"))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_come_back_to_the_letter(tmp_path: Path, labels: list[str], mark: str) -> None:
    from dashpot.data.tables.formats import MISSING_WORDS

    labels = [label for label in labels if label not in MISSING_WORDS]
    if len(labels) < 2:
        return
    written = [labels[i % len(labels)] for i in range(4 * len(labels))]
    random.Random(0).shuffle(written)
    frame = pl.DataFrame({"x": list(range(len(written))), "y": written})
    frame.write_csv(tmp_path / "a.csv", separator=mark, quote_style="non_numeric")
    frame.write_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        problem = load_problem(tmp_path / name, "y", "classification")
        assert [problem.classes[code] for code in problem.labels] == written
        assert set(problem.classes) == set(labels)
