"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashpot.core.language import say
from dashpot.report.page.blocks import Block, Chart, Page, Section, Table
from dashpot.report.page.common import label
from dashpot.report.page.dots import Mark, dot_chart
from dashpot.report.tune.stats import decimals, recipe_text, shown
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
    data = dict.fromkeys(side.data for side in sides)
    same = len(data) == 1

    def where(text: str) -> list[str]:
        """A cell that only runs on different data have."""
        return [] if same else [text]

    rows = [
        [
            s.run,
            s.kind,
            *where(s.data),
            *(shown(finite(s.test.get(n)), digits[n]) for n in names),
            shown(s.seconds, 0),
        ]
        for s in sides
    ]
    shared = [n for n in names if n != "loss" and all(finite(s.test.get(n)) is not None for s in sides)]
    blocks: list[Block] = [
        Table(
            (say("run"), say("command"), *where(say("data")), *map(label, names), say("seconds")),
            rows,
            say("Scores on the test rows"),
            sortable=True,
        )
    ]
    if shared:
        marks = [Mark(side.run, float(side.test[shared[0]])) for side in sides]
        svg = dot_chart(
            [Mark(m.name, m.value, kind="a") for m in marks],
            say("Test {score} by run", score=label(shared[0])),
            say("test {score}", score=label(shared[0])),
            zero=False,
        )
        blocks += [Chart(svg, say("Test {score}", score=label(shared[0])))]
    asked = (
        say("{n} runs on {data}.", n=len(sides), data=next(iter(data)))
        if same
        else say("{n} runs on different data: {data}.", n=len(sides), data=say(", ").join(data))
    )
    sure = (
        say(
            "Each score is of one split and one training or search: differences of a standard error or two mean little."
        )
        if same
        else say("Scores on different data are not comparable.")
    )
    recipes = Table((say("run"), say("recipe")), [[side.run, recipe_text(side.recipe)] for side in sides])
    sections = [Section(say("Scores"), blocks), Section(say("Recipes"), [recipes])]
    return Page(say("Runs side by side"), [asked, sure], sections)
