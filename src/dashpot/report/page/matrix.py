"""A table of counts as shades: the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from dashpot.core.language import columns, say
from dashpot.report.page.svg import box, drawing, fitted, text
from dashpot.report.tune.axes import number_text

MOST = 24
"""Classes that are drawn; of more the page lists the confusions."""


def matrix_chart(counts: Sequence[Sequence[float]], names: Sequence[str], title: str) -> Markup:
    """Rows are the true classes, columns what the model said; each row's shade is its share."""
    n = len(names)
    left = 20 + 8 * min(18, max(5, *(columns(fitted(name, 18)) for name in names)))
    side = max(22, min(64, (740 - left) / n))
    tall = 10 + 7 * min(12, max(columns(fitted(name, 12)) for name in names)) if n > 6 else 24
    parts = [text(left, 12, say("predicted"), "name"), text(left - 10, tall + 12, say("true"), "name", "end")]
    for j, name in enumerate(names):
        x = left + side * (j + 0.5)
        turned = Markup('<g transform="rotate(-60 {} {})">{}</g>')
        word = text(x, tall + 12, fitted(name, 12), "tick", "start" if n > 6 else "middle")
        parts += [turned.format(x, tall + 12, word) if n > 6 else word]
    for i, name in enumerate(names):
        y, total = tall + 20 + side * i, sum(counts[i]) or 1.0
        parts += [text(left - 10, y + side / 2 + 4, fitted(name, 18), "row", "end")]
        for j in range(n):
            share = counts[i][j] / total
            parts += [
                box(
                    left + side * j + 1,
                    y + 1,
                    side - 2,
                    side - 2,
                    "cell" if i == j else "cell off",
                    opacity=round(0.06 + 0.54 * share, 2),
                )
            ]
            if counts[i][j]:
                parts += [text(left + side * (j + 0.5), y + side / 2 + 4, number_text(counts[i][j]), "in", "middle")]
    return drawing(parts, title, left + side * n + 20, tall + 24 + side * n, grows=False)
