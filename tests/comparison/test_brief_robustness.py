"""Robustness within a report: the same as of the whole command, in little time, in a few lines."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.comparison.brief_robustness import DRAWS, ROWS, brief_robustness, seconds_for
from dashpot.data import Problem
from dashpot.data.rows import Rows
from dashpot.report.robustness.lines import robustness_lines
from dashpot.report.robustness.record import RobustnessRecord
from dashpot.report.tune.record import TuneRecord
from dashpot.report.tune.words import closing
from dashpot.training.builtin import network_for


def table(rows: int = 900, values: bool = False) -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)) * [1, 2, 3, 4] + 5
    y = x[:, 0] - 0.4 * x[:, 2]
    return Problem("made", Rows(tuple("abcd"), matrix=x), y if values else np.where(y > 3, "yes", "no"))


def pictures() -> Problem:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    x = rng.integers(0, 80, (120, 1, 8, 8)).astype(np.uint8)
    x[np.arange(120), 0, y * 4] += 150
    return Problem("pictures", x, np.array(["up", "down"])[y])


def measured(problem: Problem, **more: Any) -> tuple[RobustnessRecord, nn.Module, Any, np.ndarray]:
    torch.manual_seed(0)
    prepared, rows = problem.prepare(np.arange(problem.n // 2)), np.arange(problem.n // 2, problem.n)
    network = network_for(problem, prepared).eval()
    record = brief_robustness(problem, prepared, network, rows, seconds=1e9, **more)
    assert record is not None
    return record, network, prepared, rows


@pytest.mark.parametrize("make", [table, lambda: table(values=True), pictures])
def test_as_of_the_module_on_the_same_rows(make: Any) -> None:
    problem = make()
    record, network, prepared, rows = measured(problem, seed=3)
    chosen = np.sort(np.random.default_rng(3).permutation(rows)[:ROWS])
    assert record.rows == len(chosen) == min(ROWS, len(rows))
    x, y = prepared.part(chosen)
    # Where a table has columns, those that are missing are zeros once it is prepared, and not the mean of these rows.
    given = None if problem.kind == "image" else ["noise", "shift", "scale"]
    found = dashpot.robustness(network, (x, y), corruptions=given, draws=DRAWS, seed=3).record
    assert record.clean["model"] == pytest.approx(found.clean["model"], abs=1e-6)
    for cell in found.cells:
        (own,) = [one for one in record.cells if (one.corruption, one.strength) == (cell.corruption, cell.strength)]
        assert own.scores == pytest.approx(cell.scores, abs=1e-5)
    assert set(record.units) == set(found.units) | ({"missing values", "missing columns"} if given else set())
    assert record.left_out == ()


def test_texts() -> None:
    words = [["good", "fine", "great"], ["bad", "poor", "awful"]]
    rng = np.random.default_rng(0)
    texts = np.array([" ".join(rng.choice(words[k % 2], 6)) for k in range(80)], dtype=object)
    record, *_ = measured(Problem("texts", texts[:, None], np.arange(80) % 2))
    assert set(record.units) == {"typing errors", "neighbouring keys", "deleted words"}


def test_texts_among_other_columns() -> None:
    rng = np.random.default_rng(0)
    said = [f"guest {i} found it {('dull', 'warm')[i % 2]} and long" for i in range(80)]
    rows = Rows(("size", "said"), columns={"size": rng.normal(size=80), "said": np.array(said, dtype=object)})
    record, *_ = measured(Problem("visits", rows, np.arange(80) % 2))
    texts = {"typing errors", "neighbouring keys", "deleted words"}
    assert set(record.units) == {"noise", "shift", "scale", "missing values", "missing columns"} | texts


def test_it_takes_no_longer_than_it_may() -> None:
    problem = table()
    prepared, rows = problem.prepare(np.arange(450)), np.arange(450, 900)
    network = network_for(problem, prepared).eval()
    assert brief_robustness(problem, prepared, network, rows, seconds=0.0) is None
    assert brief_robustness(problem, prepared, network, rows[:1]) is None
    same = rows[problem.labels[rows] == 0]
    assert brief_robustness(problem, prepared, network, same) is None
    assert seconds_for(None) == 5
    assert seconds_for(60.0) == pytest.approx(0.6)
    assert seconds_for(1e6) == 5


def test_lines() -> None:
    record, *_ = measured(table())
    lines = robustness_lines(record.to_dict())
    assert lines[0].startswith("Robustness: accuracy 0.")
    assert "on 256 test rows; as inputs get worse, mean over five strengths, 95 % intervals over 3 draws:" in lines[0]
    cells = record.curve("model", "noise")
    draws = [fmean(cell.scores[k] for cell in cells) for k in range(DRAWS)]
    half = 4.302652729911275 * stdev(draws) / DRAWS**0.5  # the quantile of Student's t with two degrees of freedom
    mean = fmean(draws)
    assert f"noise {mean:.4f} [{mean - half:.4f}, {mean + half:.4f}]" in lines[1]
    assert robustness_lines({}) == []
    again = RobustnessRecord.from_dict(record.to_dict())
    assert again == record
    search = TuneRecord("data", "classification", "accuracy", "log_loss", (), robustness=record.to_dict())
    assert lines[0] in closing(TuneRecord.from_dict({**search.to_dict(), "candidates": []}))
