"""Figures: what stands in them, that no text meets another or leaves the figure, and that they are the
same every time.
"""

from __future__ import annotations

import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from dashpot.core.errors import StorageError
from dashpot.report.compare.figures import compare_figure, draw_compare
from dashpot.report.fit.curves import curves_figure, draw_curves
from dashpot.report.style import wrap
from tests.report.layout import check_layout
from tests.report.records import NETWORKS, REFERENCES, arm, drawn, fail, record

MANY = (
    "baseline", "weight-decay", "l2", "dropout", "mixup", "input-noise", "label-smoothing",
    "gradient-clipping", "sam", "l1", "elastic-net", "ema", "early-stopping", "all of them",
)  # fmt: skip
LONG = (
    "baseline",
    *(
        f"weight-decay:strength=0.05 + dropout:p=0.2 + mixup:alpha=0.2 + l1:strength={i} on weights & ~name:head.*"
        for i in range(3)
    ),
)

RECORDS = {
    "two arms, one split": drawn(NETWORKS[:2], (), repeats=1),
    "two arms, ten splits": drawn(NETWORKS[:2], (), repeats=10),
    "six arms": drawn(),
    "fourteen arms": drawn(MANY, repeats=10),
    "long names": drawn(
        LONG,
        dataset=(
            "a data set with quite a long name, from a folder of images, the second half, in its third edition of many"
        ),
    ),
    "an arm failed": fail(fail(drawn(), "mixup", [0, 1, 2]), "l1", [0]),
    "baseline failed": fail(drawn(), "baseline", [0, 1, 2]),
    "baseline failed once": fail(fail(drawn(repeats=2), "baseline", [0]), "l1", [1]),
    "all failed": fail(fail(drawn(NETWORKS[:2], ()), "baseline", [0, 1, 2]), "weight-decay", [0, 1, 2]),
    "large negative values": drawn(scale=-1e4),
    "tiny differences": drawn(scale=1e-6),
    "no spread": record(arm("baseline", [0.5, 0.5], train=0.5), arm("l1", [0.5, 0.5], train=0.5, zeros=1.0)),
    "only reference models beside the baseline": drawn(NETWORKS[:1]),
    "odd names": drawn(("baseline", "a_$b$ \\frac{1}{2}", "two\nlines", ""), dataset="costs in $ and $"),
    "balanced accuracy": {
        **drawn(),
        "metric": "balanced_accuracy",
        "arms": [
            {
                **a,
                "runs": [
                    {**r, "train": {"balanced_accuracy": 0.9}, "test": {"balanced_accuracy": r["test"]["accuracy"]}}
                    for r in a["runs"]
                ],
            }
            for a in drawn()["arms"]
        ],
    },
}


def history(
    epochs: int, metric: str | None = "accuracy", validation: bool = True, first: float | None = None
) -> list[dict[str, float]]:
    rows = []
    for e in range(1, epochs + 1):
        row = {"epoch": e, "train_loss": 2 * math.exp(-e / 9), "lr": 1e-3}
        if validation:
            row["val_loss"] = 0.3 + 2 * math.exp(-e / 9) + 0.004 * e
        if metric:
            row[f"train_{metric}"] = 1 - 0.7 * math.exp(-e / 9)
            if validation:
                row[f"val_{metric}"] = first if first is not None and e == 1 else 0.9 - 0.6 * math.exp(-e / 9)
        rows.append(row)
    return rows


HISTORIES: dict[str, tuple[list[dict[str, float]], str, int | None]] = {
    "sixty epochs": (history(60), "digits: Mixup(alpha=0.2) | L1(strength=0.0001)", 23),
    "one epoch": (history(1), "digits", 1),
    "two epochs": (history(2), "digits", None),
    "no validation": (history(40, validation=False), "digits", None),
    "r2 far below zero": (history(40, "r2", first=-1e6), "california-housing", None),
    "no metric": (history(20, None), "own loss", 20),
    "a long title": (
        history(20),
        "digits: " + " | ".join(f"L1(strength={i}, on=weights & ~name:head.*)" for i in range(9)),
        1,
    ),
    "not finite": (
        [{**row, "train_loss": math.nan, "val_loss": math.inf} if row["epoch"] > 7 else row for row in history(9)],
        "$x",
        7,
    ),
    "nothing finite": (
        [{key: math.nan if "loss" in key else value for key, value in row.items()} for row in history(4)],
        "nan",
        None,
    ),
    "nothing at all": ([], "empty", None),
}


@pytest.mark.parametrize("name", RECORDS)
def test_no_text_meets_another_in_a_comparison(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_layout(draw_compare(RECORDS[name]), monkeypatch)


@pytest.mark.parametrize("name", HISTORIES)
def test_no_text_meets_another_in_curves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, title, best = HISTORIES[name]
    check_layout(draw_curves(rows, title, best), monkeypatch)


def test_the_check_itself_sees_an_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_compare(RECORDS["six arms"])
    figure.text(0.02, 0.97, "in the way")
    with pytest.raises(AssertionError, match="in the way"):
        check_layout(figure, monkeypatch)


def test_it_shows_the_numbers_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    data = record(
        arm("baseline", [0.70, 0.72, 0.74], train=0.9),
        arm("l1", [0.75, 0.76, 0.80], train=0.8, zeros=0.25),
        arm("trees", [0.6, 0.6, 0.6], kind="reference", zeros=None),
    )
    figure = draw_compare(data)
    texts = check_layout(figure, monkeypatch)
    for text in ("baseline", "l1", "trees", "reference models", "0.7200", "0.7700", "+0.180", "+0.030", "25.0 %"):
        assert text in texts
    assert any("demo" in text and "accuracy" in text and "3 splits" in text for text in texts)
    lines = {tuple(line.get_ydata()): line for line in figure.axes[0].lines}
    # Differences 0.05, 0.04, 0.06: mean 0.05, s 0.01; half = 4.302653 * 0.01 * sqrt(1/3 + 1/3).
    half = 4.302653 * 0.01 * math.sqrt(2 / 3)
    assert list(lines[(1, 1)].get_xdata()) == pytest.approx([0.05 - half, 0.05 + half], abs=1e-6)
    assert list(lines[(1,)].get_xdata()) == pytest.approx([0.05])
    assert [bar.get_width() for bar in figure.axes[2].patches[-3:]] == pytest.approx([0.18, 0.03, 0.35])


def test_a_failed_arm_is_named_and_not_drawn_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = check_layout(draw_compare(RECORDS["an arm failed"]), monkeypatch)
    assert "failed on all 3 splits" in texts
    assert "l1 (2 of 3 splits)" in texts


def test_without_a_baseline_there_are_scores_and_no_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw_compare(RECORDS["baseline failed"])
    texts = check_layout(figure, monkeypatch)
    assert "test accuracy: baseline failed, so no differences" in texts
    means = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert len(means) == len(NETWORKS) + len(REFERENCES) - 1
    assert min(means) > 0.6


def test_one_wild_interval_does_not_flatten_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    data = record(
        *(arm(name, [0.70 + 0.001 * i, 0.71, 0.72 - 0.001 * i]) for i, name in enumerate(("baseline", "a", "b", "c"))),
        arm("wild", [0.1, 0.9, 0.3]),
    )
    figure = draw_compare(data)
    low, high = figure.axes[0].get_xlim()
    assert high - low < 1
    assert any("An arrow" in text for text in check_layout(figure, monkeypatch))
    means = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() in "oDs"]
    assert all(low < mean < high for mean in means)


def test_without_zeros_there_is_no_panel_for_them() -> None:
    data = drawn()
    for a in data["arms"]:
        for run in a["runs"]:
            run["zeros"] = None
    assert len(draw_compare(data).axes) == 3
    assert len(draw_compare(drawn()).axes) == 4


def test_the_files_are_whole_and_the_same_whatever_the_users_settings(tmp_path: Path) -> None:
    png, svg = compare_figure(RECORDS["odd names"], tmp_path / "a")
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 20, "figure.facecolor": "black", "svg.hashsalt": "other", "axes.grid": True}):
        again = compare_figure(RECORDS["odd names"], tmp_path / "b")
        assert mpl.rcParams["font.size"] == 20
    assert dict(mpl.rcParams) == before
    assert [png.read_bytes(), svg.read_bytes()] == [path.read_bytes() for path in again]
    with Image.open(png) as image:
        image.load()
        assert image.width == 1656
        assert image.height > 600
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    texts = {element.text for element in ElementTree.parse(svg).iter() if element.tag.endswith("text")}
    assert "a_$b$ \\frac{1}{2}" in texts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]


def test_curves_are_the_same_every_time_and_say_what_they_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, title, best = HISTORIES["sixty epochs"]
    first, second = curves_figure(rows, tmp_path / "a", title, best), curves_figure(rows, tmp_path / "b", title, best)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    texts = check_layout(draw_curves(rows, title, best), monkeypatch)
    assert {"training", "validation", "gap", "best epoch, 23", "loss, log scale", "accuracy"} <= set(texts)
    lowest = min(rows, key=lambda row: row["val_loss"])["epoch"]
    assert f"lowest validation loss, epoch {lowest}" in check_layout(draw_curves(rows, title), monkeypatch)
    assert "validation" not in check_layout(draw_curves(*HISTORIES["no validation"]), monkeypatch)


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be written"):
        compare_figure(drawn(), tmp_path / "nowhere" / "a")


def test_letters_that_the_font_lacks_are_no_warning(tmp_path: Path) -> None:
    compare_figure(drawn(dataset="数据 \U0001f600"), tmp_path / "a")


def test_a_font_with_ideographs_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any font under the name of a usual file; a file that is no font is passed over."""
    from matplotlib import font_manager

    from dashpot.report import fonts

    (tmp_path / "NotoSansCJK-A-Regular.ttc").write_bytes(b"no font")
    good = tmp_path / "NotoSansCJK-Regular.ttf"
    good.write_bytes(Path(font_manager.findfont("STIXGeneral")).read_bytes())
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path) for path in tmp_path.iterdir()])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    assert fonts.with_ideographs.__wrapped__() == ("STIXGeneral",)
    for weight in ("normal", "bold"):
        wanted = font_manager.FontProperties(family="STIXGeneral", weight=weight)
        assert Path(font_manager.findfont(wanted, rebuild_if_missing=False)).exists()
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    assert fonts.with_ideographs.__wrapped__() == ()


def test_neither_pyplot_nor_a_window_is_touched() -> None:
    code = (
        "import sys, tempfile; from tests.report.records import drawn; import dashpot.report.compare.figures as"
        " f;assert 'matplotlib' not in sys.modules; f.compare_figure(drawn(), tempfile.mkdtemp() + '/a'); assert"
        " 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("width", [10, 16, 34])
@pytest.mark.parametrize("lines", [1, 2, 3])
def test_wrapped_names_keep_both_ends_and_their_limits(width: int, lines: int) -> None:
    for text in (*LONG, "short", "", "x" * 200, "a b " * 60):
        parts = wrap(text, width, lines).split("\n")
        assert len(parts) <= lines
        assert max(map(len, parts)) <= width
    if lines > 1:
        assert wrap("start " + "middle " * 50 + "end", width, lines).endswith("end")
