"""Scores as inputs get worse, against closed forms; all kinds of data and all that holds a model; the command."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch
from torch import nn

import dashpot
from dashpot.cli.robustness import robustness as command
from dashpot.comparison.corruptions import Columns, named, of_images, of_signals, of_tables, of_text_columns, of_texts
from dashpot.data.rows import Rows
from dashpot.data.tables.preprocessing import Preprocessing
from dashpot.report.robustness.record import RobustnessRecord
from dashpot.report.robustness.table import robustness_text


def linear(n: int = 4000) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=draws) * torch.tensor([1.0, 2.0, 0.5, 3.0]) + 5
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -0.5, 2.0, 0.25]]))
        y = model(x)[:, 0] + 0.3 * torch.randn(n, generator=draws)
    return model, x, y


def test_a_linear_model_under_noise_has_the_error_of_the_closed_form() -> None:
    """E MSE = MSE + amount^2 sum w^2 sd^2. Of 4,000 rows and 10 draws the mean square of the added error deviates by
    sqrt(2 / 40,000) = 0.7 %; 4 % is more than 5 deviations of it (false alarms below 1 in a million).
    """
    model, x, y = linear()
    result = dashpot.robustness(model, (x, y), metric="rmse", corruptions="noise", draws=10)
    clean = result.record.clean["model"] ** 2
    spread = x.double().var(dim=0, unbiased=False)
    with torch.no_grad():
        assert clean == pytest.approx(float((model(x)[:, 0] - y).double().square().mean()), rel=1e-6)
        slope = float((model.weight[0].double().square() * spread).sum())
    for cell in result.record.cells:
        square = np.mean(np.square(cell.scores))
        assert square - clean == pytest.approx(cell.amount**2 * slope, rel=0.04, abs=0.02 * clean)


def test_a_linear_model_under_shifts_and_scales() -> None:
    """By hand: each column moves by amount x sd, or its distance from the mean is multiplied, either way."""
    _, x, _ = linear(500)
    columns = of_tables(Columns.of(None, x), x)
    middle, spread = x.mean(dim=0), x.std(dim=0, unbiased=False)
    moved = (named(columns)["shift"].change(x, 0.4, 7) - x) / (0.4 * spread)
    torch.testing.assert_close(moved.abs(), torch.ones_like(moved), rtol=1e-3, atol=1e-3)
    assert bool((moved.sign() == moved.sign()[0]).all())
    wider = (named(columns)["scale"].change(x, 0.8, 7) - middle) / (x - middle)
    factor = wider.median(dim=0).values
    torch.testing.assert_close(factor.log().abs(), torch.full((4,), 0.8), rtol=1e-3, atol=1e-3)


def table() -> tuple[Preprocessing, torch.Tensor, Rows]:
    random = np.random.default_rng(0)
    size = random.normal(size=200)
    size[:20] = np.nan
    kind = random.choice(["red", "blue"], size=200).astype(object)
    kind[30:40] = None
    rows = Rows(("size", "full", "kind"), columns={"size": size, "full": random.normal(size=200), "kind": kind})
    how = Preprocessing.fit(rows)
    return how, torch.from_numpy(how.transform(rows)), rows


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_missing_is_what_preprocessing_makes_of_missing(scaling: str) -> None:
    how, _, rows = table()
    how = Preprocessing.fit(rows, scaling=scaling)
    x = torch.from_numpy(how.transform(rows))
    nothing = torch.from_numpy(
        how.transform(
            Rows(
                rows.names,
                columns={
                    "size": np.array([np.nan]),
                    "full": np.array([np.nan]),
                    "kind": np.array([None], dtype=object),
                },
            )
        )
    )
    corruption = named(of_tables(Columns.of(how, x), x))["missing values"]
    torch.testing.assert_close(corruption.change(x, 1.1, 3), nothing.expand_as(x))
    assert torch.equal(corruption.change(x, 0.0, 3), x)
    columns = named(of_tables(Columns.of(how, x), x))["missing columns"]
    changed = (columns.change(x, 0.05, 3) != x).any(dim=0)
    owners = {
        name.split("=")[0].removesuffix(" is missing") for name, c in zip(how.feature_names, changed, strict=True) if c
    }
    assert len(owners) == 1


def test_texts_of_a_table_get_worse_and_its_other_columns_stay() -> None:
    random = np.random.default_rng(0)
    said = np.array([f"guest {i} found it {('dull', 'warm')[i % 2]} and far too long" for i in range(60)], dtype=object)
    said[7] = None
    rows = Rows(("size", "said"), columns={"size": random.normal(size=60), "said": said})
    how = Preprocessing.fit(rows)
    x, start = torch.from_numpy(how.transform(rows)), how.layout().text[0]
    found = named(of_text_columns(how, rows))
    assert list(found) == ["typing errors", "neighbouring keys", "deleted words"]
    for corruption in found.values():
        worse = corruption.change(x, 0.8, 1)
        assert torch.equal(worse[:, :start], x[:, :start])
        assert bool((worse[:, start:] != x[:, start:]).any(dim=1).float().mean() > 0.9)
        assert not worse[7, start:].any()
        torch.testing.assert_close(corruption.change(x, 0.0, 1), x)
    assert said[0] == "guest 0 found it dull and far too long"
    # Without the words of the table nothing is left.
    none = how.transform(Rows(rows.names, columns={"size": rows.column("size"), "said": np.array([None] * 60)}))
    values = named(of_tables(Columns.of(how, x), x))["missing values"].change(x, 1.1, 3)
    assert np.array_equal(values[:, start:], none[:, start:])
    assert of_text_columns(*table()[::2]) == []


def test_of_a_table_with_texts_all_that_holds_a_model_has_typing_errors() -> None:
    random = np.random.default_rng(0)
    y = np.arange(160) % 2
    said = [f"guest {i} found it {('dull', 'warm')[k]} and long" for i, k in enumerate(y)]
    frame = polars.DataFrame({"said": said, "size": random.normal(size=160)})
    model = dashpot.DashpotClassifier(epochs=20, random_state=0).fit(frame, y)
    found = dashpot.robustness(model, (frame, y), draws=2)
    assert list(found.record.units)[-3:] == ["typing errors", "neighbouring keys", "deleted words"]
    assert found.record.clean["model"] > 0.95
    lost = [cell.mean for cell in found.record.curve("model", "deleted words")]
    assert lost[4] < lost[0] - 0.2
    regressor = dashpot.DashpotRegressor(epochs=20, random_state=0).fit(frame, 1.0 * y)
    values = dashpot.robustness(regressor, (frame, 1.0 * y), draws=2).record
    assert values.curve("model", "deleted words")[4].mean < values.clean["model"] - 0.1


def test_shares_of_missing_values() -> None:
    """Of 20,000 values 20 % +- 5 deviations of 0.28 % (false alarms below 1 in a million)."""
    x = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0)) + 9
    out = named(of_tables(Columns.of(None, x), x))["missing values"].change(x, 0.2, 1)
    assert float((out != x).double().mean()) == pytest.approx(0.2, abs=0.015)


def test_images_by_hand() -> None:
    """On images of a known form each corruption does what its amount says."""
    x = torch.full((64, 3, 16, 16), 0.4)
    found = named(of_images())
    noise = found["noise"].change(x, 0.1, 1) - x
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)  # 49,152 values: a deviation of 0.3 %
    torch.testing.assert_close(found["brightness"].change(x, 1.5, 1), torch.full_like(x, 0.6))
    ramp = torch.linspace(0, 1, 16).expand(4, 1, 16, 16).contiguous()
    soft = found["contrast"].change(ramp, 0.5, 1)
    torch.testing.assert_close(soft, 0.5 * (ramp - ramp.mean((2, 3), keepdim=True)) + ramp.mean((2, 3), keepdim=True))
    erased = (found["erasing"].change(torch.rand(32, 1, 20, 20), 0.2, 1)).reshape(32, -1)
    values = [row.unique(return_counts=True)[1].max() for row in erased]
    assert all(int(count) == 81 for count in values)  # 9 x 9 of 400 pixels
    dot = torch.zeros(200, 1, 21, 21)
    dot[:, 0, 10, 15] = 1.0  # to the right of the middle, by 5
    turned = found["rotation"].change(dot, 30.0, 1)
    at = torch.stack(
        [
            (image[0] * grid).sum() / image[0].sum()
            for image in turned
            for grid in torch.meshgrid(torch.arange(21.0), torch.arange(21.0), indexing="ij")
        ]
    ).reshape(-1, 2)
    torch.testing.assert_close((at[:, 0] - 10).abs(), torch.full((200,), 2.5), rtol=0, atol=0.1)
    torch.testing.assert_close(at[:, 1] - 10, torch.full((200,), 5 * 3**0.5 / 2), rtol=0, atol=0.1)
    spot = torch.zeros(2, 1, 31, 31)
    spot[:, 0, 15, 15] = 1.0
    blurred = found["blur"].change(spot, 2.0, 1)[0, 0].double()
    far = (torch.arange(31.0).double() - 15).square()
    assert float((blurred.sum(0) * far).sum() / blurred.sum()) == pytest.approx(4.0, rel=0.03)
    as_bytes = (x * 255).round().to(torch.uint8)
    torch.testing.assert_close(found["brightness"].change(as_bytes, 1.5, 1), torch.full_like(x, 0.6))


def test_signals_by_hand() -> None:
    x = torch.randn(50, 2, 40, generator=torch.Generator().manual_seed(0))
    found = named(of_signals(x))
    moved = found["shift in time"].change(x, 0.1, 1)
    for old, new in zip(x, moved, strict=True):
        assert torch.equal(new, old.roll(4, 1)) or torch.equal(new, old.roll(-4, 1))
    gone = found["lost steps"].change(x, 0.2, 1) != x
    assert bool((gone[:, 0] == gone[:, 1]).all())
    assert gone[:, 0].sum(1).tolist() == [8] * 50
    louder = (found["amplitude"].change(x, 0.4, 1) / x).log().abs()
    torch.testing.assert_close(louder, torch.full_like(louder, 0.4), rtol=1e-4, atol=1e-4)


def test_texts_by_hand() -> None:
    texts = np.array([["a film without any weakness at all"], [None], ["good"]], dtype=object)
    seen: list[Any] = []

    def kept(found: np.ndarray) -> torch.Tensor:
        seen.append(found)
        return torch.zeros(len(found))

    found = named(of_texts(kept))
    found["deleted words"].change(texts, 0.8, 1)
    found["typing errors"].change(texts, 0.8, 1)
    words = texts[0, 0].split()
    assert set(seen[0][0, 0].split()) < set(words)
    assert len(seen[1][0, 0].split()) == len(words)
    assert seen[1][0, 0] != texts[0, 0]
    assert seen[0][1, 0] is None


def data(n: int = 160) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 4)).astype("float32")
    return x, np.where(x[:, 0] + 0.3 * random.normal(size=n) > 0, "yes", "no")


def test_all_that_holds_a_model_gives_the_score_of_its_own_predictions() -> None:
    x, y = data()
    model = dashpot.DashpotClassifier(epochs=5, random_state=0).fit(x[:100], y[:100])
    result = dashpot.robustness(model, (x[100:], y[100:]), draws=2)
    assert result.record.clean["model"] == pytest.approx(model.score(x[100:], y[100:]))
    regressor = dashpot.DashpotRegressor(epochs=5, random_state=0).fit(x[:100], 9 + 3 * x[:100, 0])
    known = dashpot.robustness(regressor, (x[100:], 9 + 3 * x[100:, 0]), draws=2)
    assert known.record.clean["model"] == pytest.approx(regressor.score(x[100:], 9 + 3 * x[100:, 0]), abs=1e-4)
    found = dashpot.tune((x, y), trials=2, epochs=2, cv=2, progress=False)
    searched = dashpot.robustness(found, draws=2)
    assert searched.record.clean["model"] == pytest.approx(found.record["test"]["chosen"]["accuracy"])
    own = dashpot.robustness(found, (x, y), draws=2)
    assert own.record.clean["model"] == pytest.approx(float(np.mean(found.predict(x) == y)))
    texts = ["good film", "bad film", "great fun", "dull thing"] * 10
    reader = dashpot.DashpotClassifier(epochs=2, random_state=0, kind="text").fit(texts, [1, 0, 1, 0] * 10)
    read = dashpot.robustness(reader, (texts, [1, 0, 1, 0] * 10), draws=2)
    assert list(read.record.units) == ["typing errors", "neighbouring keys", "deleted words"]
    assert read.record.clean["model"] == pytest.approx(reader.score(texts, [1, 0, 1, 0] * 10))


def test_several_models_see_the_same_draws_and_the_seed_decides() -> None:
    model, x, y = linear(100)
    two = dashpot.robustness({"a": model, "b": model}, (x, y), draws=3)
    again = dashpot.robustness({"a": model, "b": model}, (x, y), draws=3)
    other = dashpot.robustness({"a": model, "b": model}, (x, y), draws=3, seed=1)
    for corruption in two.record.units:
        first, second = ([c.scores for c in two.record.curve(name, corruption)] for name in "ab")
        assert first == second == [c.scores for c in again.record.curve("a", corruption)]
        assert first != [c.scores for c in other.record.curve("a", corruption)]


def test_intervals_are_those_of_students_t() -> None:
    from scipy.stats import t

    model, x, y = linear(100)
    for cell in dashpot.robustness(model, (x, y), draws=4, corruptions=["noise"]).record.cells:
        low, high = t.interval(0.95, 3, np.mean(cell.scores), np.std(cell.scores, ddof=1) / 2)
        assert (cell.low, cell.high) == (pytest.approx(low), pytest.approx(high))


def test_images_and_signals_of_modules_and_the_figure(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for shape in ((1, 8, 8), (2, 12)):
        x, y = torch.rand(40, *shape), torch.randint(3, (40,))
        model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3))
        result = dashpot.robustness(model, (x, y), draws=2)
        png, svg = result.plot(tmp_path / str(len(shape)))
        assert png.stat().st_size > 10_000
        text = svg.read_text()
        assert all(name in text for name in result.record.units)
    assert len(result.table) == 20


def test_the_record_is_read_as_it_was_written() -> None:
    model, x, y = linear(60)
    record = dashpot.robustness(model, (x, y), draws=2).record
    read = RobustnessRecord.from_dict(json.loads(json.dumps(record.to_dict())))
    assert read == record
    assert robustness_text(read) == robustness_text(record.to_dict())
    with pytest.raises(dashpot.DataError, match="newer Dashpot"):
        RobustnessRecord.from_dict({**record.to_dict(), "version": 99})


def test_bad_input_is_refused() -> None:
    model, x, y = linear(60)
    for given, options, message in (
        ((x, y), {"metric": "accuracy"}, "metric"),
        ((x, y), {"corruptions": ["fog"]}, "noise"),
        ((x, y), {"draws": 0}, "draws"),
        ((x, y), {"modality": "image"}, "modality"),
        ((x, y[:9]), {}, "a target for each row"),
        (x, {}, r"\(x, y\)"),
    ):
        with pytest.raises(dashpot.DashpotError, match=message):
            dashpot.robustness(model, given, **options)
    with pytest.raises(dashpot.ConfigError, match="a fitted estimator"):
        dashpot.robustness(3, (x, y))
    with pytest.raises(dashpot.DataError, match=r"bytes or numbers in \[0, 1\]"):
        dashpot.robustness(nn.Flatten(), (torch.randn(4, 1, 3, 3), torch.zeros(4).long()))
    estimator = dashpot.DashpotClassifier(epochs=1).fit(*data())
    with pytest.raises(dashpot.DataError, match="classes that the model knows"):
        dashpot.robustness(estimator, (data()[0], np.full(160, "maybe")))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = data()
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "colour", "answer"])
        writer.writerows(
            [*row[:3], "red" if row[3] > 0 else "blue", label] for row, label in zip(x.tolist(), y, strict=True)
        )

    def dashpot_(*words: object) -> str:
        words_ = [sys.executable, "-m", "dashpot", *map(str, words)]
        done = subprocess.run(words_, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dashpot_("fit", "table.csv", "--target", "answer", "--epochs", 3, "--out", "plain", "--with", "dropout:p=0.2")
    shutil.copytree(tmp_path / "plain", tmp_path / "drop")
    said = dashpot_("robustness", "drop", "table.csv", "--beside", "plain", "--draws", 2, "--out", "rob")
    record = RobustnessRecord.from_dict(json.loads((tmp_path / "rob" / "robustness.json").read_text()))
    assert (tmp_path / "rob" / "robustness.png").exists()
    assert list(record.clean) == ["plain", "drop"]
    for name in record.clean:
        assert name in said
        # The run's own data: its test rows, with the score that its own report has.
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        assert record.clean[name] == pytest.approx(metrics["test"]["accuracy"])
    assert record.rows == 32
    with (tmp_path / "table.csv").open() as file:
        lines = file.read().splitlines()
    (tmp_path / "new.csv").write_text("\n".join(lines[:60]) + "\n")
    monkeypatch.chdir(tmp_path)
    command(Path("drop"), Path("new.csv"), draws=1, corruption=["noise"], out=Path("r2"))
    assert "59 rows" in capsys.readouterr().out
