"""The advice to read the words themselves, where they alone say as much as a whole table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import say
from dashpot.report.style import METRICS
from dashpot.report.texts.words import as_shown


def alone_line(found: Mapping[str, Any]) -> str:
    """One sentence, or nothing where the words alone say less.

    Args:
        found: by :func:`dashpot.comparison.words_alone.words_beside`; empty where nothing was measured.

    >>> found = {"columns": ["note"], "metric": "accuracy", "rows": 600, "words": 0.9917, "table": 0.99}
    >>> alone_line({**found, "enough": True}).split(":")[0]
    "On 600 held-out rows a linear model on the words of 'note' alone has accuracy 0.9917, the table's network 0.9900"
    >>> alone_line({**found, "enough": False})
    ''
    """
    if not found.get("enough"):
        return ""
    return say(
        "On {rows:,} held-out rows a linear model on the words of {columns} alone has {score} {words}, the table's"
        " network {table}: try --kind text, whose networks read words and not topics.",
        rows=found["rows"],
        columns=say(", ").join(f"'{as_shown(str(name), 40)}'" for name in found["columns"]),
        score=say(METRICS.get(found["metric"], found["metric"])),
        words=digits(found["words"]),
        table=digits(found["table"]),
    )
