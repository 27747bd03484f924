"""The drawings of a search that are no race: contributions, settings, the train-test gap."""

from __future__ import annotations

from collections.abc import Sequence

from dashpot.report.page.blocks import Block, Chart, Charts, Table
from dashpot.report.page.dots import Mark, bar_chart, dot_chart
from dashpot.report.page.points import Point, point_chart
from dashpot.report.tune.axes import score_limits
from dashpot.report.tune.record import TuneRecord
from dashpot.report.tune.stats import (
    RankedTrial,
    contributions,
    decimals,
    importances,
    interactions,
    judge,
    percent,
    pretty,
    setting,
    shown_interval,
    sureness,
    unexplained,
)
from dashpot.report.tune.trial_record import finite

PANELS, MARKS = 12, 600
"""Settings that are drawn, and marks of each: the best ones; the table has all."""
KEYS = (
    ("chosen", "chosen"),
    ("baseline", "baseline"),
    ("best", "best"),
    ("default", "default"),
    ("finished", "finished"),
    ("pruned", "pruned or failed"),
)


def kind_of(candidate: RankedTrial) -> str:
    roles = [role for role, _ in KEYS if role in candidate.roles]
    return roles[0] if roles else "finished" if candidate.state == "complete" else "pruned"


def keys_of(candidates: Sequence[RankedTrial]) -> list[tuple[str, str]]:
    kinds = {kind_of(c) for c in candidates}
    return [(kind, words) for kind, words in KEYS if kind in kinds]


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
    proper = pretty(record.proper)
    keys = [
        ("a", "left out of the chosen recipe"),
        ("b", "alone, added to the baseline"),
        ("c", "pair, beyond the sum"),
    ]
    svg = dot_chart(marks, "What each technique contributed", f"{proper} saved: right of zero it helps")
    chart = Chart(
        svg,
        f"{proper} saved by each technique",
        f"Lines: 95 % intervals; {sureness(record)}.",
        [(k, w) for k, w in keys if any(m.kind == k for m in marks)],
    )
    digits = decimals(gain.mean for row in rows for gain in (row.left_out, row.alone) if gain)
    cells = [
        [row.technique, shown_interval(row.left_out, digits), shown_interval(row.alone, digits), row.verdict]
        for row in rows
    ]
    words = {"helps": "more than their sum", "hurts": "less than their sum", "unclear": "no clear effect"}
    cells += [[name, shown_interval(gain, digits), "", words.get(judge(gain), "no interval")] for name, gain in pairs]
    return [chart, Table(("technique", "gain in the chosen recipe", "gain alone", "in words"), cells)]


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
        share = f"{percent(shares[name])} of the variance" if name in shares else ""
        log = True if "(log)" in record.space.get(name, "") else None
        charts += [
            Chart(
                point_chart(points, f"Score against {name}", name, pretty(record.proper), limits=limits, log_x=log),
                name,
                share,
            )
        ]
    if not charts:
        return []
    more = f" {len(names) - PANELS} settings of less importance are left out." if len(names) > PANELS else ""
    blocks: list[Block] = [
        Charts(
            charts, f"Up: {pretty(record.proper)}, less is better. Candidates without the technique are left out.{more}"
        )
    ]
    if shares:
        bars = [(name, share, percent(share)) for name, share in list(shares.items())[:15]]
        blocks += [
            Chart(
                bar_chart(bars, "Importance of each setting", "share of the variance of the score"),
                "What the score depended on over the search",
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
    name = pretty(record.proper)
    svg = point_chart(
        points,
        "Training against held-out score",
        f"{name} on training rows",
        f"{name} on held-out rows",
        limits=limits,
        equal=True,
        width=760,
        height=420,
    )
    note = (
        "Less is better. The line: equal scores; the higher a mark stands above it, the more it has learned by heart."
    )
    return [Chart(svg, f"{name} on training and on held-out rows", note, keys_of([c for c, *_ in pairs]))]
