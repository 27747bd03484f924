"""Small tables as Python holds them: frames, arrays and lists of odd types. Each is a function of its number."""

from __future__ import annotations

import datetime
import decimal
import fractions
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from tests.faults import hostile

Rng = np.random.Generator


def _objects(*values: Any) -> Callable[[Rng, int], Any]:
    def made(rng: Rng, n: int) -> np.ndarray:
        column = np.empty(n, dtype=object)
        for i, at in enumerate(rng.integers(0, len(values), size=n)):
            column[i] = values[at]
        return column

    return made


def _typed(dtype: Any, low: float = -100, high: float = 100) -> Callable[[Rng, int], Any]:
    return lambda rng, n: np.asarray(rng.uniform(low, high, size=n)).astype(dtype)


def _texts(name: str) -> Callable[[Rng, int], Any]:
    return lambda rng, n: np.array(hostile.COLUMNS[name](rng, n), dtype=object)


_DAY = datetime.date(2020, 2, 29)
_MOMENT = datetime.datetime(2020, 2, 29, 12, 30)

COLUMNS: dict[str, Callable[[Rng, int], Any]] = {
    "float64": _typed(np.float64),
    "float16": _typed(np.float16),
    "int8": _typed(np.int8),
    "uint64": lambda rng, n: np.asarray(rng.integers(2**63, 2**64 - 1, size=n, dtype=np.uint64)),
    "bool": lambda rng, n: rng.random(n) < 0.5,
    "complex": lambda rng, n: rng.normal(size=n) + 1j,
    "bytes": _objects(b"a", b"\xff\xfe"),
    "decimals": _objects(decimal.Decimal("1.50"), decimal.Decimal("2"), decimal.Decimal("NaN")),
    "fractions": _objects(fractions.Fraction(1, 3), fractions.Fraction(2, 3)),
    "days": _objects(_DAY, datetime.date(1, 1, 1), None),
    "moments": _objects(_MOMENT, _MOMENT.replace(tzinfo=datetime.UTC), None),
    "datetime64": lambda rng, n: np.datetime64("2020-01-01") + rng.integers(0, 999, size=n),
    "timedelta64": lambda rng, n: rng.integers(0, 999, size=n).astype("timedelta64[s]"),
    "mixed": _objects(1, "1", 1.0, None, True, "x"),
    "numbers and texts": _objects(1, 2.5, "3", "n.a."),
    "lists": _objects([1, 2], [3]),
    "dictionaries": _objects({"a": 1}, {}),
    "arrays": _objects(np.zeros(2), np.ones(3)),
    "numpy scalars": _objects(np.float32(1), np.int64(2), np.str_("3")),
    "missing": _objects(None, float("nan"), pd.NA, pd.NaT),
    "large integers": _objects(10**30, -(10**30), 5),
    "nullable": lambda rng, n: pd.array([1 if value < 0.5 else None for value in rng.random(n)], dtype="Int64"),
    "truth or missing": _objects(True, False, None),
    "category": lambda rng, n: pd.Categorical(rng.choice(["a", "b"], size=n), categories=["a", "b", "unused"]),
    "ordered numbers": lambda rng, n: pd.Categorical(rng.integers(0, 3, size=n), ordered=True),
    "periods": lambda rng, n: pd.period_range("2020-01", periods=max(n, 1), freq="M")[:n],
    "intervals": lambda rng, n: pd.interval_range(0, max(n, 1))[:n],
    "sparse": lambda rng, n: pd.arrays.SparseArray(rng.integers(0, 2, size=n).astype(float)),
    "enormous": _typed(np.float64, -8e307, 8e307),
    "tiny": _typed(np.float64, -1e-310, 1e-310),
    **{
        name: _texts(name)
        for name in ("money", "percent", "dates", "sentences", "leading zeros", "control", "censored")
    },
}

TARGETS: dict[str, Callable[[Rng, int], Any]] = {
    "two texts": _objects("good", "bad"),
    "codes": lambda rng, n: rng.integers(1, 4, size=n),
    "minus and plus": lambda rng, n: rng.choice([-1, 1], size=n),
    "column": lambda rng, n: rng.integers(0, 2, size=(n, 1)),
    "two columns": lambda rng, n: rng.integers(0, 2, size=(n, 2)),
    "floats as codes": lambda rng, n: rng.integers(0, 2, size=n).astype(float),
    "a rare class": lambda rng, n: np.arange(n) == n // 2,
    "scalar": lambda rng, n: np.float64(1.0),
    "one short": lambda rng, n: np.zeros(max(n - 1, 0)),
    **{
        name: COLUMNS[name]
        for name in (
            "float64", "float16", "int8", "uint64", "bool", "complex", "bytes", "decimals", "days", "moments",
            "datetime64", "timedelta64", "mixed", "numbers and texts", "lists", "numpy scalars", "missing",
            "large integers", "nullable", "truth or missing", "category", "ordered numbers", "periods", "enormous",
            "tiny", "leading zeros", "money",
        )
    },
}  # fmt: skip


@dataclass(frozen=True)
class HostileFrame:
    """Inputs and a target, as a caller of Python's interface gives them."""

    x: Any
    y: Any
    told: str


def hostile_frame(number: int) -> HostileFrame:
    """Inputs and target of table ``number``."""
    rng = np.random.default_rng(number)
    n = int(rng.choice([0, 1, 3, 8, 12, 20, 30, 45], p=[0.02, 0.02, 0.04, 0.1, 0.12, 0.3, 0.2, 0.2]))
    kind = str(rng.choice(list(TARGETS)))
    if rng.random() < 0.4:
        kind = str(rng.choice(["two texts", "codes", "float64"]))
    kinds = [str(name) for name in rng.choice(list(COLUMNS), size=rng.integers(0, 4))]
    if rng.random() < 0.7:
        kinds.append("float64")
    form = str(rng.choice(["pandas", "pandas", "polars", "object array", "lists", "float array"]))
    y = TARGETS[kind](rng, n)
    if rng.random() < 0.2 and kind != "scalar":
        y = list(y)
    elif rng.random() < 0.2 and np.ndim(y) == 1:
        y = pd.Series(y)
    columns = {f"c{i}": COLUMNS[name](rng, n) for i, name in enumerate(kinds)}
    told = f"frame {number}: {n} rows, target {kind!r} as {type(y).__name__}, columns {kinds}, as {form}"
    return HostileFrame(_held(form, columns, n, rng), y, told)


def _held(form: str, columns: dict[str, Any], n: int, rng: Rng) -> Any:
    if form == "float array":
        return rng.choice([np.nan, np.inf, 1.0, 2.0, 1e300], size=(n, len(columns)), p=[0.05, 0.01, 0.5, 0.43, 0.01])
    frame = pd.DataFrame(columns, index=range(n))
    if form == "pandas":
        index = str(rng.choice(["as it is", "texts", "equal", "numbered names", "equal names"]))
        if index == "texts":
            frame.index = pd.Index([f"row {i}" for i in range(n)])
        elif index == "equal":
            frame.index = pd.Index([0] * n)
        elif index == "numbered names":
            frame.columns = pd.RangeIndex(len(columns))
        elif index == "equal names":
            frame.columns = pd.Index(["a"] * len(columns))
        return frame
    if form == "polars":
        return pl.DataFrame({name: column for name, column in columns.items() if _plain(column)})
    block = frame.astype(object).to_numpy()
    return block if form == "object array" else block.tolist()


def _plain(column: Any) -> bool:
    """Whether polars has a type for it."""
    if not isinstance(column, np.ndarray) or column.dtype == np.float16:
        return False
    return column.dtype.kind in "fiubM" or (column.dtype == object and {type(value) for value in column} <= {str})
