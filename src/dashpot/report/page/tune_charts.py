"""The drawings of a search that are no race: contributions, settings, the train-test gap."""

from __future__ import annotations

from collections.abc import Sequence

from dashpot.core.language import mark, say
from dashpot.report.page.blocks import Block, Chart, Charts, Table
from dashpot.report.page.common import label
from dashpot.report.page.dots import Mark, bar_chart, dot_chart
from dashpot.report.page.points import EQUAL, Point, point_chart
from dashpot.report.tune.axes import score_limits
from dashpot.report.tune.record import TuneRecord
from dashpot.report.tune.stats import (
    NONE,
    PAIRS,
    RankedTrial,
    contributions,
    decimals,
    importances,
    interactions,
    judge,
    percent,
    setting,
    shown_interval,
    sureness,
    unexplained,
)
from dashpot.report.tune.trial_record import finite

PANELS, MARKS = 12, 600
"""Settings that are drawn, and marks of each: the best ones; the table has all."""
KEYS = (
    ("chosen", mark("chosen")),
    ("baseline", mark("baseline")),
    ("best", mark("best")),
    ("default", mark("default")),
    ("finished", mark("finished")),
    ("pruned", mark("pruned or failed")),
)


def kind_of(candidate: RankedTrial) -> str:
    roles = [role for role, _ in KEYS if role in candidate.roles]
    return roles[0] if roles else "finished" if candidate.state == "complete" else "pruned"


def keys_of(candidates: Sequence[RankedTrial]) -> list[tuple[str, str]]:
    kinds = {kind_of(c) for c in candidates}
    return [(kind, say(words)) for kind, words in KEYS if kind in kinds]


def contributions_blocks(record: TuneRecord) -> list[Block]:
    rows, pairs = contributions(record), interactions(record)
    marks = [
        Mark(row.technique, gain.mean, gain.low, gain.high, kind)
        for row in rows
        for gain, kind in ((row.left_out, "a"), (row.alone, "b"))
        if gain is not None
    ]
    marks += [Mark(name, gain.mean, gain.low, gain.high, "c") for name, gain in pairs]
    if not marks:
        return []
    proper = label(record.proper)
    keys = [
        ("a", say("left out of the chosen recipe")),
        ("b", say("alone, added to the baseline")),
        ("c", say("pair, beyond the sum")),
    ]
    axis = say("{score} saved: right of zero it helps", score=proper)
    svg = dot_chart(marks, say("What each technique contributed"), axis)
    chart = Chart(
        svg,
        say("{score} saved by each technique", score=proper),
        say("Lines: 95 % intervals; {sure}.", sure=sureness(record)),
        [(k, w) for k, w in keys if any(m.kind == k for m in marks)],
    )
    digits = decimals(gain.mean for row in rows for gain in (row.left_out, row.alone) if gain)
    cells = [
        [row.technique, shown_interval(row.left_out, digits), shown_interval(row.alone, digits), say(row.verdict)]
        for row in rows
    ]
    cells += [[name, shown_interval(gain, digits), "", say(PAIRS.get(judge(gain), NONE))] for name, gain in pairs]
    head = (say("technique"), say("gain in the chosen recipe"), say("gain alone"), say("in words"))
    return [chart, Table(head, cells)]


def settings_blocks(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[Block]:
    scored = [(c, c.score) for c in candidates if c.score is not None]
    if not scored:
        return []
    shares = dict(importances(record))
    kept = [pair for i, pair in enumerate(scored) if i < MARKS or pair[0].roles]
    limits = score_limits([s for _, s in scored], [s for c, s in scored if c.roles or c.finalist])
    values = {
        name: {str(c.params[name]) for c, _ in kept if c.params.get(name) is not None}
        for name in dict.fromkeys(name for c, _ in kept for name in c.params)
    }
    names = sorted((n for n, found in values.items() if len(found) > 1), key=lambda n: (-shares.get(n, 0.0), n))
    charts = []
    for name in names[:PANELS]:
        own = [(c, s) for c, s in kept if c.params.get(name) is not None]
        points = [Point(_place(c.params[name]), s, kind_of(c), str(c.number)) for c, s in reversed(own)]
        share = say("{share} of the variance", share=percent(shares[name])) if name in shares else ""
        log = True if "(log)" in record.space.get(name, "") else None
        charts += [
            Chart(
                point_chart(
                    points,
                    say("Score against {name}", name=name),
                    name,
                    label(record.proper),
                    limits=limits,
                    log_x=log,
                ),
                name,
                share,
            )
        ]
    if not charts:
        return []
    note = say(
        "Up: {score}, less is better. Candidates without the technique are left out.", score=label(record.proper)
    )
    if len(names) > PANELS:
        note += say(" {n} settings of less importance are left out.", n=len(names) - PANELS)
    blocks: list[Block] = [Charts(charts, note)]
    if shares:
        bars = [(name, share, percent(share)) for name, share in list(shares.items())[:15]]
        blocks += [
            Chart(
                bar_chart(bars, say("Importance of each setting"), say("share of the variance of the score")),
                say("What the score depended on over the search"),
                unexplained(record).strip(),
            )
        ]
    return blocks


def _place(value: object) -> float | str:
    number = finite(value)
    return number if number is not None else setting(value)


def gap_blocks(record: TuneRecord, candidates: Sequence[RankedTrial]) -> list[Block]:
    pairs = [(c, c.train_score, c.score) for c in candidates if c.train_score is not None and c.score is not None][
        :MARKS
    ]
    if not pairs:
        return []
    limits = score_limits([s for *_, s in pairs], [s for c, _, s in pairs if c.roles or c.finalist])
    points = [Point(train, score, kind_of(c), str(c.number)) for c, train, score in reversed(pairs)]
    name = label(record.proper)
    svg = point_chart(
        points,
        say("Training against held-out score"),
        say("{score} on training rows", score=name),
        say("{score} on held-out rows", score=name),
        limits=limits,
        equal=True,
        width=760,
        height=420,
    )
    note = say(
        "Less is better. The line: equal scores; the higher a mark stands above it, the more it has learned by heart."
        if f'class="{EQUAL}"' in svg
        else "Less is better. Equal scores are out of sight; the larger the held-out score beside that of training, the"
        " more was learned by heart."
    )
    title = say("{score} on training and on held-out rows", score=name)
    return [Chart(svg, title, note, keys_of([c for c, *_ in pairs]))]
