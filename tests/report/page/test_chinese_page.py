"""Pages in Chinese: the numbers and names are those of the English page, and no sentence of ours stays English."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dashpot
from dashpot.core.language import speaking, told
from dashpot.report.page.blocks import Page
from dashpot.report.page.compare import compare_page
from dashpot.report.page.fit import fit_page
from dashpot.report.page.path import path_page
from dashpot.report.page.robust import robustness_page
from dashpot.report.page.several import Side, several_page
from dashpot.report.page.shrink import shrink_page
from dashpot.report.page.source import Source
from dashpot.report.page.tune import tune_page
from dashpot.report.page.write import render
from dashpot.report.told import TOLD
from dashpot.search.outcome.ensemble import choose
from tests.report import records
from tests.report.page.reading import read
from tests.report.searches import RECORDS
from tests.report.tune_record import searched
from tests.report.typed import FITTED, SMALLER, WORSE, walked

RECIPE = dashpot.Recipe.coerce("mixup:alpha=0.2 | l1:strength=1e-4")
LAYER = {"name": "0.weight", "values": 10, "zeros": 4, "counts": [1, 3, 2], "edges": [-1.0, -0.3, 0.3, 1.0]}
SOURCE = Source("runs/tune-1", "wine.csv", "quality", RECIPE, [LAYER])
CONFUSED = {
    "classes": ["a", "b"],
    "confusion": [[8.0, 2.0], [1.0, 9.0]],
    "calibration": [[0.1, 0.1, 3], [0.5, 0.6, 3], [0.9, 0.8, 3]],
    "mistakes": [{"row": 3, "truth": "a", "predicted": "b", "probability": 0.9}],
}
CURVE = [{"epoch": e, "train_loss": 1 / e, "val_loss": 0.5 + 1 / e} for e in range(1, 9)]
WHY = {"why": "it has the lowest mean score", "final": "one network"}
WALKED = walked()
PAGES: dict[str, Callable[[], Page]] = {
    "tune": lambda: tune_page(
        searched() | {"answers": CONFUSED, "why": "it has the lowest mean score", "final": "one network"}, SOURCE
    ),
    "fit": lambda: fit_page(FITTED.to_dict() | {"answers": CONFUSED, "stopped": "all epochs done"}, CURVE, SOURCE),
    "compare": lambda: compare_page(records.drawn()),
    "path": lambda: path_page(WALKED),
    "robustness": lambda: robustness_page(WORSE),
    "shrink": lambda: shrink_page(SMALLER, SOURCE),
    "several": lambda: several_page([Side("runs/fit-1", "fit", "demo", "l1", {"accuracy": 0.5}, 3.0)] * 2),
}
OURS = re.compile(r"\b(the|of|and|with|asked|found|sure|rows|less|score|scores|lines|from|each)\b", re.IGNORECASE)
NUMBER = re.compile(r"\d[\d,.]*")


def both(page: Callable[[], Page]) -> tuple[str, str]:
    with speaking("zh"):
        chinese = page()
    return render(page()), render(chinese)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_chinese_has_the_numbers_of_the_english_one(name: str) -> None:
    english, chinese = both(PAGES[name])
    assert '<html lang="en">' in english
    assert '<html lang="zh-CN"' in chinese
    numbers = [
        [[sorted(NUMBER.findall(cell)) for row in table for cell in row] for table in read(text).tables]
        for text in (english, chinese)
    ]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("name", PAGES)
def test_no_sentence_of_ours_stays_english(name: str) -> None:
    _, chinese = both(PAGES[name])
    for tag, text in read(chinese).words:
        if tag not in ("code", "script", "style"):
            assert not OURS.search(text), text


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_any_search_makes_a_page_in_chinese(record: dict[str, Any]) -> None:
    with speaking("zh"):
        assert "得分" in render(tune_page(record))


def test_reasons_that_a_search_gives_are_known() -> None:
    """What choose says of real scores, one technique and two."""

    def trial(number: int, size: int, scores: list[float]) -> Any:
        return SimpleNamespace(
            number=number, score=float(np.mean(scores)), scores=scores, candidate=SimpleNamespace(size=size)
        )

    best = trial(3, 3, [0.50, 0.60, 0.70])
    for size in (1, 2):
        choice = choose([best, trial(4, size, [0.52, 0.59, 0.70])])
        assert choice.chosen.number == 4
        with speaking("zh"):
            said = told(choice.why, TOLD)
        assert f"只用 {size} 项技术" in said
        assert "候选 3" in said
    with speaking("zh"):
        assert told(choose([best]).why, TOLD) == "平均得分最低"
        assert told("what nobody knows", TOLD) == "what nobody knows"
