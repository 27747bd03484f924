"""Charts with a row for each name: no name is cut off by the edge of the drawing."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from dashpot.report.page.dots import Mark, bar_chart, dot_chart

NARROWEST = 5.5
"""What a letter of the chart's font takes at least, in the drawing's units."""


@pytest.mark.parametrize("width", [370.0, 720.0])
@pytest.mark.parametrize("kind", ["dots", "bars"])
def test_names_fit_before_the_marks(kind: str, width: float) -> None:
    names = ["head", *(f"networks.{k}.linears.0.linear" for k in range(3)), "a.very.long.name.of.a.layer." * 4]
    drawn = (
        dot_chart([Mark(name, 1.0, kind="after", key="") for name in names], "", "", width=width)
        if kind == "dots"
        else bar_chart([(name, 1.0, "") for name in names], "", "", width=width)
    )
    rows = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="row" text-anchor="end">([^<]*)</text>', drawn)
    assert len(rows) == len(names)
    assert all(float(x) >= NARROWEST * len(shown) for x, _, shown in rows)
    assert all(float(above) < float(below) for (_, above, _), (_, below, _) in pairwise(rows))
    assert [shown for *_, shown in rows][:-1] == names[:-1]  # such names are told apart by their middle
    assert "…" in rows[-1][2]
