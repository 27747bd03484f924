"""The page of a search."""

from __future__ import annotations

from collections.abc import Sequence

from dashpot.core.language import say, told
from dashpot.report.page.answers import answers_section
from dashpot.report.page.blocks import Block, Chart, Page, Section, Table, Words
from dashpot.report.page.common import environment_section, label, robustness_section, weights_section
from dashpot.report.page.lines import Series, line_chart
from dashpot.report.page.onward import longer
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
from dashpot.report.told import TOLD
from dashpot.report.tune.axes import score_limits
from dashpot.report.tune.record import Report, TuneRecord, as_record
from dashpot.report.tune.stats import (
    RankedTrial,
    by_role,
    decimals,
    digits_of,
    named,
    ranked,
    recipe_text,
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
        Section(say("Scores"), _scores(record, candidates)),
        Section(say("Recipe"), recipe_copies(source)),
        Section(say("The race"), _race(record, candidates)),
        Section(say("Candidates"), _table(record, candidates)),
        Section(say("What each technique contributed"), contributions_blocks(record)),
        Section(say("Score against each setting"), settings_blocks(record, candidates)),
        Section(say("Train-test gap"), gap_blocks(record, candidates)),
        answers_section(record.answers, source.texts, source.pictures),
        robustness_section(record.robustness),
        weights_section(source.layers),
        Section(say("What to do next"), [next_commands(source, "tune", more=longer(record))]),
        environment_section(_data(record), record.versions, record.machine),
    ]
    tips = {str(c.number): _tip(c, candidates, record) for c in candidates[: max(LINES, MARKS)]}
    return Page(
        say("{data}: a search for the best recipe", data=record.dataset), _summary(record, candidates), sections, tips
    )


def _summary(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[str]:
    """What was asked, what was chosen, how sure that is: a sentence each."""
    asked = say(
        "Asked: the recipe of least {score} for {data}{rows}{within}, over {folds} folds;"
        " {n:,} candidates were trained.",
        score=label(record.proper),
        data=record.dataset,
        rows=say(" on {n:,} training rows", n=record.train_rows) if record.train_rows else "",
        within=say(" within {time}", time=duration(record.budget_s)) if record.budget_s is not None else "",
        folds=record.folds or 1,
        n=len(candidates),
    )
    chosen = by_role(candidates, "chosen")
    if chosen is None:
        return [asked, say("Nothing was chosen: no candidate was trained to the end.")]
    score, name = finite(record.test.chosen.get(record.metric)), label(record.metric)
    what = say(
        "Chosen: #{number}, {recipe}{test}; {why}.",
        number=chosen.number,
        recipe=recipe_text(chosen.recipe),
        test=say(", {score} {value:.4f} on test rows", score=name, value=score) if score is not None else "",
        why=told(record.why, TOLD) if record.why else say("by its score"),
    )
    sure = say("; ").join(line.strip() for line in certainty(record, candidates))
    return [
        asked,
        what,
        say("How sure: {sure}.", sure=sure) if sure else say("How sure: one fold says nothing of that."),
    ]


def _data(record: TuneRecord) -> dict[str, object]:
    names = ("dataset", "task", "rows", "train_rows", "test_rows", "features", "classes", "folds", "seed")
    return {name.replace("_", " "): getattr(record, name) for name in names if getattr(record, name) is not None}


def _tip(candidate: RankedTrial, candidates: Sequence[RankedTrial], record: TuneRecord) -> list[str]:
    digits = digits_of(candidates)
    score = (
        f"{label(record.proper)} {shown(candidate.score, digits)}"
        if candidate.score is not None
        else say(candidate.state)
    )
    spread = f" ± {shown(candidate.se, digits)}" if candidate.se is not None else ""
    settings = say(", ").join(
        f"{name} {f'{value:.3g}' if isinstance(value, float) else setting(value)}"
        for name, value in candidate.params.items()
        if not isinstance(value, bool) and value is not None and ("." not in name or name.startswith("net."))
    )
    return [
        named(candidate),
        recipe_text(candidate.recipe),
        settings,
        say("{score}, {n} epochs, {state}", score=score + spread, n=candidate.epochs, state=say(candidate.state)),
    ]


def _scores(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[Block]:
    test = record.test
    final = say(", {what}", what=told(record.final, TOLD)) if record.final else ""
    rows = {say("chosen") + final: test.chosen, say("baseline"): test.baseline}
    rows = {name: scores for name, scores in rows.items() if scores}
    rows |= {say(name): scores for name, scores in test.references.items()}
    names = [n for n in dict.fromkeys(n for scores in rows.values() for n in scores) if n]
    digits = {name: decimals(finite(scores.get(name)) for scores in rows.values()) for name in names}
    cells = [[row, *(shown(finite(scores.get(name)), digits[name]) for name in names)] for row, scores in rows.items()]
    note, caption = say("Test rows took no part in the search."), say("Scores on the test rows")
    table = [Table(("", *map(label, names)), cells, caption, note, frozenset({0}))] if cells else []
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
            named(c) if c.roles else "",
            str(c.number),
            ring=min(c.history, key=lambda p: p[1]) if c.roles else None,
        )
        for c in sorted(drawn, key=lambda c: [k for k, _ in KEYS][::-1].index(kind_of(c)))
    ]
    name = label(record.proper)
    note = say(
        "Less is better; rings are the lowest points. Point at a line, or walk through them with the arrow keys."
    )
    if max(s for c in lines for _, s in c.history) > limits[1]:
        note += say(" The highest scores are cut off.")
    if len(drawn) < len(lines):
        note += say(" {n:,} of the worst candidates are left out.", n=len(lines) - len(drawn))
    title, axis = say("The race of {n} candidates", n=len(drawn)), say("{score} on held-out rows", score=name)
    svg = line_chart(series, title, say("epoch"), axis, limits=limits, log_x=None)
    return [Chart(svg, say("{score} on held-out rows, a line for each candidate", score=name), note, keys_of(drawn))]


def _table(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[Block]:
    digits, metric = digits_of(candidates), decimals(c.metric_score for c in candidates)
    proper = label(record.proper)
    rows = []
    for c in candidates:
        gap = c.score - c.train_score if c.score is not None and c.train_score is not None else None
        rows += [
            [
                named(c),
                recipe_text(c.recipe),
                shown(c.score, digits),
                shown(c.se, digits),
                shown(c.metric_score, metric),
                shown(gap, digits, "+"),
                f"{c.epochs:,}",
                say(c.state),
                shown(c.seconds, 1),
            ]
        ]
    head = (
        say("candidate"),
        say("recipe"),
        say("{score} over folds", score=proper),
        say("standard error"),
        label(record.metric),
        say("gap"),
        say("epochs"),
        say("state"),
        say("seconds"),
    )
    note = say("Finalists come first: scores over fewer folds or epochs are not comparable.")
    note += say(" Gap: {score} on held-out minus training rows.", score=proper)
    caption = say("All {n:,} candidates, best first", n=len(rows))
    marked = frozenset(i for i, c in enumerate(candidates) if "chosen" in c.roles)
    return [Table(head, rows, caption, note, marked, 12, sortable=True)] if rows else []
