"""Tables with columns of texts: a linear model of the words alone beside, and the advice to read words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch
import typer
from typer.testing import CliRunner

import dashpot
from dashpot.cli import fit
from dashpot.comparison.compare import compare
from dashpot.comparison.reference_models import SOME, seconds_at_most, words_alone
from dashpot.comparison.words_alone import words_beside
from dashpot.data import Problem
from dashpot.data.rows import Rows
from dashpot.evaluation.metrics import METRICS
from dashpot.report.texts.alone import alone_line
from dashpot.runs.text_report import TextAnswers

APP = typer.Typer()
fit.register(APP)
WORDS = [["awful", "dull", "cold"], ["great", "warm", "lively"]]


def visits(n: int = 200, *, tells: str = "said") -> tuple[Rows, np.ndarray]:
    """A column of texts and one of numbers, of which one tells the class, or ``"none"`` does."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, n)
    spoken = y if tells == "said" else random.integers(0, 2, n)
    said = [f"visit {random.integers(99)} was {random.choice(WORDS[k])} and long" for k in spoken]
    said = [None if i % 23 == 22 and tells != "said" else text for i, text in enumerate(said)]
    price = 10.0 * y + random.random(n) if tells == "price" else random.random(n)
    return Rows(("said", "price"), columns={"said": np.array(said, dtype=object), "price": price}), y


def beside(rows: Rows, y: np.ndarray, answers: Callable[[np.ndarray], Any], **more: Any) -> dict[str, Any]:
    problem = Problem("visits", rows, y, task=None if y.dtype.kind == "i" else "regression")
    train, valid = np.arange(len(y) // 2), np.arange(len(y) // 2, len(y))
    prepared = problem.prepare(train)
    return words_beside(problem, prepared, train, valid, lambda: torch.as_tensor(answers(valid)).double(), **more)


def test_words_that_tell_all_are_enough_beside_a_network_that_knows_less() -> None:
    rows, y = visits()
    right = np.where(np.arange(200) % 10 == 0, 1 - y, y)  # nine in ten
    found = beside(rows, y, lambda valid: np.eye(2)[right[valid]])
    assert found == {"columns": ["said"], "metric": "accuracy", "rows": 100, "words": 1.0, "table": 0.9, "enough": True}
    line = alone_line(found)
    assert line.startswith("On 100 held-out rows a linear model on the words of 'said' alone has accuracy 1.0000, ")
    assert "network 0.9000: try --kind text" in line
    assert beside(rows, y, lambda valid: np.eye(2)[y[valid]])["enough"]  # as good


@pytest.mark.parametrize("tells", ["price", "none"])
def test_words_that_say_less_or_nothing_are_no_advice(tells: str) -> None:
    rows, y = visits(tells=tells)
    wrong = 1 - y if tells == "none" else y
    found = beside(rows, y, lambda valid: np.eye(2)[wrong[valid]])
    assert found["table"] == (0.0 if tells == "none" else 1.0)
    assert 0.3 < found["words"] < 0.7
    assert not found["enough"]
    assert alone_line(found) == ""


def test_values_and_weights() -> None:
    rows, y = visits()
    values = 5.0 + 3.0 * y + np.random.default_rng(1).normal(0, 0.1, 200)
    found = beside(rows, values, lambda valid: np.zeros((len(valid), 1)))
    assert (found["metric"], found["enough"]) == ("r2", True)
    assert found["words"] > 0.9 > 0.1 > found["table"]
    assert alone_line(found).count("R²") == 1
    none = beside(rows, np.random.default_rng(1).normal(size=200), lambda valid: np.full((len(valid), 1), 9.0))
    assert none["words"] > none["table"]
    assert not none["enough"]


def test_the_metric_that_is_asked_for_decides() -> None:
    rows, y = visits()
    sure = lambda valid: 20.0 * np.eye(2)[y[valid]]  # noqa: E731
    assert beside(rows, y, sure)["enough"]  # all right, as the words are
    found = beside(rows, y, sure, metric=METRICS["log_loss"])
    assert found["metric"] == "log_loss"
    assert found["words"] > found["table"] >= 0.0
    assert not found["enough"]  # but not as sure as a network that is surely right
    assert beside(rows, y, lambda valid: np.zeros((len(valid), 2)), metric=METRICS["log_loss"])["enough"]


def test_a_rare_class_that_words_tell_counts_by_balanced_accuracy_alone() -> None:
    random = np.random.default_rng(0)
    y = (np.arange(1000) % 10 == 0).astype(np.int64)
    # A rare word in every rare row and in 15 of 100 others: more of its rows are of the frequent class than not.
    cold = (y == 1) | (random.random(1000) < 0.15)
    said = [f"visit {random.integers(99)} was {'cold' if rare else 'warm'} and long" for rare in cold]
    rows = Rows(("said", "price"), columns={"said": np.array(said, dtype=object), "price": random.random(1000)})
    often = lambda valid: np.eye(2)[np.zeros(len(valid), dtype=np.int64)]  # noqa: E731
    plain = beside(rows, y, often)
    assert (plain["words"], plain["table"], plain["enough"]) == (pytest.approx(0.9, abs=0.02), 0.9, False)
    found = beside(rows, y, often, metric=METRICS["balanced_accuracy"])
    right = cold[500:] == (y[500:] == 1)
    assert found["words"] == pytest.approx((right[y[500:] == 1].mean() + right[y[500:] == 0].mean()) / 2, abs=0.02)
    assert (found["table"], found["enough"]) == (0.5, True)


def test_errors_of_values_are_in_units_of_the_target() -> None:
    rows, y = visits()
    values = 5.0 + 3.0 * y + np.random.default_rng(1).normal(0, 0.1, 200)
    mean, scale = values[:100].mean(), values[:100].std()
    found = beside(rows, values, lambda valid: np.zeros((len(valid), 1)), metric=METRICS["rmse"], scale=scale)
    assert found["table"] == pytest.approx(np.sqrt(((values[100:] - mean) ** 2).mean()), rel=1e-3)
    assert found["words"] < 1.0 < found["table"]
    assert found["enough"]
    assert "RMSE" in alone_line(found)


def test_there_is_none_of_other_data_without_time_or_where_a_library_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, y = visits()
    right = lambda valid: np.eye(2)[y[valid]]  # noqa: E731
    numbers = Rows(("price",), matrix=rows.column("price")[:, None])
    assert beside(numbers, y, right) == {}
    assert beside(rows, y, right, seconds=0.0) == {}
    notes: list[str] = []

    def fails(valid: np.ndarray) -> Any:
        raise RuntimeError("no memory")

    assert beside(rows, y, fails, note=notes.append) == {}
    assert notes == ["the words alone could not be measured: RuntimeError: no memory"]
    assert alone_line({}) == ""


def test_the_time_of_all_texts_is_seen_from_some(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, y = visits(3 * SOME)
    problem = Problem("visits", rows, y)
    found = words_alone(problem, problem.prepare(np.arange(len(y))))
    assert found is not None
    _, model, texts = found
    sizes: list[int] = []
    fit = type(model).fit
    monkeypatch.setattr(type(model), "fit", lambda self, x, *more: (sizes.append(len(x)), fit(self, x, *more))[1])
    assert seconds_at_most(model, texts, y) > 0
    assert sizes == [SOME]
    assert seconds_at_most(model, texts[:SOME], y[:SOME]) == 0
    assert not hasattr(model, "solved")


def test_it_stands_beside_networks_in_compare_and_tune() -> None:
    rows, y = visits(120)
    problem = Problem("visits", rows, np.where(y, "good", "bad").astype(object))
    record = compare(problem, dashpot.Dropout(p=0.2) | dashpot.Recipe(), repeats=2, epochs=1)
    (arm,) = [arm for arm in record.arms if arm.name == "linear SVM, words alone"]
    assert [run.test["accuracy"] for run in arm.runs] == [1.0, 1.0]
    frame = {"said": rows.column("said").tolist(), "price": rows.column("price")}
    found = dashpot.tune((polars.DataFrame(frame), problem.labels), trials=2, epochs=1, cv=2, progress=False)
    assert found.record["test"]["references"]["linear SVM, words alone"]["accuracy"] == 1.0
    assert found.texts is not None
    # By the networks that have not seen the rows of the first of two folds.
    assert found.texts.alone["rows"] in (48, 49)
    assert found.texts.alone["words"] == 1.0
    assert found.texts.alone["enough"] == (found.texts.alone["table"] <= 1.0)


def test_fit_says_it_and_writes_it(tmp_path: Path) -> None:
    rows, y = visits(150)
    lines = [f'"{text}",{price:.3f},{k}' for text, price, k in zip(*map(rows.column, rows.names), y, strict=True)]
    (tmp_path / "visits.csv").write_text("said,price,kind\n" + "\n".join(lines) + "\n")
    words = [tmp_path / "visits.csv", "--target", "kind", "--epochs", "1", "--out", tmp_path / "run"]
    told = CliRunner().invoke(APP, list(map(str, words)), catch_exceptions=False)
    assert told.exit_code == 0, told.output
    found = TextAnswers.read(tmp_path / "run")
    assert found is not None
    assert found.alone["words"] == 1.0
    line = alone_line(found.alone)
    assert line
    assert line in told.output
    assert line in (tmp_path / "run" / "texts.txt").read_text(encoding="utf-8")
    assert "try --kind text" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
