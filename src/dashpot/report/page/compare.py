"""The page of a comparison."""

from __future__ import annotations

from dashpot.core.digits import digits
from dashpot.core.language import say
from dashpot.report.compare.record import CompareRecord
from dashpot.report.compare.stats import Given, Row, summarize
from dashpot.report.compare.table import arm_text, cells, named, notes, title
from dashpot.report.page.blocks import Block, Chart, Page, Section, Table, Words
from dashpot.report.page.common import environment_section, label
from dashpot.report.page.dots import Mark, dot_chart
from dashpot.report.page.onward import after_compare, rows_of
from dashpot.report.page.source import Source, next_commands
from dashpot.report.tune.stats import judge, recipe_text


def compare_page(record: Given, source: Source | None = None) -> Page:
    """What each technique does alone and all of them together, on the same splits.

    Args:
        record: of a comparison, or the content of its compare.json.
        source: what is known beside it.

    Raises:
        DataError: no such record.
    """
    record = CompareRecord.of(record)
    rows = summarize(record)
    arms = [[arm_text(arm.name), recipe_text(arm.recipe or "")] for arm in record.arms if arm.kind == "network"]
    size = {"train rows": record.train_rows, "test rows": record.test_rows, "splits": record.repeats}
    data = {"dataset": record.dataset, "task": record.task, **size, "seed": record.seed, "epochs": record.epochs}
    onward = after_compare(record, rows_of(record, folders=False))
    sections = [
        Section(say("Scores"), _scores(record, rows)),
        Section(say("Difference from the baseline"), _differences(record, rows)),
        Section(say("Recipes"), [Table((say("arm"), say("recipe")), arms)] if arms else ()),
        Section(say("What to do next"), [next_commands(source or Source(), "compare", onward)]),
        environment_section(data, record.versions, record.machine),
    ]
    return Page(say("{data}: techniques compared", data=record.dataset), _summary(record, rows), sections)


def _summary(record: CompareRecord, rows: list[Row]) -> list[str]:
    asked = say("Asked: what each technique does to {score}; {of}.", score=label(record.metric), of=title(record))
    scored = [row for row in rows if row.kind == "network" and row.score is not None]
    if not scored:
        return [asked, say("Found: no network could be scored.")]
    best = max(scored, key=lambda row: row.score or 0.0)
    clear = {word: [arm_text(r.name) for r in scored if judge(r.difference) == word] for word in ("helps", "hurts")}
    parts = [
        say(
            "clearly better than the baseline: {names}"
            if word == "helps"
            else "clearly worse than the baseline: {names}",
            names=say(", ").join(names),
        )
        for word, names in clear.items()
        if names
    ]
    found = say(
        "Found: the best network is {name}, test {score} {value}; {clear}.",
        name=arm_text(best.name),
        score=label(record.metric),
        value=digits(best.score or 0.0),
        clear=say("; ").join(parts) or say("none is clearly better or worse than the baseline"),
    )
    several = record.repeats > 1
    sure = (
        say(
            "How sure: intervals of 95 % over {n} splits, corrected for training rows that they share.",
            n=record.repeats,
        )
        if several
        else say("How sure: one split says nothing of that; repeat with --repeats 5.")
    )
    return [asked, found, sure]


def _scores(record: CompareRecord, rows: list[Row]) -> list[Block]:
    if not rows:
        return []
    best = max((r.score for r in rows if r.score is not None), default=None)
    marked = frozenset(i for i, r in enumerate(rows) if r.score is not None and r.score == best)
    tested = say("test {score}", score=label(record.metric))
    head = (say("arm"), tested, say("minus baseline"), say("gap"), say("zeros"), say("seconds"))
    note = say("±: standard error; gap: train minus test; zeros: of all weights.")
    blocks: list[Block] = [Table(head, [cells(row) for row in rows], say("Means over the splits"), note, marked)]
    told = notes(record)
    return [*blocks, Words(told)] if told else blocks


def _differences(record: CompareRecord, rows: list[Row]) -> list[Block]:
    marks = [
        Mark(named(r), r.difference.mean, r.difference.low, r.difference.high, "a" if r.kind == "network" else "b")
        for r in rows
        if r.difference is not None
    ]
    if not marks:
        return []
    axis = say("test {score}: right of zero is better", score=label(record.metric))
    svg = dot_chart(marks, say("Difference from the baseline"), axis)
    keys = [("a", say("networks")), ("b", say("reference models"))]
    note = say("Lines: 95 % intervals over the splits.") if record.repeats > 1 else ""
    return [
        Chart(
            svg,
            say("Test {score} minus that of the baseline", score=label(record.metric)),
            note,
            [(k, w) for k, w in keys if any(m.kind == k for m in marks)],
        )
    ]
