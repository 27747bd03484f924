"""The report of a search: the numbers shown are the record's, degenerate records do not fail, no text meets another."""

from __future__ import annotations

import copy
import io
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from dashpot.core.errors import DataError, StorageError
from dashpot.report.tune.axes import log_ticks
from dashpot.report.tune.effects import draw_contributions, draw_importance
from dashpot.report.tune.figures import draw_gap, draw_race, tune_figures
from dashpot.report.tune.stats import contributions, paired, ranked
from dashpot.report.tune.strengths import OFF, draw_strengths
from dashpot.report.tune.table import candidates_table, contributions_table, print_report, summary_table
from tests.report.layout import check_layout
from tests.report.searches import ONE, RECORDS
from tests.report.tune_record import bare, candidate, contribution, searched

DRAW: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "race": draw_race,
    "strengths": draw_strengths,
    "gap": draw_gap,
    "contributions": draw_contributions,
    "importance": draw_importance,
}


def shown(what: Any, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(what)
    return console.export_text()


def reported(data: dict[str, Any], width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    print_report(data, console)
    return console.export_text()


DRAWN = {
    "race": [name for name in RECORDS if name not in ("not a number", "infinite", "nothing chosen", "two")],
    "strengths": ["forty", "short race", "one", "nulls", "choices", "odd names"],
    "gap": ["forty", "regression, large numbers", "one", "nulls", "zeros", "negative scores", "a wild one"],
    "contributions": ["regression, large numbers", "infinite", "one", "zeros", "odd names"],
    "importance": ["forty", "not a number", "zeros", "odd names"],
}


@pytest.mark.parametrize(("figure", "name"), [(figure, name) for figure, names in DRAWN.items() for name in names])
def test_no_text_meets_another(figure: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = copy.deepcopy(RECORDS[name])
    assert check_layout(DRAW[figure](RECORDS[name]), monkeypatch)
    assert repr(RECORDS[name]) == repr(before)


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("width", [60, 100])
def test_every_record_has_a_report(name: str, width: int) -> None:
    text = reported(RECORDS[name], width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert not {"nan", "inf", "None"} & set(text.replace(",", " ").split())


def test_the_summary_shows_the_records_numbers() -> None:
    data = searched()
    text = shown(summary_table(data))
    rows = {
        "chosen, ensemble of 5 folds": data["test"]["chosen"],
        "baseline": data["test"]["baseline"],
        **data["test"]["references"],
    }
    found = {c["number"]: c for c in data["candidates"]}
    for name, scores in rows.items():
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert all(f"{value:.4f}" in line for value in scores.values()), name
    for name, number in (("chosen", data["chosen"]), ("baseline", data["baseline"])):
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert f"{found[number]['score']:.4f} ± {found[number]['se']:.4f}" in line
    # The user's own metric is the first.
    head = next(line for line in text.splitlines() if "accuracy" in line)
    assert head.split()[:2] == ["balanced", "accuracy"]


def test_candidates_stand_in_their_order_with_baseline_and_chosen_below() -> None:
    lucky = candidate(7, score=0.1, folds=1, se=None, state="pruned")
    luckier = candidate(6, score=0.05, folds=1, se=None)
    data = bare(*(candidate(i, score=0.5 - 0.01 * i) for i in range(5)), lucky, luckier, baseline=0, chosen=1, best=4)
    assert [c.number for c in ranked(data)] == [4, 3, 2, 1, 0, 6, 7]
    text = shown(candidates_table(data, top=2))
    numbers = [line.split()[1] for line in text.splitlines() if line.lstrip()[:1].isdigit()]
    assert numbers == ["#4", "#3", "#1", "#0"]
    assert "0.4600 ± 0.0100" in next(line for line in text.splitlines() if "#4 best" in line)
    assert "+0.1600" in next(line for line in text.splitlines() if "#4 best" in line)
    assert "0.1000, 1 fold" in shown(candidates_table(data))


@pytest.mark.parametrize(
    ("left", "alone", "words"),
    [
        ((0.1, 0.05), (0.1, 0.2), "helps"),
        ((0.1, 0.2), None, "no clear effect"),
        ((0.1, 0.2), (0.1, 0.05), "helps only alone"),
        ((-0.1, 0.05), (0.1, 0.05), "hurts"),
        (None, (0.1, 0.05), "helps alone"),
        (None, (-0.1, 0.05), "hurts alone"),
        (None, (0.0, 0.05), "no clear effect alone"),
        ((0.1, None), None, "no interval"),
        ((None, None), None, "not measured"),
    ],
)
def test_contributions_in_words(
    left: tuple[float | None, float | None] | None, alone: tuple[float, float] | None, words: str
) -> None:
    parts = [
        contribution("mixup", kind, *values)
        for kind, values in (("left out", left), ("alone", alone))
        if values is not None
    ]
    line = next(
        line
        for line in shown(contributions_table(bare(ONE, contributions=parts))).splitlines()
        if line.startswith("mixup")
    )
    assert line.rstrip().endswith(f" {words}")
    for values in (left, alone):
        if values is not None and values[0] is not None and values[1] is not None:
            mean, half = values
            assert f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]" in line


def test_markup_in_names_is_not_read() -> None:
    data = RECORDS["odd names"]
    text = reported(data, 160)
    assert "[red]mix_$a$" in text
    assert "[bold]" in text
    assert "[red]" in shown(candidates_table(data), 160)


def test_how_sure_the_choice_is() -> None:
    baseline = candidate(0, name="baseline", fold_scores=[0.50, 0.54, 0.52], score=0.52, folds=3)
    chosen = candidate(1, fold_scores=[0.45, 0.50, 0.46], score=0.47, se=0.02, folds=3)
    close = candidate(2, fold_scores=[0.47, 0.49, 0.48], score=0.48, folds=3)
    candidates = {c.number: c for c in ranked(bare(baseline, close, chosen))}
    gain = paired(candidates[1], candidates[0])
    assert gain is not None
    # Gains 0.05, 0.04, 0.06: s = 0.01; three folds have one test row for two training rows; t(0.975, 2) = 4.302653.
    half = 4.302653 * 0.01 * math.sqrt(1 / 3 + 1 / 2)
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.05, 0.05 - half, 0.05 + half), abs=1e-6)
    text = reported(bare(baseline, close, chosen))
    assert f"better than the baseline: +0.0500 [{0.05 - half:+.4f}, {0.05 + half:+.4f}] log loss" in text
    assert "1 other is within one standard error of the best" in text
    assert "the baseline itself was chosen" in reported(bare(baseline, close, chosen, chosen=0))


def ring(c: Any) -> str:
    lowest = min(score for _, score in c["history"])
    return f"{lowest:.4f}" if f"{lowest:.4f}" == f"{c['score']:.4f}" else f"{lowest:.4f}, in all {c['score']:.4f}"


def test_the_race_draws_what_the_histories_say(monkeypatch: pytest.MonkeyPatch) -> None:
    data = searched(20)
    figure = draw_race(data)
    texts = check_layout(figure, monkeypatch)
    lines = [list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in figure.axes[0].lines]
    for c in data["candidates"]:
        assert [(e, s) for e, s in c["history"]] in lines, c["number"]
        if c["number"] in (data["chosen"], data["baseline"], data["best"]):
            assert any(text.startswith(f"#{c['number']} ") and text.endswith(f"\n{ring(c)}") for text in texts)


def test_the_race_says_on_how_many_folds_the_finalists_were_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    data = searched(20)
    most = max(c["folds"] or 0 for c in data["candidates"])
    assert f"in all: over {most} folds and all seeds" in " ".join(check_layout(draw_race(data), monkeypatch)).replace(
        "\n", " "
    )
    for c in data["candidates"]:
        c["folds"] = min(c["folds"] or 0, 3)
    assert "in all: over 3 folds and all seeds" in " ".join(check_layout(draw_race(data), monkeypatch)).replace(
        "\n", " "
    )


def test_strengths_stand_where_their_values_are() -> None:
    values = {1: 1e-6, 2: 1e-4, 3: 1e-2}
    off = candidate(0, params={"l1": False, "lr": 0.1}, score=0.9)
    data = bare(
        off,
        *(candidate(i, params={"l1": True, "l1.strength": v, "lr": 0.1}, score=i / 10) for i, v in values.items()),
        chosen=2,
        best=1,
    )
    figure = draw_strengths(data)
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == [
        "l1.strength"
    ]  # lr had one value only
    axes = figure.axes[0]
    marks = {
        round(float(line.get_ydata()[0]), 3): float(line.get_xdata()[0])
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    assert marks == pytest.approx({0.9: OFF, 0.1: 0.0, 0.2: 0.5}, abs=1e-9)
    ((x, y),) = [tuple(point) for points in axes.collections for point in points.get_offsets()]
    assert (x, y) == pytest.approx((1.0, 0.3), abs=0.06)
    assert axes.get_xticklabels()[0].get_text() == "off"


def test_there_are_twelve_panels_at_most_the_most_important_first() -> None:
    many = [candidate(i, params={f"p{k}": float(i + k) for k in range(20)}, score=0.1 * i) for i in range(1, 6)]
    figure = draw_strengths(bare(*many, importance={f"p{k}": k / 190 for k in range(20)}))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"p{k}" for k in range(19, 7, -1)]


def test_contributions_and_gaps_are_drawn_at_their_numbers() -> None:
    data = searched()
    axes = draw_contributions(data).axes[0]
    ends = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    for row in data["contributions"]:
        assert any(pair == pytest.approx((row["low"], row["high"])) for pair in ends), row["technique"]
    order = [c.left_out.mean for c in contributions(data) if c.left_out is not None]
    assert order == sorted(order, reverse=True)
    points = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in draw_gap(data).axes[0].lines
        if len(line.get_xdata()) == 1
    ]
    found = {c["number"]: c for c in data["candidates"]}
    for number in (data["chosen"], data["baseline"]):
        assert any(point == pytest.approx((found[number]["train_score"], found[number]["score"])) for point in points)
    widths = [bar.get_width() for bar in draw_importance(data).axes[0].patches]
    assert widths == pytest.approx(sorted(data["importance"].values(), reverse=True))


@pytest.mark.parametrize(
    ("shares", "said"), [({"lr": 0.1, "l1": 0.02}, "88 % of its variance no setting explains."), ({"lr": 0.998}, "")]
)
def test_what_no_setting_explains_is_said(shares: dict[str, float], said: str) -> None:
    data = bare(candidate(0), candidate(1), importance=shares)
    text = " ".join(reported(data).split())
    assert "What the score depended on over the search: lr" in text
    assert ("no setting explains" in text) == bool(said)
    assert said in text


def test_ticks_are_inside_and_few() -> None:
    for low, high in ((1e-9, 1e5), (0.3, 0.4), (0.21, 0.22), (1.0, 1e3), (7.0, 90.0)):
        ticks = log_ticks(low, high, 5)
        assert len(ticks) <= 5
        assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)


def test_the_files_are_whole_and_the_same_every_time(tmp_path: Path) -> None:
    data = searched(2, contributions=[contribution("mixup", "alone", 0.1, 0.05)])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = tune_figures(data, tmp_path / "a")
    second = tune_figures(data, tmp_path / "b")
    assert sorted(first) == sorted(DRAW)
    for name, paths in first.items():
        assert [path.name for path in paths] == [f"{name}.png", f"{name}.svg"]
        ElementTree.parse(paths[1])
    for name, paths in second.items():
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in first[name]]
    with pytest.raises(StorageError, match="could not be written"):
        tune_figures(data, tmp_path / "nowhere")


def test_a_record_without_its_keys_is_one_clear_error() -> None:
    with pytest.raises(DataError, match="'proper', 'candidates'"):
        summary_table({"dataset": "demo", "task": "classification", "metric": "accuracy"})


@pytest.mark.slow
def test_three_hundred_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    data = searched(300, seed=3)
    for draw in (draw_race, draw_strengths, draw_gap):
        check_layout(draw(data), monkeypatch)
    assert len(shown(candidates_table(data)).splitlines()) < 40


def test_one_wild_candidate_does_not_flatten_the_rest() -> None:
    for draw in (draw_race, draw_gap, draw_strengths):
        assert draw(RECORDS["a wild one"]).axes[0].get_ylim()[1] < 2, draw.__name__


def test_the_epoch_that_is_kept_is_named() -> None:
    rows = [
        candidate(1, epochs=120, best_epoch=48),
        candidate(2, epochs=120, best_epoch=120),
        candidate(3, state="pruned", epochs=13, best_epoch=13),
    ]
    text = shown(candidates_table(bare(ONE, candidates=rows)), 120)
    for part in ("48 of 120", " 120 ", "13 pruned"):
        assert part in text


def test_zero_is_in_sight_where_all_gains_are_far_from_it() -> None:
    figure = draw_contributions(searched(2, contributions=[contribution("ema", "left out", 2.0, 0.5)]))
    low, high = figure.axes[0].get_xlim()
    assert low < 0 < 2.5 < high


def test_a_searched_end_of_a_schedule_is_named_with_it() -> None:
    data = searched(12, space={"dropout.p": "0.05..0.6to0", "lr": "0.0005..0.02 (log)"})
    titles = [axes.get_title(loc="left") for axes in draw_strengths(data).axes]
    assert any("dropout.p of 0.05..0.6to0" in title.replace("\n", " ") for title in titles)
    assert sum(" of " in title for title in titles) == 1


def test_contributions_say_of_which_trainings_they_are() -> None:
    parts = [{"technique": "a", "kind": "left out", "difference": 0.1, "low": 0.05, "high": 0.15}]
    usual, rows = "about one misses the truth", "over 1,200 held-out rows of one training each"
    for of, words, absent in (
        (
            {"epochs": 8, "size": [12, 14], "rows": None},
            f"{usual}; of trainings of 8 epochs on images of 12 x 14",
            rows,
        ),
        ({"epochs": 8, "size": None, "rows": 1200}, "other seeds; of trainings of 8 epochs, not of the final", usual),
    ):
        record = bare(ONE, contributions=parts, race={"explained": of})
        text = " ".join(shown(contributions_table(record)).split())
        assert words in text
        assert absent not in text
    for race in ({}, {"explained": None}, {"explained": {"epochs": "many"}}):
        assert "trainings" not in shown(contributions_table(bare(ONE, contributions=parts, race=race)))
