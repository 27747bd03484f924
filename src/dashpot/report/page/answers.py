"""What a model said on rows whose truth is known: confusions, calibration, residuals, the most confident mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import mark, say
from dashpot.report.page.blocks import Block, Chart, Charts, Picture, Section, Table, Words
from dashpot.report.page.matrix import MOST, matrix_chart
from dashpot.report.page.points import Point, point_chart
from dashpot.report.texts.alone import alone_line
from dashpot.report.tune.axes import number_text

MISTAKES = (mark("row"), mark("text"), mark("truth"), mark("predicted"), mark("probability"))
LISTED = 60
"""Confusions of many classes that are listed."""


def answers_section(answers: Mapping[str, Any], texts: Mapping[str, Any], pictures: Sequence[Picture]) -> Section:
    """All that is known of the answers on test rows.

    Args:
        answers: of a record.
        texts: the content of a texts.json, whose mistakes have their texts.
        pictures: figures of mistaken images.
    """
    small = [*_calibration(answers), *_residuals(answers)]
    blocks: list[Block] = [*_confusion(answers), *([Charts(small)] if small else []), *pictures]
    blocks += [
        *_mistakes(texts.get("mistakes") or answers.get("mistakes") or (), _of_values(answers)),
        *_words(texts),
    ]
    return Section(say("Answers on the test rows"), blocks)


def _confusion(answers: Mapping[str, Any]) -> list[Block]:
    classes, counts = [str(name) for name in answers.get("classes") or ()], answers.get("confusion")
    if classes and counts and len(classes) <= MOST:
        title, note = say("Confusion matrix"), say("Shades: shares of the row.")
        return [Chart(matrix_chart(counts, classes, title), title, note)]
    found = [(str(a), str(b), float(n)) for a, b, n in answers.get("confusions") or ()]
    if classes and counts:
        cells = [(a, b, float(counts[i][j])) for i, a in enumerate(classes) for j, b in enumerate(classes) if i != j]
        found = sorted((cell for cell in cells if cell[2]), key=lambda cell: -cell[2])
    rows = [[a, b, number_text(n)] for a, b, n in found[:LISTED]]
    head = (say("true"), say("predicted"), say("rows"))
    return [Table(head, rows, say("The most frequent confusions"), first=20)] if rows else []


def _calibration(answers: Mapping[str, Any]) -> list[Chart]:
    bins = [(float(sure), float(right)) for sure, right, _ in answers.get("calibration") or ()]
    if len(bins) < 3:
        return []
    points = [Point(sure, right, "a") for sure, right in bins]
    title, sure, right = say("Calibration"), say("how sure it was"), say("share of right answers")
    svg = point_chart(points, title, sure, right, equal=True, same=True)
    note = say("Marks: tenths of the test rows. Below the line it was surer than it was right.")
    return [Chart(svg, title, note)]


def _residuals(answers: Mapping[str, Any]) -> list[Chart]:
    """Of one target, or of the first of several."""
    several = [(found, say(" of target {k}", k=k)) for k, found in enumerate(answers.get("targets") or ())]
    wanted = [(answers.get("pairs") or (), ""), *several]
    return [chart for found, of in wanted for chart in _residuals_of([(float(t), float(p)) for t, p in found], of)]


def _residuals_of(pairs: Sequence[tuple[float, float]], of: str) -> list[Chart]:
    if not pairs:
        return []
    against = [Point(truth, said, "a") for truth, said in pairs]
    left = [Point(said, truth - said, "a") for truth, said in pairs]
    against_title, left_title = say("Predicted against true values{of}", of=of), say("Residuals{of}", of=of)
    true, predicted, difference = say("true"), say("predicted"), say("true minus predicted")
    charts = [
        (point_chart(against, against_title, true, predicted, equal=True, same=True), say("Predictions{of}", of=of)),
        (point_chart(left, left_title, predicted, difference, level=True), left_title),
    ]
    some = say("{n:,} of the test rows.", n=len(pairs)) if len(pairs) >= 400 else ""
    return [Chart(svg, title, some) for svg, title in charts]


def _of_values(answers: Mapping[str, Any]) -> bool:
    return bool(answers.get("pairs") or answers.get("targets"))


def _mistakes(mistakes: Sequence[Mapping[str, Any]], values: bool) -> list[Block]:
    if not mistakes:
        return []
    names = [name for name in MISTAKES if any(name in mistake for mistake in mistakes)]
    rows = [[_cell(mistake.get(name)) for name in names] for mistake in mistakes]
    caption = say("The largest errors" if values else "The most confident mistakes")
    note = say("Rows are counted from 0.")
    return [Table([say(name) for name in names], rows, caption, note, first=12)]


def _words(texts: Mapping[str, Any]) -> list[Block]:
    words = texts.get("words") or {}
    pairs = words.items() if isinstance(words, Mapping) else words
    rows = [[str(name), ", ".join(str(w[0] if isinstance(w, list | tuple) else w) for w in own)] for name, own in pairs]
    source = say(str(texts.get("source", mark("the model"))))
    caption = say("Words that count for each class, of {source}", source=source)
    advice = alone_line(texts.get("alone") or {})
    table: list[Block] = [Table((say("class"), say("words")), rows, caption)] if rows else []
    return [*table, *([Words([advice])] if advice else [])]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return digits(value) if isinstance(value, float) else "" if value is None else str(value)
