"""Small tables as they come from the field: odd columns, odd targets, odd files. Each is a function of its number."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Column = list[str]
Rng = np.random.Generator


def _numbers(rng: Rng, n: int) -> Column:
    scale = 10.0 ** rng.choice([-300, -9, -3, 0, 0, 0, 0, 0, 3, 9, 18, 300])
    return [f"{value:.6g}" for value in rng.normal(size=n) * scale]


def _one_of(*texts: str) -> Callable[[Rng, int], Column]:
    return lambda rng, n: [str(text) for text in rng.choice(np.array(texts, dtype=object), size=n)]


def _written(pattern: Callable[[float], str]) -> Callable[[Rng, int], Column]:
    return lambda rng, n: [pattern(float(value)) for value in rng.normal(size=n) * 1000]


def _integers(low: int, high: int) -> Callable[[Rng, int], Column]:
    return lambda rng, n: [str(low + int(value)) for value in rng.integers(0, high - low, size=n)]


def _days(rng: Rng, n: int) -> Column:
    days = np.datetime64("2015-01-01") + rng.integers(0, 4000, size=n)
    form = rng.choice(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M"])
    return [day.strftime(form) for day in days.astype("datetime64[s]").astype(object)]


def _comma(value: float) -> str:
    return f"{value:,.2f}".replace(",", " ").replace(".", ",").replace(" ", ".")


COLUMNS: dict[str, Callable[[Rng, int], Column]] = {
    "numbers": _numbers,
    "integers": _integers(0, 9),
    "large integers": _integers(10**17, 10**17 + 50),
    "beyond 64 bits": lambda rng, n: [f"{10**22 + int(value)}" for value in rng.integers(0, 99, size=n)],
    "one value": _one_of("7"),
    "one text": _one_of("same"),
    "nothing": _one_of(""),
    "missing words": _one_of("NA", "n/a", "-", ".", "null", "None", "?", ""),
    "numbers with holes": _one_of("1.5", "2", "", "NA", "nan"),
    "infinite": _one_of("inf", "-inf", "1", "2", "Infinity"),
    "not a number": _one_of("nan", "NaN", "1"),
    "truth": _one_of("True", "False"),
    "truth, mixed": _one_of("TRUE", "false", "yes", "no", "0", "1", "T", "F"),
    "levels": _one_of("red", "green", "blue"),
    "levels by case": _one_of("Red", "red", "RED ", " red"),
    "leading zeros": _one_of("007", "07", "7", "0070"),
    "zero forms": _one_of("0", "-0", "+0", "0.0", "00", "0e5"),
    "dates": _days,
    "dates and others": _one_of("2020-01-01", "01/02/2020", "yesterday", ""),
    "impossible dates": _one_of("2020-02-31", "0000-00-00", "9999-12-31"),
    "times": _one_of("23:59", "00:00", "24:01"),
    "money": _written(lambda value: f"${value:,.2f}"),
    "decimal commas": _written(_comma),
    "percent": _written(lambda value: f"{value:.1f}%"),
    "units": _written(lambda value: f"{value:.0f} cm"),
    "censored": _one_of("<0.5", "0.7", "1.2", ">9"),
    "hexadecimal": _one_of("0x1F", "0b11", "1e5", "1_000", "\uff11\uff12"),
    "odd signs": _one_of("\u22125", "5", "(5)", "5-", "\u20135"),
    "names": lambda rng, n: [f"person {i}" for i in range(n)],
    "sentences": _one_of("a good film", "not so good, really", "the worst\nof all", 'he said "no"', "ça va", "好看"),
    "long text": lambda rng, n: ["word " * int(value) for value in rng.integers(0, 300, size=n)],
    "quotes": _one_of('5" pipe', "it's", "`", '""', "'", '"a'),
    "separators": _one_of("a,b", "a;b", "a\tb", "a|b"),
    "lines": _one_of("a\nb", "c\r\nd", "e"),
    "formulas": _one_of("=1+1", "@x", "+", "-", "="),
    "control": _one_of("a\x00b", "\x01", "\x1b[31m", "\u200b", "\ufeff", "ok"),
    "unicode": _one_of("é", "e\u0301", "İ", "ß", "🙂", "\u202e", "مرحبا"),
    "json": _one_of('{"a": 1}', "[1, 2]", "null"),
    "row numbers": lambda rng, n: [str(i) for i in range(n)],
    "split": _one_of("train", "test", "valid"),
}

REFUSED = ("infinite", "control", "not a number")
"""Each table with such a column is refused, so that they stay few."""

TARGETS: dict[str, Callable[[Rng, int], Column]] = {
    "two classes": _one_of("good", "bad"),
    "three classes": _one_of("a", "b", "c"),
    "codes": _one_of("1", "2", "3"),
    "minus and plus": _one_of("-1", "1"),
    "a rare class": lambda rng, n: ["rare" if i == n // 2 else "common" for i in range(n)],
    "each row its own": lambda rng, n: [f"id{i}" for i in range(n)],
    "numeric": lambda rng, n: [f"{value:.5g}" for value in rng.normal(size=n)],
    **{
        name: COLUMNS[name]
        for name in (
            "numbers", "integers", "large integers", "beyond 64 bits", "one value", "one text", "nothing",
            "missing words", "numbers with holes", "infinite", "not a number", "truth", "truth, mixed",
            "levels by case", "leading zeros", "zero forms", "dates", "money", "decimal commas", "percent", "units",
            "censored", "hexadecimal", "odd signs", "sentences", "quotes", "separators", "lines", "control",
            "unicode", "row numbers",
        )
    },
}  # fmt: skip

HEADERS = [
    "a",
    "b",
    "x y",
    "",
    "1",
    "é",
    "col,umn",
    'quo"te',
    "target ",
    "split",
    "日期",
    "line\nbreak",
    "a.b[c]",
    "None",
    "a",
]


@dataclass(frozen=True)
class HostileTable:
    """A table with its file.

    Args:
        path: the file.
        labels: the target as the file writes it, row by row.
        intact: whether the file can be read as it was meant: nothing was torn, and the target column has its name.
    """

    path: Path
    target: str
    labels: Column
    intact: bool
    told: str


def hostile_table(number: int, folder: Path, drawn: int | None = None) -> HostileTable:
    """Write table ``number`` into ``folder``: with ``drawn``, other values in columns of these names, and other kinds
    of values in some."""
    rng = np.random.default_rng(number)
    n = int(
        rng.choice(
            [0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60], p=[0.01, 0.02, 0.02, 0.03, 0.06, 0.06, 0.1, 0.2, 0.2, 0.2, 0.1]
        )
    )
    kind = str(rng.choice(list(TARGETS)))
    if rng.random() < 0.4:
        kind = str(rng.choice(["two classes", "three classes", "numeric", "codes"]))
    odd = rng.random() < 0.3
    kinds = [str(name) for name in rng.choice([*COLUMNS], size=rng.integers(0, 6)) if odd or name not in REFUSED]
    if rng.random() < 0.7:
        kinds.append("numbers")
    names = [str(rng.choice(HEADERS)) if rng.random() < 0.3 else f"c{i}" for i in range(len(kinds))]
    if drawn is not None:
        rng = np.random.default_rng(drawn)
        kinds = [str(rng.choice(list(COLUMNS))) if rng.random() < 0.3 else name for name in kinds]
        n = int(rng.integers(0, 20))
    columns = [COLUMNS[name](rng, n) for name in kinds]
    labels = TARGETS[kind](rng, n)
    if n and rng.random() < 0.15:
        for i in rng.choice(n, size=max(1, n // 10)):
            labels[i] = str(rng.choice(["", "n.a.", "NA", "1e400", "?"]))
    place = int(rng.integers(0, len(names) + 1))
    names.insert(place, "y")
    columns.insert(place, labels)
    table = [names, *map(list, zip(*columns, strict=True))] if n else [names]
    path, torn = _write(table, folder / f"table{number if drawn is None else drawn}", rng)
    told = (
        f"table {number}{'' if drawn is None else ' again'}: {n} rows, target {kind!r}, columns {kinds}, named {names},"
    )
    told += f" {path.suffix}"
    return HostileTable(path, "y", labels, not torn and names.count("y") == 1, told)


def _write(table: list[Column], stem: Path, rng: Rng) -> tuple[Path, bool]:
    """A CSV file in some dialect, whole or torn; whether it was torn."""
    plain = rng.random() < 0.6
    separator = "," if plain else str(rng.choice([",", ";", "\t", "|"]))
    end = str(rng.choice(["\n", "\n", "\r\n", "\r"], p=[0.5, 0.25, 0.2, 0.05]))
    always = rng.random() < 0.2

    def cell(text: str) -> str:
        if always or any(mark in text for mark in (separator, '"', "\n", "\r")):
            return '"' + text.replace('"', '""') + '"'
        return text

    lines = [separator.join(map(cell, row)) for row in table]
    torn = False
    for damage, share in (("blank", 0.1), ("comment", 0.05), ("ragged", 0.06), ("quote", 0.04), ("cut", 0.04)):
        if plain or rng.random() >= 2 * share:
            continue
        at = int(rng.integers(1, len(lines) + 1))
        if damage == "blank":
            lines.insert(at, "")
        elif damage == "comment":
            lines.insert(0, "# made by hand")
        elif damage == "ragged":
            lines.insert(at, separator.join(["1"] * int(rng.integers(1, 9))))
        elif damage == "quote":
            lines.insert(at, '"')
        else:
            lines = lines[:at]
            lines[-1] = lines[-1][: len(lines[-1]) // 2]
        torn = torn or damage != "blank"
    text = end.join(lines) + (end if rng.random() < 0.8 else "")
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "gb18030", "latin-1"]))
    encoding = "utf-8" if plain else encoding
    raw = text.encode(encoding, errors="replace")
    if encoding != "utf-8":
        torn = True  # some of it is not what it was
    if rng.random() < 0.03:
        raw = raw[: len(raw) // 2] + bytes(rng.integers(0, 256, size=40, dtype=np.uint8)) + raw[len(raw) // 2 :]
        torn = True
    if rng.random() < 0.1:
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
            file.write(raw)
        path, raw = stem.with_suffix(".csv.gz"), buffer.getvalue()
    else:
        path = stem.with_suffix(".csv")
    path.write_bytes(raw)
    return path, torn
