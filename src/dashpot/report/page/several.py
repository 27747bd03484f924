"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashpot.report.page.blocks import Block, Chart, Page, Section, Table
from dashpot.report.page.common import label
from dashpot.report.page.dots import Mark, dot_chart
from dashpot.report.tune.stats import decimals, shown
from dashpot.report.tune.trial_record import finite


@dataclass(frozen=True)
class Side:
    """A run beside others.

    Attributes:
        run: its folder.
        kind: the command that made it.
        data: what it was trained on, and its fingerprint.
        recipe: in words.
        test: scores on its test rows.
        seconds: it took.
    """

    run: str
    kind: str
    data: str
    recipe: str
    test: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


def several_page(sides: Sequence[Side]) -> Page:
    """A table of test scores, a drawing for the first score that all have, and the recipes."""
    names = list(dict.fromkeys(name for side in sides for name in side.test))
    digits = {name: decimals(finite(side.test.get(name)) for side in sides) for name in names}
    rows = [
        [s.run, s.kind, *(shown(finite(s.test.get(n)), digits[n]) for n in names), shown(s.seconds, 0)] for s in sides
    ]
    shared = [n for n in names if n != "loss" and all(finite(s.test.get(n)) is not None for s in sides)]
    data = dict.fromkeys(side.data for side in sides)
    blocks: list[Block] = [
        Table(("run", "command", *map(label, names), "seconds"), rows, "Scores on the test rows", sortable=True)
    ]
    if shared:
        marks = [Mark(side.run, float(side.test[shared[0]])) for side in sides]
        svg = dot_chart(
            [Mark(m.name, m.value, kind="a") for m in marks],
            f"Test {label(shared[0])} by run",
            f"test {label(shared[0])}",
            zero=False,
        )
        blocks += [Chart(svg, f"Test {label(shared[0])}")]
    same = len(data) == 1
    asked = (
        f"{len(sides)} runs on {next(iter(data))}."
        if same
        else f"{len(sides)} runs on different data: {', '.join(data)}."
    )
    sure = (
        "Each score is of one split and one training or search: differences of a standard error or two mean little."
        if same
        else "Scores on different data are not comparable."
    )
    recipes = Table(("run", "recipe"), [[side.run, side.recipe] for side in sides])
    return Page("Runs side by side", [asked, sure], [Section("Scores", blocks), Section("Recipes", [recipes])])
