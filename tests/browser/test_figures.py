"""Figures where a font with ideographs is installed, as it is where pages are tried in a browser."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dashpot.report.style import figure_style

pytestmark = pytest.mark.browser


class Said(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_chinese_names_are_letters_and_no_boxes(tmp_path: Path, weight: str) -> None:
    said = Said()
    logging.getLogger("matplotlib").addHandler(said)
    with figure_style(), warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib's word for a letter that no font has
        figure = Figure(figsize=(2, 1))
        FigureCanvasAgg(figure)
        figure.text(0.1, 0.5, "mixup 面积", weight=weight)
        figure.savefig(tmp_path / "a.png")
    logging.getLogger("matplotlib").removeHandler(said)
    assert said.lines == []
    assert matplotlib.rcParams["font.family"] == ["sans-serif"]
