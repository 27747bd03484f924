"""The page of a comparison."""

from __future__ import annotations

from dashpot.core.digits import digits
from dashpot.report.compare.record import CompareRecord
from dashpot.report.compare.stats import Given, Row, summarize
from dashpot.report.compare.table import cells, notes, title
from dashpot.report.page.blocks import Block, Chart, Page, Section, Table, Words
from dashpot.report.page.common import environment_section, label
from dashpot.report.page.dots import Mark, dot_chart
from dashpot.report.page.source import Source, next_commands
from dashpot.report.tune.stats import judge


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
    arms = [[arm.name, arm.recipe or "no technique"] for arm in record.arms if arm.kind == "network"]
    size = {"train rows": record.train_rows, "test rows": record.test_rows, "splits": record.repeats}
    data = {"dataset": record.dataset, "task": record.task, **size, "seed": record.seed, "epochs": record.epochs}
    sections = [
        Section("Scores", _scores(record, rows)),
        Section("Difference from the baseline", _differences(record, rows)),
        Section("Recipes", [Table(("arm", "recipe"), arms)] if arms else ()),
        Section("What to do next", [next_commands(source or Source(), "compare")]),
        environment_section(data, record.versions, record.machine),
    ]
    return Page(f"{record.dataset}: techniques compared", _summary(record, rows), sections)


def _summary(record: CompareRecord, rows: list[Row]) -> list[str]:
    asked = f"Asked: what each technique does to {label(record.metric)}; {title(record)}."
    scored = [row for row in rows if row.kind == "network" and row.score is not None]
    if not scored:
        return [asked, "Found: no network could be scored."]
    best = max(scored, key=lambda row: row.score or 0.0)
    clear = {word: [r.name for r in scored if judge(r.difference) == word] for word in ("helps", "hurts")}
    found = f"Found: the best network is {best.name}, test {label(record.metric)} {digits(best.score or 0.0)}"
    parts = [
        f"clearly {'better' if word == 'helps' else 'worse'} than the baseline: {', '.join(names)}"
        for word, names in clear.items()
        if names
    ]
    found += "; " + ("; ".join(parts) if parts else "none is clearly better or worse than the baseline") + "."
    several = record.repeats > 1
    sure = (
        f"How sure: intervals of 95 % over {record.repeats} splits, corrected for training rows that they share."
        if several
        else "How sure: one split says nothing of that; repeat with --repeats 5."
    )
    return [asked, found, sure]


def _scores(record: CompareRecord, rows: list[Row]) -> list[Block]:
    if not rows:
        return []
    best = max((r.score for r in rows if r.score is not None), default=None)
    marked = frozenset(i for i, r in enumerate(rows) if r.score is not None and r.score == best)
    head = ("arm", f"test {label(record.metric)}", "minus baseline", "gap", "zeros", "seconds")
    note = "±: standard error; gap: train minus test; zeros: of all weights."
    blocks: list[Block] = [Table(head, [cells(row) for row in rows], "Means over the splits", note, marked)]
    told = notes(record)
    return [*blocks, Words(told)] if told else blocks


def _differences(record: CompareRecord, rows: list[Row]) -> list[Block]:
    marks = [
        Mark(r.label, r.difference.mean, r.difference.low, r.difference.high, "a" if r.kind == "network" else "b")
        for r in rows
        if r.difference is not None
    ]
    if not marks:
        return []
    svg = dot_chart(marks, "Difference from the baseline", f"test {label(record.metric)}: right of zero is better")
    keys = [("a", "networks"), ("b", "reference models")]
    note = "Lines: 95 % intervals over the splits." if record.repeats > 1 else ""
    return [
        Chart(
            svg,
            f"Test {label(record.metric)} minus that of the baseline",
            note,
            [(k, w) for k, w in keys if any(m.kind == k for m in marks)],
        )
    ]
