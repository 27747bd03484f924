"""The tables of a search, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dashpot.core.language import mark, say, told
from dashpot.report.told import TOLD
from dashpot.report.tune.cells import Clipped, Gain, new_table, number_column, plain
from dashpot.report.tune.record import Report, TuneRecord, as_record
from dashpot.report.tune.stats import (
    PAIRS,
    RankedTrial,
    by_role,
    contributions,
    decimals,
    digits_of,
    importances,
    interactions,
    judge,
    named,
    percent,
    pretty,
    ranked,
    shown,
    shown_interval,
    sureness,
    unexplained,
)
from dashpot.report.tune.trial_record import finite
from dashpot.report.tune.words import closing, opening

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LOWER = ("loss", "log_loss", "rmse", "mae")
"""Scores of which less is better."""


def summary_table(record: Report) -> Table:
    """What was chosen beside the baseline and the references: scores on the test rows, and the score over the folds
    that the choice was made by.

    Args:
        record: of a search; the module's tests build one.

    Raises:
        DataError: the record lacks a key that no report can do without.
    """
    record = as_record(record)
    candidates = ranked(record)
    test = record.test
    names = _test_scores(record)
    rows: list[tuple[str, Mapping[str, Any]]] = [
        *((name, scores) for name, scores in (("chosen", test.chosen), ("baseline", test.baseline)) if scores),
        *test.references.items(),
    ]
    rows = rows or [(name, {}) for name in ("chosen", "baseline") if by_role(candidates, name)]
    table = new_table(
        say("{of}; scores on the test rows", of=_title(record)),
        say("±: one standard error over the folds of the training rows"),
    )
    final = say(", {what}", what=told(record.final, TOLD)) if record.final else ""
    labels = [say(name) + (final if i == 0 and name == "chosen" else "") for i, (name, _) in enumerate(rows)]
    table.add_column("", min_width=min(28, max(map(len, labels), default=0)), overflow="fold")
    for name in names:
        number_column(table, say(pretty(name)))
    number_column(table, say("{score} over folds", score=say(pretty(record.proper))))
    own = names[0] if names else ""
    values = [value for _, scores in rows if (value := finite(scores.get(own))) is not None]
    better = min if own in LOWER or (own == record.metric and record.better == "lower") else max
    top = better(values, default=None)
    digits = {name: decimals(finite(scores.get(name)) for _, scores in rows) for name in names}
    references = len(test.references)
    for i, (name, scores) in enumerate(rows):
        reference = i >= len(rows) - references
        candidate = None if reference else by_role(candidates, name)
        cells = [shown(finite(scores.get(key)), digits[key]) for key in names]
        style = "bold" if top is not None and finite(scores.get(own)) == top else "dim" if reference else ""
        table.add_row(
            plain(labels[i]),
            *map(plain, cells),
            plain(_score(candidate, digits_of(candidates))),
            style=style,
            end_section=_last(i, rows, references),
        )
    return table


def _epochs(candidate: RankedTrial) -> str:
    """``120``, ``48 of 120`` where an earlier evaluation was the best one and is kept, or ``13 pruned``."""
    if candidate.state != "complete":
        return f"{candidate.epochs:,} {say(candidate.state)}"
    return (
        say("{n:,} of {many:,}", n=candidate.best_epoch, many=candidate.epochs)
        if 0 < candidate.best_epoch < candidate.epochs
        else f"{candidate.epochs:,}"
    )


def candidates_table(record: Report, top: int = 10) -> Table:
    """The best candidates in their order; the baseline, the default recipe and the chosen one are below where they are
    not among them.

    Args:
        record: of a search.
        top: how many.

    Raises:
        DataError: the record lacks a key that no report can do without.
    """
    record = as_record(record)
    candidates = ranked(record)
    digits, proper = digits_of(candidates), say(pretty(record.proper))
    counts = [
        say("{n} {state}", n=sum(c.state == state for c in candidates), state=say(word))
        for state, word in _STATES
        if any(c.state == state for c in candidates)
    ]
    table = new_table(
        say("Candidates: {counts}", counts=say(", ").join(counts) or say("none")),
        say("{score} over folds: less is better; gap: {score} on held-out minus training rows", score=proper),
    )
    table.add_column("", no_wrap=True, justify="right")
    table.add_column(plain(say("candidate")), max_width=16)
    table.add_column(plain(say("techniques")))
    over, metric_name = say("{score} over folds", score=proper), say(pretty(record.metric))
    for name in (over, metric_name, say("gap"), say("epochs"), say("sec")):
        number_column(table, name)
    metric = decimals(candidate.metric_score for candidate in candidates)
    listed = [(i, c) for i, c in enumerate(candidates, 1) if i <= top or c.roles]
    for k, (i, c) in enumerate(listed):
        gap = c.score - c.train_score if c.score is not None and c.train_score is not None else None
        table.add_row(
            plain(str(i) if c.score is not None else ""),
            plain(named(c)),
            Clipped(say(c.techniques)),
            plain(_score(c, digits) or say(c.state)),
            plain(shown(c.metric_score, metric)),
            plain(shown(gap, digits, "+")),
            plain(_epochs(c)),
            plain(shown(c.seconds, 0 if (c.seconds or 0) >= 100 else 1)),
            style="bold" if "chosen" in c.roles else "" if c.state == "complete" else "dim",
            end_section=i == top and k + 1 < len(listed),
        )
    return table


def contributions_table(record: Report) -> Table:
    """What each technique gained in the proper score, left out of the chosen recipe and alone on the baseline, and what
    that means; pairs below.

    Args:
        record: of a search.
    """
    record = as_record(record)
    rows, pairs = contributions(record), interactions(record)
    digits = decimals(interval.mean for row in rows for interval in (row.left_out, row.alone) if interval)
    note = say(
        "gain: so much less {score} thanks to the technique, with its 95 % interval; {sure}",
        score=say(pretty(record.proper)),
        sure=sureness(record),
    )
    table = new_table(say("Contributions" if rows else "Contributions: none were measured"), note if rows else "")
    table.add_column("", min_width=10, overflow="fold")
    for name in (say("gain in the chosen recipe"), say("gain alone")):
        table.add_column(plain(name), justify="right")
    table.add_column(plain(say("in words")))
    styles = {"helps": "green", "hurts": "red"}
    for i, row in enumerate(rows):
        style = styles.get(judge(row.left_out if row.left_out is not None else row.alone), "")
        gains = [Gain(shown_interval(gain, digits)) for gain in (row.left_out, row.alone)]
        table.add_row(
            plain(row.technique), *gains, plain(say(row.verdict), style), end_section=i + 1 == len(rows) and bool(pairs)
        )
    for name, interval in pairs:
        table.add_row(
            plain(name), Gain(shown_interval(interval, digits)), plain(""), plain(say(PAIRS.get(judge(interval), "")))
        )
    return table


def print_report(record: Report, console: Console) -> None:
    """All of it: what was chosen and how sure that is, the candidates, the contributions, which settings mattered, and
    what was decided beside the recipe.

    Args:
        record: of a search.
        console: where to. The tables need 100 columns; narrower ones break lines, and cut what cannot be broken.

    Raises:
        DataError: the record lacks a key that no report can do without.
    """
    record = as_record(record)
    _lines(console, opening(record))
    console.print(summary_table(record))
    console.print()
    console.print(candidates_table(record))
    console.print()
    if record.contributions:
        console.print(contributions_table(record))
        console.print()
    shares = [f"{name} {percent(share)}" for name, share in importances(record)[:6]]
    _lines(
        console,
        [
            say(
                "What the score depended on over the search: {shares}.{rest}",
                shares=say(", ").join(shares),
                rest=unexplained(record),
            )
        ]
        if shares
        else [],
    )
    _lines(console, closing(record))


_STATES = (("complete", mark("complete")), ("pruned", mark("pruned")), ("failed", mark("failed")))


def _lines(console: Console, lines: Iterable[str]) -> None:
    # Names from data may hold square brackets, which are no markup.
    for line in lines:
        console.print(line, markup=False, highlight=False, emoji=False)


def _test_scores(record: TuneRecord) -> list[str]:
    """Which scores on the test rows are shown: the user's own, then the usual ones, each if any row has it."""
    test = record.test
    rows = [test.chosen, test.baseline, *test.references.values()]
    usual = ("accuracy", "log_loss") if record.task == "classification" else ("rmse", "r2")
    wanted = dict.fromkeys([record.metric, *usual])
    return [name for name in wanted if any(finite(row.get(name)) is not None for row in rows)]


def _title(record: TuneRecord) -> str:
    sizes = [
        (record.train_rows, mark("{n:,} training rows")),
        (record.test_rows, mark("{n:,} test rows")),
        (record.features, mark("{n:,} features")),
    ]
    counts = say(", ").join(say(words, n=size) for size, words in sizes if finite(size) is not None)
    return say("{group}: {name}", group=record.dataset, name=counts)


def _score(candidate: RankedTrial | None, digits: int) -> str:
    """``0.2426 ± 0.0051``, with the folds where it was one."""
    if candidate is None or candidate.score is None:
        return ""
    spread = (
        f" ± {shown(candidate.se, digits)}"
        if candidate.se is not None
        else say(", 1 fold")
        if candidate.folds == 1
        else ""
    )
    return shown(candidate.score, digits) + spread


def _last(i: int, rows: list[Any], references: int) -> bool:
    return bool(references) and i == len(rows) - references - 1
