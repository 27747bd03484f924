"""``dashpot path``, run as its user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashpot.cli.path import path
from dashpot.core.errors import DashpotError


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame(rng.normal(size=(n, 10)), columns=list("abcdefghij"))
    frame["k"] = rng.choice(["x", "y"], n)
    frame["rare"] = [1.0] + [0.0] * (n - 1)  # constant in the training rows of one fold
    frame["price"] = 100 + 20 * frame.a - 5 * frame.b + rng.normal(size=n)
    frame["target"] = np.where(frame.a + 0.5 * frame.b > 0, "good", "bad")
    file = tmp_path_factory.mktemp("data") / "table.csv"
    frame.to_csv(file, index=False)
    return file


def test_the_command_on_classes(csv: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "dashpot",
        "path",
        csv,
        "--target",
        "target",
        "--points",
        "8",
        "--cv",
        "3",
        "--stability",
        "--out",
        "out",
    ]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=True)
    written = {"path.json", "path.png", "path.svg", "selected.txt", "report.html"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == written
    record = json.loads((tmp_path / "out" / "path.json").read_text())
    assert (record["metric"], record["folds"], len(record["strengths"])) == ("accuracy", 3, 8)
    assert all(record["converged"])
    names = (tmp_path / "out" / "selected.txt").read_text().split("\n")[:-1]
    assert len(names) == record["selected"][record["one_se"]]
    assert "a" in names
    assert record["stability"]["a"] > 0.6
    for part in ("one-SE choice", "lowest loss", "accuracy ± se", "of 14 columns", "random halves"):
        assert part in done.stdout
    *_, figure, page, following, trained, about, again = done.stdout.strip().splitlines()
    assert [figure, page, following] == ["figure: out/path.png", "page: out/report.html", "next:"]
    strength = f"{record['strengths'][record['one_se']]:.4g}"
    assert trained.startswith(f"  dashpot fit {csv} --target target")
    assert trained.endswith(f" --with l1:strength={strength} --net depth=0")
    assert [about, again] == ["  dashpot techniques l1", "  dashpot report out"]
    assert record["classes"] == sorted(set(pd.read_csv(csv)["target"].astype(str)))


def test_a_regression(csv: Path, tmp_path: Path) -> None:
    path(csv, "price", technique="elastic-net:l1_ratio=0.5", points=6, cv=2, out=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "path.json").read_text())
    assert record["metric"] == "r2"
    assert record["score"][record["best"]] > 0.9
    # The second panel counts what the first layer of the saved path keeps.
    assert [len(point["columns"]) for point in record["coefficients"]] == record["selected"]


def test_a_network(csv: Path, tmp_path: Path) -> None:
    path(csv, "price", network="mlp", points=2, cv=2, epochs=2, out=tmp_path / "out", device="cpu")
    record = json.loads((tmp_path / "out" / "path.json").read_text())
    assert record["coefficients"] is None
    assert record["order"] == "weak-to-strong"


@pytest.mark.filterwarnings("ignore:column 'split' is not an input")
@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_the_test_rows_that_the_data_name_play_no_part(csv: Path, tmp_path: Path, network: str) -> None:
    frame = pd.read_csv(csv).assign(split=["train", "test", "train"] * 20)
    records = []
    for name, far in (("one", 0.0), ("other", 1e4)):
        test = frame.split == "test"
        frame.assign(price=frame.price + far * test, a=frame.a - far * test).to_csv(tmp_path / "table.csv", index=False)
        path(
            tmp_path / "table.csv",
            "price",
            network=network,
            points=3,
            cv=2,
            epochs=2,
            stability=network == "linear",
            out=tmp_path / name,
        )
        records.append(json.loads((tmp_path / name / "path.json").read_text()))
        records[-1].pop("seconds")
    assert records[0]["rows"] == 40
    assert records[0] == records[1]


def test_texts_have_no_columns_to_go_over(tmp_path: Path) -> None:
    rows = "".join(f"a {word} film number {i},{word}\n" for i in range(20) for word in ("good", "dull"))
    (tmp_path / "films.csv").write_text("text,kind\n" + rows)
    for technique in ("l1", "compress:to=0.5x parameters"):
        with pytest.raises(DashpotError, match=r"DATA must be a table, .* got 'texts'\. With --kind table"):
            path(tmp_path / "films.csv", "kind", technique=technique, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path(tmp_path / "films.csv", "kind", points=2, cv=2, out=tmp_path / "out", kind="table")
    assert "topic" in (tmp_path / "out" / "selected.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"technique": "l11"}, "Did you mean 'l1'"),
        ({"technique": "dropout"}, "technique must be a penalty"),
        ({"technique": "l0"}, "technique must be a penalty that zeroes everything"),
        ({"technique": "elastic-net:l1_ratio=0"}, "technique must be a penalty that zeroes everything"),
        ({"points": 0}, "points must be a whole number >= 1, finite, got 0"),
        ({"cv": 1}, "cv must be a whole number >= 2, finite, got 1"),
        ({"cv": 50}, "cv must be at most"),
        ({"network": "transformer"}, "--network must be linear or mlp"),
        ({"target": "targe"}, "Did you mean 'target'"),
    ],
)
def test_bad_input_is_one_message(csv: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DashpotError) as caught:
        path(**{"data": csv, "target": "target", "out": tmp_path / "out", **arguments})
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def weighted(tmp_path: Path, frame: pd.DataFrame, name: str, **options: Any) -> dict[str, Any]:
    file = tmp_path / name / "table.csv"
    file.parent.mkdir()
    frame.to_csv(file, index=False)
    path(file, "price", points=3, cv=2, epochs=2, out=tmp_path / name / "out", **options)
    record: dict[str, Any] = json.loads((tmp_path / name / "out" / "path.json").read_text())
    return record


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashpot.report.path.figure.path_figure", lambda record, stem: (stem, stem))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_rows_of_weight_0_are_absent(csv: Path, tmp_path: Path, network: str) -> None:
    frame = pd.read_csv(csv).drop(columns=["rare", "target"]).assign(count=[0, 1, 2] * 20)
    options: dict[str, Any] = {"weights": "count", "network": network, "stability": network == "linear"}
    less = weighted(tmp_path, frame[frame["count"] > 0], "less", **options)
    far = frame.assign(a=frame.a + 1e4 * (frame["count"] == 0), price=frame.price - 1e4 * (frame["count"] == 0))
    found = weighted(tmp_path, far, "all", **options)
    assert (found["rows"], found["weights"]) == (40, "count")
    assert "count" not in found["feature_names"]
    elsewhere: dict[str, Any] = {"seconds": 0, "data": {}}
    assert found | elsewhere == less | elsewhere
    plain = weighted(tmp_path, frame[frame["count"] > 0].drop(columns="count"), "plain", network=network)
    assert plain["weights"] is None
    assert plain["fold_losses"] != found["fold_losses"]


@pytest.mark.usefixtures("undrawn")
def test_a_weight_of_2_is_two_rows_in_standardization_too(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(csv).drop(columns=["rare", "target"]).assign(count=[0, 1, 2] * 20)
    found = weighted(tmp_path, frame, "weighted", weights="count")
    assert "40 rows (weighted by count)" in capsys.readouterr().out
    repeated = frame.loc[frame.index.repeat(frame["count"])].drop(columns="count")
    wanted = weighted(tmp_path, repeated, "repeated")
    assert found["strengths"] == pytest.approx(wanted["strengths"], rel=1e-4)
    assert [point["columns"] for point in found["coefficients"]] == [p["columns"] for p in wanted["coefficients"]]
    for one, other in zip(found["coefficients"], wanted["coefficients"], strict=True):
        np.testing.assert_allclose(one["values"], other["values"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [("cuont", "Did you mean 'count'"), ("price", "weights must be another column than the target"), ("a", ">= 0")],
)
def test_weights_that_are_none_are_refused(csv: Path, tmp_path: Path, weights: str, message: str) -> None:
    with pytest.raises(DashpotError) as caught:
        weighted(tmp_path, pd.read_csv(csv).assign(count=1), "bad", weights=weights)
    assert message in str(caught.value)
    assert not (tmp_path / "bad" / "out").exists()
