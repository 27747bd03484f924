"""Pages: the numbers shown are the record's, hostile names stay names, degenerate records make a page."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

import dashpot
from dashpot.core.errors import DataError, StorageError
from dashpot.report.page.compare import compare_page
from dashpot.report.page.fit import fit_page
from dashpot.report.page.lines import Series, line_chart
from dashpot.report.page.matrix import matrix_chart
from dashpot.report.page.path import path_page
from dashpot.report.page.points import Point, diagonal, point_chart
from dashpot.report.page.several import Side, several_page
from dashpot.report.page.source import Source, python_text
from dashpot.report.page.svg import Scale
from dashpot.report.page.tune import LINES, tune_page
from dashpot.report.page.write import render, write_page
from dashpot.report.tune.stats import recipe_text
from tests.report import records
from tests.report.page.reading import Seen, read
from tests.report.searches import RECORDS
from tests.report.tune_record import bare, candidate, searched
from tests.report.typed import FITTED, walked

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' & \u202e\U0001f600 中文"


def shown(page: Any) -> Seen:
    return read(render(page))


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_any_search_makes_a_page(record: dict[str, Any]) -> None:
    seen = shown(tune_page(record))
    assert seen.words
    for tag, attributes in seen.starts:
        if tag in ("circle", "path", "rect", "text"):
            assert not any("nan" in str(v) or "inf" in str(v) for k, v in attributes.items() if k != "class")


def test_the_numbers_of_a_search_are_the_records() -> None:
    record = searched()
    seen = shown(tune_page(record))
    rows = {row[0].split()[0]: row for row in seen.table("candidate", "recipe")}
    assert len(rows) == len(record["candidates"])
    for one in record["candidates"]:
        row = rows[f"#{one['number']}"]
        assert row[1] == (one["recipe"] or "no technique")
        for cell, value in zip(row[2:5], (one["score"], one["se"], one["metric_score"]), strict=True):
            assert cell == "" if value is None else math.isclose(float(cell), value, abs_tol=5e-5)
        assert row[6] == str(one["epochs"])
    gains = seen.table("technique", "gain in the chosen recipe")
    for one in record["contributions"]:
        if one.get("kind") == "left out":
            cell = next(row for row in gains if row[0] == one["technique"])[1]
            assert math.isclose(float(cell.split()[0]), one["difference"], rel_tol=1e-2, abs_tol=5e-5)
    tested = seen.table("")
    assert math.isclose(float(tested[0][1]), next(iter(record["test"]["chosen"].values())), abs_tol=5e-5)


def test_every_mark_of_a_search_says_what_it_is() -> None:
    seen = shown(tune_page(searched()))
    keys = {a["data-k"] for _, a in seen.starts if a.get("data-k")}
    assert keys
    assert keys <= set(seen.tips)
    assert seen.tips["0"][0].startswith("#0")


def test_a_line_goes_through_the_scores_of_its_candidate() -> None:
    """The places of a race's line, turned back by two of its own points."""
    history = [[2, 0.9], [3, 0.5], [4, 0.6], [5, 0.4]]
    seen = shown(tune_page(bare(candidate(0, history=history))))
    d = next(a["d"] for _, a in seen.starts if a.get("data-k") == "0" and a.get("d"))
    places = [tuple(map(float, pair.split())) for pair in str(d)[1:].split("L")]
    xs, ys = zip(*places, strict=True)
    scale = (ys[0] - ys[1]) / (0.9 - 0.5)
    for (_, score), y in zip(history, ys, strict=True):
        assert math.isclose(ys[0] + (score - 0.9) * scale, y, abs_tol=0.3)
    steps = [b - a for a, b in itertools.pairwise(xs)]
    assert max(steps) - min(steps) <= 0.2


def hostile(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(v) for v in value]
    return value.replace("demo", HOSTILE).replace("mixup", HOSTILE) if isinstance(value, str) else value


@pytest.mark.parametrize(
    "page",
    [
        tune_page(hostile(searched(12)), Source(run=HOSTILE, data=HOSTILE, target=HOSTILE)),
        compare_page(hostile(records.drawn())),
        several_page([Side(HOSTILE, "fit", HOSTILE, HOSTILE, {"accuracy": 0.5})] * 2),
        fit_page(
            {**FITTED.to_dict(), "data": {"name": HOSTILE, HOSTILE: HOSTILE}},
            (),
            Source(
                texts={
                    "words": {HOSTILE: [[HOSTILE, 1.0]]},
                    "mistakes": [{"text": HOSTILE, "truth": HOSTILE}],
                    "source": HOSTILE,
                }
            ),
        ),
    ],
    ids=["tune", "compare", "several", "fit"],
)
def test_hostile_names_stay_names(page: Any) -> None:
    html = render(page)
    seen = read(html)
    assert [tag for tag, _ in seen.starts].count("script") == 2
    assert not any(tag == "img" for tag, _ in seen.starts)
    assert not any(name.startswith("on") for _, attributes in seen.starts for name in attributes)
    assert any(HOSTILE in text for _, text in seen.words)


def test_a_page_asks_for_nothing() -> None:
    html = render(tune_page(searched()))
    seen = read(html)
    for _, attributes in seen.starts:
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html


def test_a_page_of_two_hundred_candidates_is_below_a_megabyte_and_of_two_thousand_it_leaves_lines_out() -> None:
    assert len(render(tune_page(searched(200))).encode()) < 1_000_000
    html = render(tune_page(searched(2000)))
    lines = sum(tag == "path" and bool(a.get("data-k")) for tag, a in read(html).starts)
    assert LINES <= lines <= LINES + 4
    assert "of the worst candidates are left out" in html
    assert len(html.encode()) < 3_000_000


def test_a_comparison_shows_its_differences() -> None:
    record = records.record(records.arm("baseline", [0.5, 0.6]), records.arm("l1", [0.7, 0.8]))
    seen = shown(compare_page(record))
    assert seen.table("arm", "test accuracy")[1][2].startswith("+0.2")
    assert any("best network is l1" in text for _, text in seen.words)


def test_settings_of_few_whole_numbers_are_marked_at_them() -> None:
    def ticks(*values: float) -> list[str]:
        svg = point_chart([Point(value, 0.1 * value) for value in values], "score", "depth", "loss")
        return re.findall(r'class="tick"[^>]*middle[^>]*>([^<]+)<', svg)

    assert ticks(2, 3, 2) == ["2", "3"]
    assert ticks(32, 64) == ["32", "64"]
    assert ticks(2.5, 3.5) != ["2.5", "3.5"]
    assert len(ticks(*range(100, 140))) < 10
    assert ticks(100, 101, 300) != ["100", "101", "300"]


def test_the_line_of_equal_scores_is_spoken_of_where_it_is_drawn() -> None:
    def note(*gaps: float) -> str:
        rows = [candidate(i, score=0.08 + i / 1e4, train_score=0.08 - gap) for i, gap in enumerate(gaps)]
        return next(text for _, text in shown(tune_page(bare(*rows))).words if text.startswith("Less is better."))

    seen = [text for _, text in shown(tune_page(searched())).words]
    assert any("The line: equal scores" in text for text in seen)
    assert "out of sight" in note(0.04, 0.041)


def test_the_line_of_equal_scores_is_where_they_are_equal() -> None:
    x, y = Scale(0.01, 1.0, 0.0, 100.0, log=True), Scale(0.0, 0.5, 0.0, 100.0)
    places = re.findall(r"([\d.]+) ([\d.]+)", "".join(diagonal(x, y)))
    assert len(places) > 10
    for right, up in places:
        assert 0.01 * 100 ** (float(right) / 100) == pytest.approx(0.5 * float(up) / 100, rel=0.05, abs=0.002)
    assert not diagonal(x, Scale(2.0, 3.0, 0.0, 100.0))


@pytest.mark.parametrize(
    ("answers", "caption"),
    [
        ({"pairs": [[1.0, 2.5]], "mistakes": [{"row": 7, "truth": 1.0, "said": 2.5}]}, "The largest errors"),
        ({"classes": ["a", "b"], "mistakes": [{"row": 7, "truth": "a", "said": "b"}]}, "The most confident mistakes"),
    ],
    ids=["values", "classes"],
)
def test_mistakes_of_values_are_not_called_confident(answers: dict[str, Any], caption: str) -> None:
    seen = shown(fit_page({**FITTED.to_dict(), "answers": answers}))
    assert [text for _, text in seen.words if text in ("The largest errors", "The most confident mistakes")] == [
        caption
    ]


def test_runs_on_different_data_say_which() -> None:
    sides = [Side("a", "fit", "wine", "l1", {"accuracy": 0.5}), Side("b", "fit", "beans", "l1", {"accuracy": 0.6})]
    assert [row[2] for row in shown(several_page(sides)).table("run", "command", "data")] == ["wine", "beans"]
    assert not any("data" in table[0] for table in shown(several_page(sides[:1] * 2)).tables)


def commands_of(page: Any) -> list[str]:
    return [text for where, text in shown(page).words if where == "code"]


def test_a_comparison_names_the_commands_to_go_on_without_folders() -> None:
    arms = records.arm("baseline", [0.5, 0.6]), records.arm("l1", [0.7, 0.8])
    data = {"source": "/home/somebody/my wine.csv", "target": "grower"}
    new = records.record(*arms, recipes={"baseline": "", "l1": "l1:strength=0.02"}, data=data)
    commands = commands_of(compare_page(new, Source("runs/compare-1")))
    assert commands == [
        "dashpot fit 'my wine.csv' --target grower --with l1:strength=0.02",
        "dashpot techniques l1",
        "dashpot tune 'my wine.csv' --target grower --budget 5m",
        "dashpot report runs/compare-1",
    ]
    old = commands_of(compare_page(records.record(*arms), Source("runs/compare-1")))
    assert old == ["dashpot tune DATA --target COLUMN --budget 5m", commands[3]]


def test_a_path_marks_its_choice() -> None:
    record = walked()
    rows = shown(path_page(record)).table("strength", "loss")
    assert [float(row[0]) for row in rows] == pytest.approx(record.strengths, rel=1e-3)
    assert [int(row[3]) for row in rows] == record.selected


def test_a_diverged_training_says_so() -> None:
    seen = shown(fit_page({**FITTED.to_dict(), "diverged": "the loss is NaN in epoch 2. Clip gradients."}))
    assert any(text.endswith("it diverged, the loss is NaN in epoch 2. Clip gradients.") for _, text in seen.words)
    assert any(text.startswith("How sure: not at all") for _, text in seen.words)


def test_the_recipe_as_a_program_makes_the_recipe() -> None:
    recipe = dashpot.Recipe.coerce('mixup:alpha=0.3 | l1:strength=0.02,on="weights | embeddings"')
    space: dict[str, Any] = {}
    exec(python_text(recipe).rsplit("\n", 1)[0], space)
    assert space["recipe"] == recipe


def test_a_line_over_few_epochs_has_whole_numbers_only() -> None:
    drawn = str(line_chart([Series([(2, 0.3), (3, 0.2), (4, 0.1)], "chosen")], "race", "epoch", "loss"))
    below = [float(found) for found in re.findall(r'text-anchor="middle">([\d.]+)</text>', drawn)]
    assert below == [2, 3, 4]
    drawn = str(line_chart([Series([(0.5, 0.3), (2.0, 0.1)], "chosen")], "path", "strength", "loss"))
    assert any(float(found) % 1 for found in re.findall(r'text-anchor="middle">([\d.]+)</text>', drawn))


@pytest.mark.parametrize("log", [False, True])
def test_a_scale_goes_from_end_to_end(log: bool) -> None:
    scale = Scale(0.1, 10.0, 30.0, 300.0, log)
    assert (scale(0.1), scale(10.0), scale(99.0), scale(0.001)) == (30.0, 300.0, 300.0, 30.0)
    assert scale(1.0) == pytest.approx(165.0 if log else 30 + 270 * 0.9 / 9.9)
    ticks = scale.ticks()
    assert ticks == sorted(set(ticks))
    assert 0.0999 <= ticks[0] <= ticks[-1] <= 10.01


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    page = tune_page(bare(candidate(0)))
    path = write_page(page, tmp_path / "report.html")
    before = path.read_bytes()
    with pytest.raises(StorageError):
        write_page(page, tmp_path / "no" / "report.html")
    assert path.read_bytes() == before
    assert json.loads(json.dumps(read(before.decode()).tips))


def test_no_record_is_refused() -> None:
    with pytest.raises(DataError):
        compare_page({"version": 1})


def test_of_several_targets_each_has_its_residuals() -> None:
    answers = {
        "mistakes": [{"row": 3, "truth": [1.0, 2.5], "predicted": [0.5, 4.0]}],
        "targets": [[[1.0, 0.5], [2.0, 2.0]], [[2.5, 4.0], [3.0, 3.5]]],
    }
    seen = shown(tune_page({**searched(), "answers": answers}))
    for k in (0, 1):
        assert any(f"Residuals of target {k}" in text for _, text in seen.words)
    assert ["3", "1.0000, 2.5000", "0.5000, 4.0000"] in seen.table("row", "truth")


def test_a_small_confusion_matrix_does_not_grow_to_the_width_of_the_page() -> None:
    drawn = str(matrix_chart([[3, 0], [1, 2]], ["a", "<b>"], "Confusion matrix"))
    width = re.search(r'viewBox="0 0 ([\d.]+) ', drawn)
    assert width is not None
    assert f'style="max-width:{width[1]}px;min-width:{width[1]}px"' in drawn
    assert "<b>" not in drawn


def test_a_recipe_without_techniques_is_told_as_none() -> None:
    assert recipe_text("Recipe()") == recipe_text("") == "no technique"
