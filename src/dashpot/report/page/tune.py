"""The page of a search."""

from __future__ import annotations

from collections.abc import Sequence

from dashpot.report.page.answers import answers_section
from dashpot.report.page.blocks import Block, Chart, Page, Section, Table, Words
from dashpot.report.page.common import environment_section, robustness_section, weights_section
from dashpot.report.page.lines import Series, line_chart
from dashpot.report.page.source import Source, next_commands, recipe_copies
from dashpot.report.page.tune_charts import (
    KEYS,
    MARKS,
    contributions_blocks,
    gap_blocks,
    keys_of,
    kind_of,
    settings_blocks,
)
from dashpot.report.tune.axes import score_limits
from dashpot.report.tune.record import Report, TuneRecord, as_record
from dashpot.report.tune.stats import (
    RankedTrial,
    by_role,
    decimals,
    digits_of,
    pretty,
    ranked,
    setting,
    shown,
)
from dashpot.report.tune.trial_record import finite
from dashpot.report.tune.words import certainty, changes, closing, duration

LINES = 400
"""Lines of the race: the best ones; the table has all."""


def tune_page(record: Report, source: Source | None = None) -> Page:
    """What a search found.

    Args:
        record: of the search.
        source: what is known beside it.

    Raises:
        DataError: the record lacks a key that no report can do without.
    """
    record, source = as_record(record), source or Source()
    candidates = ranked(record)
    sections = [
        Section("Scores", _scores(record, candidates)),
        Section("Recipe", recipe_copies(source)),
        Section("The race", _race(record, candidates)),
        Section("Candidates", _table(record, candidates)),
        Section("What each technique contributed", contributions_blocks(record)),
        Section("Score against each setting", settings_blocks(record, candidates)),
        Section("Train-test gap", gap_blocks(record, candidates)),
        answers_section(record.answers, source.texts, source.pictures),
        robustness_section(record.robustness),
        weights_section(source.layers),
        Section("What to do next", [next_commands(source, "tune")]),
        environment_section(_data(record), record.versions, record.machine),
    ]
    tips = {str(c.number): _tip(c, candidates, record) for c in candidates[: max(LINES, MARKS)]}
    return Page(f"{record.dataset}: a search for the best recipe", _summary(record, candidates), sections, tips)


def _summary(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[str]:
    """What was asked, what was chosen, how sure that is: a sentence each."""
    within = f" within {duration(record.budget_s)}" if record.budget_s is not None else ""
    rows = f" on {record.train_rows:,} training rows" if record.train_rows else ""
    asked = (
        f"Asked: the recipe of least {pretty(record.proper)} for {record.dataset}{rows}{within}, over"
        f" {record.folds or 1} folds; {len(candidates):,} candidates were trained."
    )
    chosen = by_role(candidates, "chosen")
    if chosen is None:
        return [asked, "Nothing was chosen: no candidate was trained to the end."]
    score = finite(record.test.chosen.get(record.metric))
    on_test = f", {pretty(record.metric)} {score:.4f} on test rows" if score is not None else ""
    what = f"Chosen: #{chosen.number}, {chosen.recipe or 'no technique'}{on_test}; {record.why or 'by its score'}."
    sure = "; ".join(line.strip() for line in certainty(record, candidates))
    return [asked, what, f"How sure: {sure}." if sure else "How sure: one fold says nothing of that."]


def _data(record: TuneRecord) -> dict[str, object]:
    names = ("dataset", "task", "rows", "train_rows", "test_rows", "features", "classes", "folds", "seed")
    return {name.replace("_", " "): getattr(record, name) for name in names if getattr(record, name) is not None}


def _tip(candidate: RankedTrial, candidates: Sequence[RankedTrial], record: TuneRecord) -> list[str]:
    digits = digits_of(candidates)
    score = (
        f"{pretty(record.proper)} {shown(candidate.score, digits)}" if candidate.score is not None else candidate.state
    )
    spread = f" ± {shown(candidate.se, digits)}" if candidate.se is not None else ""
    settings = ", ".join(
        f"{name} {f'{value:.3g}' if isinstance(value, float) else setting(value)}"
        for name, value in candidate.params.items()
        if not isinstance(value, bool) and value is not None and ("." not in name or name.startswith("net."))
    )
    return [
        candidate.label,
        candidate.recipe or "no technique",
        settings,
        f"{score}{spread}, {candidate.epochs} epochs, {candidate.state}",
    ]


def _scores(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[Block]:
    test = record.test
    rows = {"chosen" + (f", {record.final}" if record.final else ""): test.chosen, "baseline": test.baseline}
    rows = {name: scores for name, scores in rows.items() if scores} | dict(test.references)
    names = [n for n in dict.fromkeys(n for scores in rows.values() for n in scores) if n]
    digits = {name: decimals(finite(scores.get(name)) for scores in rows.values()) for name in names}
    cells = [[row, *(shown(finite(scores.get(name)), digits[name]) for name in names)] for row, scores in rows.items()]
    note = "Test rows took no part in the search."
    table = [Table(("", *map(pretty, names)), cells, "Scores on the test rows", note, frozenset({0}))] if cells else []
    return [*table, Words([*changes(record.strengths), *closing(record)])]


def _race(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[Block]:
    lines = [c for c in candidates if c.history]
    if not lines:
        return []
    drawn = [c for i, c in enumerate(lines) if i < LINES or c.roles]
    needed = [s for c in lines if c.roles or c.finalist for s in (c.history[-1][1], min(s for _, s in c.history))]
    limits = score_limits([s for c in lines for _, s in c.history], needed)
    series = [
        Series(
            c.history,
            kind_of(c),
            c.label if c.roles else "",
            str(c.number),
            ring=min(c.history, key=lambda p: p[1]) if c.roles else None,
        )
        for c in sorted(drawn, key=lambda c: [k for k, _ in KEYS][::-1].index(kind_of(c)))
    ]
    name = pretty(record.proper)
    note = "Less is better; rings are the lowest points. Point at a line, or walk through them with the arrow keys."
    if max(s for c in lines for _, s in c.history) > limits[1]:
        note += " The highest scores are cut off."
    if len(drawn) < len(lines):
        note += f" {len(lines) - len(drawn):,} of the worst candidates are left out."
    svg = line_chart(
        series, f"The race of {len(drawn)} candidates", "epoch", f"{name} on held-out rows", limits=limits, log_x=None
    )
    return [Chart(svg, f"{name} on held-out rows, a line for each candidate", note, keys_of(drawn))]


def _table(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[Block]:
    digits, metric = digits_of(candidates), decimals(c.metric_score for c in candidates)
    proper = pretty(record.proper)
    rows = []
    for c in candidates:
        gap = c.score - c.train_score if c.score is not None and c.train_score is not None else None
        rows += [
            [
                c.label,
                c.recipe or "no technique",
                shown(c.score, digits),
                shown(c.se, digits),
                shown(c.metric_score, metric),
                shown(gap, digits, "+"),
                f"{c.epochs:,}",
                c.state,
                shown(c.seconds, 1),
            ]
        ]
    head = (
        "candidate",
        "recipe",
        f"{proper} over folds",
        "standard error",
        pretty(record.metric),
        "gap",
        "epochs",
        "state",
        "seconds",
    )
    note = "Finalists come first: scores over fewer folds or epochs are not comparable."
    note += f" Gap: {proper} on held-out minus training rows."
    marked = frozenset(i for i, c in enumerate(candidates) if "chosen" in c.roles)
    return (
        [Table(head, rows, f"All {len(rows):,} candidates, best first", note, marked, 12, sortable=True)]
        if rows
        else []
    )
