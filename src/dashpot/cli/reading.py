"""Options that say how a table is to be read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Numeric = Annotated[
    list[str] | None,
    typer.Option("--numeric", help="A column of numbers; repeat for more. By default seen from its values."),
]
Dates = Annotated[list[str] | None, typer.Option("--dates", help="A column of dates; repeat for more.")]
Categorical = Annotated[
    list[str] | None, typer.Option("--categorical", help="A column of names, also of digits; repeat for more.")
]
Decimal = Annotated[str | None, typer.Option("--decimal", help="The decimal mark of numbers in text: . or ,")]
DayFirst = Annotated[
    bool | None, typer.Option("--day-first/--month-first", help="What comes first in dates such as 05/01/2024.")
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", help="Of a text file, such as latin-1 or gb18030; UTF-8 and UTF-16 are found."),
]
Separator = Annotated[
    str | None, typer.Option("--separator", help="Of a text file; comma, semicolon, tab and | are found.")
]


def reading_of(
    numeric: Numeric,
    dates: Dates,
    categorical: Categorical,
    decimal: Decimal,
    day_first: DayFirst,
    encoding: Encoding,
    separator: Separator,
) -> dict[str, Any]:
    """What was said, as the arguments of :func:`dashpot.data.load_problem`."""
    given = {
        "numeric": numeric,
        "dates": dates,
        "categorical": categorical,
        "decimal": decimal,
        "day_first": day_first,
        "encoding": encoding,
        "separator": separator,
    }
    return {name: value for name, value in given.items() if value is not None}
