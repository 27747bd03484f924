"""All figures of what a model does with images, as PNG and SVG."""

from __future__ import annotations

from pathlib import Path

from dashpot.report.images.cases import Judged
from dashpot.report.images.confusion import draw_confusion
from dashpot.report.images.mistakes import draw_mistakes
from dashpot.report.style import save


def image_figures(judged: Judged, folder: str | Path, name: str) -> dict[str, tuple[Path, Path]]:
    """The confusion matrix and the most confident mistakes, by name, each as ``folder/name.png`` and ``.svg``; of
    values only the largest errors.

    Args:
        judged: a model's answers on the test images.
        folder: where to; it must exist.
        name: of the data, for the titles.

    Raises:
        StorageError: a file could not be written.
    """
    found = {}
    if judged.classes:
        figure = draw_confusion(judged.confusion, judged.classes, f"{name}: what was taken for what")
        found["confusion"] = save(figure, Path(folder) / "confusion")
    words = "the most confident mistakes" if judged.classes else "the largest errors"
    if judged.classes and not len(judged.wrong):
        words = "the least certain answers"
    found["mistakes"] = save(draw_mistakes(judged, f"{name}: {words}"), Path(folder) / "mistakes")
    return found
