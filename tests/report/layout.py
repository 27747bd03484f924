"""Where the texts of a figure stand, as the renderer draws them."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dashpot.report.style import figure_style


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Bbox]]:
    """What the renderer really draws, with its boxes: labels of ticks beyond the axes are not among it."""
    seen: dict[int, tuple[str, Bbox]] = {}
    draw = Text.draw

    def spy(self: Text, renderer: Any, *args: Any, **options: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            seen[id(self)] = (self.get_text(), self.get_window_extent(renderer))
        draw(self, renderer, *args, **options)

    with figure_style(), monkeypatch.context() as patch:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        patch.setattr(Text, "draw", spy)
        canvas.draw()
    return list(seen.values())


def check_layout(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts = drawn_texts(figure, monkeypatch)
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in texts:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for i, (one, box) in enumerate(texts):
        for other, second in texts[i + 1 :]:
            assert not box.overlaps(second), (one, other)
    return [text for text, _ in texts]
