"""Statistics against hand-made numbers, tables and figures against what they must show."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dashpot.report.compare.figures import compare_figure
from dashpot.report.compare.stats import summarize
from dashpot.report.compare.table import compare_table, notes
from dashpot.report.fit.curves import curves_figure


def record(arms: int = 4, repeats: int = 3, metric: str = "accuracy") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    names = ["baseline", *(f"technique-{i}" for i in range(arms - 2)), "boosted trees"]
    return {
        "version": 1,
        "dataset": "demo",
        "task": "classification",
        "metric": metric,
        "repeats": repeats,
        "rows": 1000,
        "features": 20,
        "train_rows": 600,
        "test_rows": 200,
        "arms": [
            {
                "name": name,
                "kind": "reference" if name == "boosted trees" else "network",
                "recipe": None,
                "runs": [
                    {
                        "repeat": r,
                        "seed": r,
                        "test": {metric: 0.8 + 0.01 * i + 0.02 * rng.random()},
                        "train": {metric: 0.95},
                        "zeros": None if i == arms - 1 else 0.1 * i,
                        "seconds": 1.0,
                        "error": None,
                    }
                    for r in range(repeats)
                ],
            }
            for i, name in enumerate(names)
        ],
    }


def test_differences_are_paired_and_failed_runs_are_left_out_and_named() -> None:
    data = record()
    data["arms"][1]["runs"][1]["error"] = "loss must stay finite"
    rows = summarize(data)
    expected = [
        data["arms"][1]["runs"][r]["test"]["accuracy"] - data["arms"][0]["runs"][r]["test"]["accuracy"] for r in (0, 2)
    ]
    assert rows[1].difference is not None
    assert rows[1].difference.mean == pytest.approx(np.mean(expected))
    assert rows[0].difference is None
    assert notes(data) == ["technique-0: 1 of 3 failed: loss must stay finite"]


def test_the_table_shows_every_arm_in_a_hundred_columns() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(compare_table(record()))
    text = console.export_text()
    for word in ("baseline", "technique-1", "boosted trees", "±", "zeros", "3 splits"):
        assert word in text
    assert "…" not in text


@pytest.mark.parametrize(("arms", "repeats", "metric"), [(2, 1, "accuracy"), (6, 3, "r2"), (14, 10, "accuracy")])
def test_figures_are_whole_deterministic_and_do_not_overlap(
    tmp_path: Path, arms: int, repeats: int, metric: str
) -> None:
    png, svg = compare_figure(record(arms, repeats, metric), tmp_path / "a")
    again, svg_again = compare_figure(record(arms, repeats, metric), tmp_path / "b")
    assert png.read_bytes() == again.read_bytes()
    assert svg.read_bytes() == svg_again.read_bytes()
    with Image.open(png) as image:
        assert image.width > 1000
    texts = [element.text for element in ElementTree.parse(svg).iter() if element.tag.endswith("text")]
    for word in ("baseline", "boosted trees", "demo"):
        assert any(word in (text or "") for text in texts), word


def test_an_arm_without_zeros_shows_none(tmp_path: Path) -> None:
    data = record()
    for arm in data["arms"]:
        for run in arm["runs"]:
            run["zeros"] = None
    _, svg = compare_figure(data, tmp_path / "a")
    assert "exact zeros" not in svg.read_text()


def test_curves_mark_the_best_epoch(tmp_path: Path) -> None:
    history = [
        {"epoch": e, "train_loss": 1 / e, "val_loss": 1 / e + 0.1 * e, "train_accuracy": 0.9, "val_accuracy": 0.8}
        for e in range(1, 9)
    ]
    _, svg = curves_figure(history, tmp_path / "c", "a title", best_epoch=3)
    text = svg.read_text()
    for word in ("training", "validation", "best epoch, 3", "a title"):
        assert word in text
    curves_figure(history[:1], tmp_path / "one", "one epoch")
