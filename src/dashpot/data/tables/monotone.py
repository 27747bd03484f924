"""Columns in which the answer must rise or fall: what a caller says of them, and where they are among the features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.data.stage import Staged

NET = "MonotoneNet"
RULE = "a mapping from columns to 1 (rises), -1 (falls) or 0 (free), or texts such as 'age=1'"
NUMBERS = "a column of numbers"


def directions(monotone: Any) -> dict[str, int]:
    """The direction of each column; those that are free are left out.

    Args:
        monotone: a mapping, or texts ``COLUMN=DIRECTION``; None is no column.

    Raises:
        ConfigError: something else, or a column twice.

    >>> directions({"age": 1, "income": -1, "city": 0})
    {'age': 1, 'income': -1}
    >>> directions(["age=1", "a=b=-1"])
    {'age': 1, 'a=b': -1}
    """
    if monotone is None:
        return {}
    if isinstance(monotone, str) or not isinstance(monotone, Mapping | Iterable):
        raise ConfigError("monotone", RULE, monotone)
    pairs = list(monotone.items()) if isinstance(monotone, Mapping) else [_pair(text) for text in monotone]
    found: dict[str, int] = {}
    for name, direction in pairs:
        if isinstance(direction, bool) or direction not in (-1, 0, 1):
            raise ConfigError(f"monotone of {name!r}", "1 (rises), -1 (falls) or 0 (free)", direction)
        if str(name) in found:
            raise ConfigError("monotone", "said once for each column", str(name))
        found[str(name)] = int(direction)
    return {name: direction for name, direction in found.items() if direction}


def directed(monotone: Any, kind: str) -> dict[str, dict[str, int]]:
    """What the preprocessing of a table is fitted with beside its rows, where columns have a direction.

    Raises:
        ConfigError: as :func:`directions`, or for other data than tables.
    """
    found = directions(monotone)
    if found and kind != "table":
        raise ConfigError("monotone", "None for other data than tables", monotone, f"These are of kind {kind!r}.")
    return {"monotone": found} if found else {}


def _pair(text: Any) -> tuple[str, Any]:
    name, equals, direction = str(text).rpartition("=")
    if not equals or direction.strip() not in ("1", "+1", "-1", "0"):
        raise ConfigError("monotone", "written COLUMN=1 (rises) or COLUMN=-1 (falls)", text)
    return name.strip(), int(direction)


def demand_numbers(
    found: Mapping[str, int], numeric: Sequence[str], nominal: Iterable[str], others: Sequence[str]
) -> None:
    """Refuse directions of columns that have no order.

    Args:
        numeric, nominal: columns of numbers and of names.
        others: all columns of the table.

    Raises:
        UnknownNameError: no such column; the nearest is named.
        ConfigError: a column that holds no numbers.
    """
    names = set(nominal)
    for name in found:
        if name in names:
            way = f"Say numeric=[{name!r}] (--numeric) if its texts are numbers, or write its levels as numbers."
            raise ConfigError("monotone", f"{NUMBERS}, which has an order", name, way)
        if name not in others:
            raise UnknownNameError("monotone", name, [other for other in others if other in numeric])


class Directed(Staged):
    """What tables add to :class:`Staged`: a network that knows directions, where columns have some."""

    numeric: tuple[str, ...]
    monotone: Mapping[str, int]

    @property
    def sizes(self) -> Mapping[str, Any]:
        """The network and the directions of the features, where any column has one; numeric columns come first."""
        if not self.monotone:
            return {}
        return {"net": NET, "signs": [self.monotone.get(name, 0) for name in self.numeric]}


def certificate_of(prepared: Any) -> str:
    """:func:`certificate` of a training on data that were prepared so."""
    classes = prepared.target.classes
    return certificate(getattr(prepared.preprocessing, "monotone", {}), classes[1] if len(classes) == 2 else "")


def certificate(monotone: Mapping[str, int], positive: str = "") -> str:
    """What a network is certified for, in words; empty where nothing.

    Args:
        positive: the class whose probability has the directions.

    >>> certificate({"age": 1, "price": -1}, "yes")
    'monotone (certified): P(yes) rises with age, falls with price'
    """
    if not monotone:
        return ""
    parts = [
        f"{verb} with {', '.join(names)}"
        for verb, sign in (("rises", 1), ("falls", -1))
        if (names := [name for name, direction in monotone.items() if direction == sign])
    ]
    return f"monotone (certified): {f'P({positive})' if positive else 'the prediction'} {', '.join(parts)}"
